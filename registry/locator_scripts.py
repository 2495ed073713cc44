"""The scripts that rewrite the index's buckets, and the locator's small keys, each in one step.

On a Redis Cluster a script touches keys of one hash tag only; each edit concerns one key. A bucket is written whole, as
a fresh string: appending to one would have the server reserve up to as much again for more. Every edit may arrive twice
(the client repeats after a lost connection) and changes nothing then.

Those that edit buckets take any number of keys, and answer what is worth an answer: the number of a key, its answer, the
next.
"""

from __future__ import annotations

from registry.locator_hash import DIGEST
from registry.locator_records import LINK

# Adds a link to a bucket, where one that is there already takes the later stamp; or removes it up to the stamp given. True
# where the same digest has other links too.
_LINK = f"""
local function relink(key, adds, edit)
  local link, digest, stamp = string.sub(edit, 1, {LINK - 1}), string.sub(edit, 1, 6), string.byte(edit, {LINK})
  local bucket = redis.call('GET', key) or ''
  local own, others, at = nil, false, string.find(bucket, digest, 1, true)
  while at do
    if at % {LINK} ~= 1 then at = at + 1
    else
      if string.sub(bucket, at, at + {LINK - 2}) == link then own = at else others = true end
      at = at + {LINK}
    end
    at = string.find(bucket, digest, at, true)
  end
  local old = own and string.byte(bucket, own + {LINK - 1})
  local middle = nil
  if not own then
    if adds then own, middle = #bucket + 1, edit end
  elseif (stamp - old) % 256 < 128 then
    if not adds then middle = '' elseif stamp ~= old then middle = edit end
  end
  if middle then
    bucket = string.sub(bucket, 1, own - 1) .. middle .. string.sub(bucket, own + {LINK})
    if bucket == '' then redis.call('DEL', key) else redis.call('SET', key, bucket) end
  end
  return others
end
"""

# ARGV: for each key '+' or '-', then a link, all in one string. Answers 1 for a key where the same digest has other links
# too.
LINKS = (
    _LINK
    + f"""
local answers = {{}}
for i, key in ipairs(KEYS) do
  local start = (i - 1) * {LINK + 1} + 1
  local adds = string.sub(ARGV[1], start, start) == '+'
  if relink(key, adds, string.sub(ARGV[1], start + 1, start + {LINK})) then
    answers[#answers + 1] = i
    answers[#answers + 1] = 1
  end
end
return answers
"""
)

_ENTRIES = """
local function head(bucket, at)
  local length = string.byte(bucket, at)
  if length < 128 then return length, at + 1 end
  return length - 128 + string.byte(bucket, at + 1) * 128, at + 2
end
local function locate(bucket, identity)
  local hit = string.find(bucket, identity, 1, true)
  while hit do
    local at = 1
    while at <= #bucket do
      local length, body = head(bucket, at)
      if body + 8 == hit then return at, body, body + length end
      if body + 8 > hit then break end
      at = body + length
    end
    hit = string.find(bucket, identity, hit + 1, true)
  end
end
"""

# ARGV, for each key: identity. Answers: the entry, nothing where there is none.
FIND = (
    _ENTRIES
    + """
local answers = {}
for i, key in ipairs(KEYS) do
  local bucket = redis.call('GET', key) or ''
  local at, body, after = locate(bucket, ARGV[i])
  if at then
    answers[#answers + 1] = i
    answers[#answers + 1] = string.sub(bucket, body, after - 1)
  end
end
return answers
"""
)

_EXCHANGE = (
    _ENTRIES
    + """
local function without_old_deletions(bucket, before)
  local kept, at = {}, 1
  while at <= #bucket do
    local length, body = head(bucket, at)
    local after, flags = body + length, string.byte(bucket, body)
    local a, b, c, d = string.byte(bucket, after - 4, after - 1)
    -- deleted (2), with no links that still have to go (4)
    if math.floor(flags / 2) % 4 ~= 1 or ((a * 256 + b) * 256 + c) * 256 + d >= before then
      kept[#kept + 1] = string.sub(bucket, at, after - 1)
    end
    at = after
  end
  return table.concat(kept)
end
local function read(key, identity)
  local bucket = redis.call('GET', key) or ''
  local at, body, after = locate(bucket, identity)
  return at and string.sub(bucket, body, after - 1) or '', bucket, at or #bucket + 1, after or #bucket + 1
end
local function put(key, new, before, bucket, at, after)
  bucket = string.sub(bucket, 1, at - 1) .. new .. string.sub(bucket, after)
  if before ~= '' then bucket = without_old_deletions(bucket, tonumber(before)) end
  redis.call('SET', key, bucket)
end
"""
)

