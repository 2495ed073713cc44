"""The scripts of the queues for HTTP endpoints, each one step. All keys a script touches are declared, of one hash tag.

A queue is a hash, a stream and an index of the stream. The hash: n number of the last event, d up to where it was
delivered, b bytes in the stream, l events dropped before they were delivered, x failures in a row, s since when,
p where nothing is to be tried, f fence, h until when a worker has its turn. Instants are milliseconds by the server's
clock. The stream's ids are the events' numbers, so that a range of them is a range of it.

A queue that does not fail, is not parked and is nobody's turn becomes due by an event; otherwise when its time has come.
"""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
"""

_STATE = """
local function state_of(state, events)
  local own = redis.call('HMGET', state, 'n', 'd', 'l', 'x', 's', 'p')
  local oldest = redis.call('XRANGE', events, text((own[2] or 0) + 1) .. '-0', '+', 'COUNT', 1)[1]
  for place = 1, 4 do own[place] = own[place] or '0' end
  return {own[1], own[2], own[3], own[4], own[5] or '', own[6] or '', oldest and oldest[2][4] or ''}
end
"""

# KEYS: due, state · ARGV: subscription, channel.
OPEN = (
    _NOW
    + """
if redis.call('HSETNX', KEYS[2], 'n', '0') == 1 then
  redis.call('ZADD', KEYS[1], text(now), ARGV[1])
  redis.call('PUBLISH', ARGV[2], ARGV[1])
