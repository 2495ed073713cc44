"""The scripts of the write log and of the idempotency keys, each one step.

Every script may run twice for one call, as the client repeats it after a lost connection; the second run finds its own
work done and answers as the first did. All keys a script touches are declared, and of one hash tag.

A name's key holds a claim (fields t token, n nonce of the call that took it, i the intent that it lasts for) or a kept
result (t, r). Tokens are microseconds by the server's clock, or one more than the last: numbers that grow, also when
the last one was lost. They stay below 2^53 until the year 2255, and Lua must not print them by itself ("1.7e+15").
"""

from __future__ import annotations

from registry.outbox_scripts import ENQUEUE_FUNCTION

_TIME = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_TOKEN = (
    _TIME
    + """
local function next_token(key)
  local last = tonumber(redis.call('GET', key) or '0')
  local text = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', key, text)
  return text
end
"""
)

# KEYS: last token, names · ARGV: milliseconds, nonce. Answers: token; or token and intent ('' for none) in the way.
CLAIM = (
    _TOKEN
    + """
local token = nil
for i = 2, #KEYS do
  local held = redis.call('HMGET', KEYS[i], 't', 'n', 'i', 'r')
  if held[1] and not held[4] then
    if held[2] ~= ARGV[2] then return {held[1], held[3] or ''} end
    token = held[1]
  end
end
token = token or next_token(KEYS[1])
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
  redis.call('HSET', KEYS[i], 't', token, 'n', ARGV[2])
  redis.call('PEXPIRE', KEYS[i], ARGV[1])
end
return {token}
"""
)

# KEYS: last token, intents, blobs, due, begun, names · ARGV: intent, blob, milliseconds, token or '', names.
# Answers 1, or 0 where a name is not ours.
INTEND = (
    _TOKEN
    + """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 1 end
local token = ARGV[4]
for i = 6, #KEYS do
  local held = redis.call('HMGET', KEYS[i], 't', 'i', 'r')
  local claimed = held[1] and not held[3]
  if token == '' then
    if claimed then return 0 end
  elseif not claimed or held[1] ~= token or held[2] then
    return 0
  end
end
if token == '' then token = next_token(KEYS[1]) end
for i = 6, #KEYS do
  redis.call('DEL', KEYS[i])
  redis.call('HSET', KEYS[i], 't', token, 'i', ARGV[1])
end
redis.call('HSET', KEYS[2], ARGV[1], token .. ' 0 ' .. ARGV[5])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[4], string.format('%.0f', now + ARGV[3]), ARGV[1])
redis.call('ZADD', KEYS[5], string.format('%.0f', now), ARGV[1])
return 1
"""
)

# KEYS: intents, blobs, due, begun, names; outbox, epoch, buckets · ARGV: intent or '', token or '', names, milliseconds or
# 0, result, how many names; changes (`outbox_scripts`).
# Answers 1, 0 where a name is a later holder's, or the names of the intent where they were not all given.
FINISH = (
    ENQUEUE_FUNCTION
    + _TIME
    + """
local intent, token, result, keep = ARGV[1], ARGV[2], ARGV[5], tonumber(ARGV[4]) > 0
local given = ' ' .. ARGV[3] .. ' '
local record = intent ~= '' and redis.call('HGET', KEYS[1], intent)
if record then
  local own, names = string.match(record, '^(%d+) %d+ (.*)$')
  for name in string.gmatch(names, '%S+') do
    if not string.find(given, ' ' .. name .. ' ', 1, true) then return names end
  end
  token = own
  redis.call('HDEL', KEYS[1], intent)
  redis.call('HDEL', KEYS[2], intent)
  redis.call('ZREM', KEYS[3], intent)
  redis.call('ZREM', KEYS[4], intent)
end
local outbox = 5 + ARGV[6]
for from = 7, #ARGV, 10 do
  enqueue(KEYS[outbox], KEYS[outbox + 1], 0, KEYS[outbox + 1 + ARGV[from]], from, now)
end
local alone = 1
for i = 5, outbox - 1 do
  local held = redis.call('HMGET', KEYS[i], 't', 'i', 'r')
  local ours, free = false, not held[1]
  if held[3] then
    ours = held[3] == result
    free = not ours and tonumber(held[1]) <= (tonumber(token) or 0)
  elseif held[2] then
    ours = held[2] == intent
  elseif held[1] then
    ours = held[1] == token
  end
  if not ours and not free then
    alone = 0
  elseif keep then
    local last = token ~= '' and token or held[1] or '0'
    redis.call('DEL', KEYS[i])
    redis.call('HSET', KEYS[i], 't', last, 'r', result)
    redis.call('PEXPIRE', KEYS[i], ARGV[4])
  elseif ours and not held[3] then
    redis.call('DEL', KEYS[i])
  end
end
return alone
"""
)

# KEYS: names. Answers for each: token or false, result or false.
LOOK = """
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HMGET', key, 't', 'r') end
return found
"""

# KEYS: due, intents, blobs · ARGV: most, lease in milliseconds. Answers for each: intent, record, blob.
DUE = (
    _TIME
    + """
local handed = {}
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
for _, intent in ipairs(ids) do
  local before, attempts, names = string.match(redis.call('HGET', KEYS[2], intent), '^(%d+ )(%d+)( .*)$')
  local record = before .. (attempts + 1) .. names
  redis.call('HSET', KEYS[2], intent, record)
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), intent)
  handed[#handed + 1] = {intent, record, redis.call('HGET', KEYS[3], intent)}
end
return handed
"""
)

# KEYS: due, blobs · ARGV: intent, milliseconds, blob if there is a new one.
POSTPONE = (
    _TIME
    + """
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
if ARGV[3] then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
return 1
"""
)

# KEYS: begun. Answers: how many, and milliseconds since the oldest.
PENDING = (
    _TIME
    + """
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {redis.call('ZCARD', KEYS[1]), oldest[2] and math.max(0, now - oldest[2]) or 0}
"""
)

# KEYS: key · ARGV: fingerprint, owner, milliseconds. Answers: fresh, running, different; or the blob in a list.
BEGIN = """
local known = redis.call('HMGET', KEYS[1], 'f', 'o', 'b')
if not known[1] then
  redis.call('HSET', KEYS[1], 'f', ARGV[1], 'o', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 'fresh'
end
if known[1] ~= ARGV[1] then return 'different' end
if known[3] then return {known[3]} end
return known[2] == ARGV[2] and 'fresh' or 'running'
"""

# KEYS: key · ARGV: owner, milliseconds, blob. Answers 1, or 0 where the key is not the owner's.
ANSWER = """
local known = redis.call('HMGET', KEYS[1], 'o', 'b')
if known[1] ~= ARGV[1] then return 0 end
if known[2] then return 1 end
redis.call('HSET', KEYS[1], 'b', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

# KEYS: key · ARGV: owner, milliseconds.
HOLD = """
local known = redis.call('HMGET', KEYS[1], 'o', 'b')
if known[1] ~= ARGV[1] then return 0 end
if not known[2] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
"""

# KEYS: key · ARGV: owner.
ABANDON = """
local known = redis.call('HMGET', KEYS[1], 'o', 'b')
if known[1] == ARGV[1] and not known[2] then redis.call('DEL', KEYS[1]) end
return 1
"""