# ARGV, for each key: identity, entry as read ('' for none), new entry with its length before it, and '' or an instant
# (seconds) before which deletions are forgotten. Answers: nothing where it was as read, else the entry that is there.
EXCHANGE = (
    _EXCHANGE
    + """
local answers = {}
for i, key in ipairs(KEYS) do
  local n = i * 4
  local current, bucket, at, after = read(key, ARGV[n - 3])
  if current ~= ARGV[n - 2] then
    answers[#answers + 1] = i
    answers[#answers + 1] = current
  else
    put(key, ARGV[n - 1], ARGV[n], bucket, at, after)
  end
end
return answers
"""
)

# The links of one entry, its doubts and the entry itself at once, where one server holds them all.
# KEYS: bucket of the entry, document, conflicts, buckets of links · ARGV: as for EXCHANGE; most conflicts; digests in doubt
# in any case, in one string; for each link the link, and its digest if it is in doubt should it have other links ('' else).
# Answers: the document; the entry that is there where it was not as read, and nothing was done; else the digests in doubt.
WRITE = (
    _EXCHANGE
    + _LINK
    + f"""
local document = redis.call('GET', KEYS[2]) or ''
local current, bucket, at, after = read(KEYS[1], ARGV[1])
if current ~= ARGV[2] then return {{document, current}} end
local doubtful = {{}}
for start = 1, #ARGV[6], {DIGEST} do doubtful[#doubtful + 1] = string.sub(ARGV[6], start, start + {DIGEST - 1}) end
for i = 4, #KEYS do
  local others, digest = relink(KEYS[i], true, ARGV[i * 2 - 1]), ARGV[i * 2]
  if others and digest ~= '' then doubtful[#doubtful + 1] = digest end
end
for _, digest in ipairs(doubtful) do
  if redis.call('SCARD', KEYS[3]) >= tonumber(ARGV[5]) then break end
  redis.call('SADD', KEYS[3], digest)
end
put(KEYS[1], ARGV[3], ARGV[4], bucket, at, after)
return {{document, false, unpack(doubtful)}}
"""
)

_SWEPT = """
for i, key in ipairs(KEYS) do
  local bucket = redis.call('GET', key)
  if bucket then
    local kept, at = {}, 1
    while at <= #bucket do
      local next, manager = record(bucket, at)
      if not string.find(ARGV[i], string.char(manager), 1, true) then
        kept[#kept + 1] = string.sub(bucket, at, next - 1)
      end
      at = next
    end
    local left = table.concat(kept)
    if left == '' then redis.call('DEL', key) elseif #left < #bucket then redis.call('SET', key, left) end
  end
end
return {}
"""

# ARGV, for each key: the numbers of the managers whose records go, a byte each.
SWEEP_LINKS = f"local function record(b, at) return at + {LINK}, string.byte(b, at + 6) end\n" + _SWEPT
SWEEP_ENTRIES = (
    _ENTRIES
    + """
local function record(b, at)
  local length, body = head(b, at)
  return body + length, string.byte(b, body + 8)
end
"""
    + _SWEPT
)

# KEYS: state · ARGV: as read, new. Answers 1, or what is there.
REPLACE = """
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then return current end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

# KEYS: lead, last fence · ARGV: node, milliseconds. A fence is at least the server's clock, in milliseconds: a store that
# was emptied does not begin again below what it gave before.
_FENCE = """
local function fence(key)
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', key) or '0')
  local text = string.format('%.0f', math.max(last + 1, time[1] * 1000 + math.floor(time[2] / 1000)))
  redis.call('SET', key, text)
  return text
end
"""
LEAD = (
    _FENCE
    + """
local held = redis.call('GET', KEYS[1])
if held then
  local given, node = string.match(held, '^(%d+) (.*)$')
  if node ~= ARGV[1] then return 0 end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(given)
end
if tonumber(ARGV[2]) <= 0 then return 0 end
local new = fence(KEYS[2])
redis.call('SET', KEYS[1], new .. ' ' .. ARGV[1], 'PX', ARGV[2])
return tonumber(new)
"""
)
# KEYS: lead, last fence. Answers the leader's fence, or a new one where nobody leads.
FLOOR = (
    _FENCE
    + """
local held = redis.call('GET', KEYS[1])
return tonumber(held and string.match(held, '^(%d+) ') or fence(KEYS[2]))
"""
)

# KEYS: conflicts · ARGV: most, then digests
MARK = """
for i = 2, #ARGV do
  if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[1]) then break end
  redis.call('SADD', KEYS[1], ARGV[i])
end
return 1
"""