end
return 1
"""
)

# Drop the oldest that are over the bounds, a hundred at most, down to the event of this number.
_TRIM = """
local function trim(state, events, known, number, most, bytes_most, kept)
  local bytes, delivered = tonumber(redis.call('HGET', state, 'b') or '0'), tonumber(redis.call('HGET', state, 'd') or '0')
  for _ = 1, 100 do
    local oldest = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
    local its = oldest and tonumber(string.match(oldest[1], '^%d+'))
    if not its or its == number then return end
    local over = redis.call('XLEN', events) > tonumber(most) or bytes > tonumber(bytes_most)
    if not over and tonumber(oldest[2][4]) >= now - kept then return end
    redis.call('XDEL', events, oldest[1])
    redis.call('HDEL', known, oldest[2][2])
    bytes = redis.call('HINCRBY', state, 'b', -#oldest[2][6])
    if its > delivered then redis.call('HINCRBY', state, 'l', 1) end
  end
end
"""

# KEYS: due; state, events, known of each
# ARGV: event, most events, most bytes, milliseconds kept, channel; subscription, content of each
# Answers for each: the event's number; 0 where there is no queue.
OFFER = (
    _NOW
    + _TRIM
    + """
local numbers = {}
for place = 1, (#KEYS - 1) / 3 do
  local state, events, known = KEYS[place * 3 - 1], KEYS[place * 3], KEYS[place * 3 + 1]
  local subscription, content = ARGV[4 + place * 2], ARGV[5 + place * 2]
  local number = 0
  if redis.call('EXISTS', state) == 1 then
    number = tonumber(redis.call('HGET', known, ARGV[1]))
    if not number then
      number = redis.call('HINCRBY', state, 'n', 1)
      redis.call('XADD', events, text(number) .. '-0', 'e', ARGV[1], 't', text(now), 'c', content)
      redis.call('HSET', known, ARGV[1], text(number))
      redis.call('HINCRBY', state, 'b', #content)
      trim(state, events, known, number, ARGV[2], ARGV[3], ARGV[4])
      local own = redis.call('HMGET', state, 'x', 'p', 'h')
      if not own[1] and not own[2] and tonumber(own[3] or '0') <= now then
        redis.call('ZADD', KEYS[1], 'LT', text(now), subscription)
        redis.call('PUBLISH', ARGV[5], subscription)
      end
    end
  end
  numbers[place] = number
end
return numbers
"""
)

# KEYS: due · ARGV: most. Answers the subscriptions.
DUE = (
    _NOW
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'LIMIT', 0, ARGV[1])
"""
)

# KEYS: due; state, events of each · ARGV: milliseconds; subscription of each
# Answers for each that is still due: subscription, fence, now, state.
TAKE = (
    _NOW
    + _STATE
    + """
local taken = {}
for place = 1, (#KEYS - 1) / 2 do
  local state, subscription = KEYS[place * 2], ARGV[place + 1]
  local due = redis.call('ZSCORE', KEYS[1], subscription)
  if due and tonumber(due) <= now then
    if redis.call('EXISTS', state) == 0 then
      redis.call('ZREM', KEYS[1], subscription)
    else
      local fence, ends = redis.call('HINCRBY', state, 'f', 1), text(now + ARGV[1])
      redis.call('HSET', state, 'h', ends)
      redis.call('ZADD', KEYS[1], ends, subscription)
      taken[#taken + 1] = {subscription, fence, text(now), state_of(state, KEYS[place * 2 + 1])}
    end
  end
end
return taken
"""
)

# KEYS: due, state · ARGV: subscription, fence, milliseconds, number or ''. Answers 1, or 0.
RENEW = (
    _NOW
    + """
if redis.call('HGET', KEYS[2], 'f') ~= ARGV[2] then return 0 end
if ARGV[4] ~= '' then
  if tonumber(ARGV[4]) > tonumber(redis.call('HGET', KEYS[2], 'd') or '0') then redis.call('HSET', KEYS[2], 'd', ARGV[4]) end
  redis.call('HDEL', KEYS[2], 'x', 's')
end
local ends = text(now + ARGV[3])
redis.call('HSET', KEYS[2], 'h', ends)
redis.call('ZADD', KEYS[1], ends, ARGV[1])
return 1
"""
)

# KEYS: due, state · ARGV: subscription, fence, milliseconds or '', how (ok, failed, park). Answers 1, or 0.
END = (
    _NOW
    + """
if redis.call('HGET', KEYS[2], 'f') ~= ARGV[2] then return 0 end
redis.call('HINCRBY', KEYS[2], 'f', 1)
redis.call('HDEL', KEYS[2], 'h')
local again = ARGV[3] ~= '' and now + ARGV[3] or nil
if ARGV[4] == 'ok' then
  redis.call('HDEL', KEYS[2], 'x', 's')
  local own = redis.call('HMGET', KEYS[2], 'n', 'd')
  if tonumber(own[1]) > tonumber(own[2] or '0') then again = now end
elseif ARGV[4] == 'park' then
  redis.call('HSET', KEYS[2], 'p', '1')
  again = nil
else
  redis.call('HINCRBY', KEYS[2], 'x', 1)
  redis.call('HSETNX', KEYS[2], 's', text(now))
end
if again then
  redis.call('ZADD', KEYS[1], text(again), ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
"""
)

# KEYS: due, state · ARGV: subscription, channel. The fence grows, so that who was about to park it does not.
RESUME = (
    _NOW
    + """
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], 'f', 1)
redis.call('HDEL', KEYS[2], 'p', 'x', 's', 'h')
redis.call('ZADD', KEYS[1], text(now), ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[1])
return 1
"""
)

# KEYS: state, events by turns. Answers for each: its state, or false where there is none.
STATES = (
    _NOW
    + _STATE
    + """
local found = {}
for place = 1, #KEYS / 2 do
  local there = redis.call('EXISTS', KEYS[place * 2 - 1]) == 1
  found[place] = there and state_of(KEYS[place * 2 - 1], KEYS[place * 2])
end
return found
"""
)

# KEYS: state, events, known of each · ARGV: most events, most bytes, milliseconds kept.
TIDY = (
    _NOW
    + _TRIM
    + """
for place = 1, #KEYS, 3 do
  if redis.call('EXISTS', KEYS[place]) == 1 then
    trim(KEYS[place], KEYS[place + 1], KEYS[place + 2], 0, ARGV[1], ARGV[2], ARGV[3])
  end
end
return 1
"""
)

# KEYS: due, state, events, known · ARGV: subscription.
DROP = """
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
"""

# A script, since redis-py makes dictionaries of entries. KEYS: events · ARGV: from, to, most.
RANGE = "return redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])"
