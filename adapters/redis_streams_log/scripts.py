"""What happens to a topic in one step. Times are the server's, in milliseconds."""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Past its retention: at most 100 tombstones a time, each with its place in the hash, unless the key lives again.
_TIDY = """
local function tidy(stream, latest, tombstones, compacted, retention)
  if retention < 0 then return end
  if not compacted then
    redis.call('XTRIM', stream, 'MINID', '=', string.format('%.0f', now - retention))
    return
  end
  for _, key in ipairs(redis.call('ZRANGE', tombstones, '-inf', now - retention, 'BYSCORE', 'LIMIT', 0, 100)) do
    redis.call('XDEL', stream, redis.call('HGET', latest, key))
    redis.call('HDEL', latest, key)
    redis.call('ZREM', tombstones, key)
  end
end
"""

# KEYS: settings, ends, stream, latest, tombstones
# ARGV: settings as known here, partition, 1 if compacted, retention (-1: for good), key, fields and values…
# Returns: the entry; 'none' where there is no such topic, 'other' where its settings are others.
PUBLISH = (
    _NOW
    + _TIDY
    + """
local settings = redis.call('GET', KEYS[1])
if not settings then return 'none' end
if settings ~= ARGV[1] then return 'other' end
local compacted = ARGV[3] == '1'
local milliseconds, number = string.match(redis.call('HGET', KEYS[2], ARGV[2]) or '0-0', '(%d+)-(%d+)')
if tonumber(milliseconds) < now then milliseconds = string.format('%.0f', now) end
local id = milliseconds .. '-' .. string.format('%.0f', number + 1)
redis.call('XADD', KEYS[3], id, 'k', ARGV[5], unpack(ARGV, 6))
redis.call('HSET', KEYS[2], ARGV[2], id)
if compacted then
  local before = redis.call('HGET', KEYS[4], ARGV[5])
  if before then redis.call('XDEL', KEYS[3], before) end
  redis.call('HSET', KEYS[4], ARGV[5], id)
  if ARGV[6] == 'v' then
    redis.call('ZREM', KEYS[5], ARGV[5])
  else
    redis.call('ZADD', KEYS[5], now, ARGV[5])
  end
end
tidy(KEYS[3], KEYS[4], KEYS[5], compacted, tonumber(ARGV[4]))
return id
"""
)

# KEYS: stream, latest, tombstones · ARGV: 1 if compacted, retention
TIDY = (
    _NOW
    + _TIDY
    + """
tidy(KEYS[1], KEYS[2], KEYS[3], ARGV[1] == '1', tonumber(ARGV[2]))
return 1
"""
)

# Say that a member is alive, and give it free partitions up to its share: members in the order of their names have
# equal shares, the first ones one more where it does not come out even.
# KEYS: settings, groups, members, owners, streams…
# ARGV: group, member, milliseconds to live (0: it leaves), 1 to begin at the oldest entry
# Returns: share (-1: no such topic), then partition and ownership by turns.
ANNOUNCE = (
    _NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return {-1} end
local me, partitions = ARGV[2], #KEYS - 4
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if ARGV[3] == '0' then
  redis.call('ZREM', KEYS[3], me)
  return {0}
end
redis.call('ZADD', KEYS[3], now + ARGV[3], me)
if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then
  for partition = 1, partitions do
    redis.call('XGROUP', 'CREATE', KEYS[4 + partition], ARGV[1], ARGV[4] == '1' and '0' or '$', 'MKSTREAM')
  end
end
local members = redis.call('ZRANGE', KEYS[3], 0, -1)
table.sort(members)
local alive, share = {}, 0
for place, member in ipairs(members) do
  alive[member] = true
  if member == me then
    share = math.floor(partitions / #members) + (place <= partitions % #members and 1 or 0)
  end
end
local mine, free = {}, {}
for partition = 0, partitions - 1 do
  local owned = redis.call('HGET', KEYS[4], partition) or '0|'
  local number, owner = string.match(owned, '^(%d+)|(.*)$')
  if owner == me then
    table.insert(mine, {partition, owned})
  elseif not alive[owner] then
    table.insert(free, {partition, number})
  end
end
for _, one in ipairs(free) do
  if #mine >= share then break end
  local owned = string.format('%.0f', one[2] + 1) .. '|' .. me
  redis.call('HSET', KEYS[4], one[1], owned)
  table.insert(mine, {one[1], owned})
end
local answer = {share}
for _, one in ipairs(mine) do
  table.insert(answer, one[1])
  table.insert(answer, one[2])
end
return answer
"""
)

# KEYS: owners · ARGV: partition and ownership by turns
RELEASE = """
for place = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[place]) == ARGV[place + 1] then
    redis.call('HSET', KEYS[1], ARGV[place], string.match(ARGV[place + 1], '^%d+') .. '|')
  end
end
return 1
"""

# KEYS: stream, owners, ends
# ARGV: partition, ownership, group, member, 1 to claim what is pending at others, entry that was seen last, entries, bytes
# Returns: false where it is not the owner, or the last entry of the partition and the entries.
FETCH = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return false end
local group, me = ARGV[3], ARGV[4]
if ARGV[5] == '1' then
  local cursor = '0-0'
  repeat
    local claimed = redis.call('XAUTOCLAIM', KEYS[1], group, me, 0, cursor, 'COUNT', 1000, 'JUSTID')
    cursor = claimed[1]
  until cursor == '0-0'
  for _, one in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group)) do
    if one[2] ~= me then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], group, one[2]) end
  end
end
local entries, bytes = {}, 0
local function fetch(from)
  local last = from
  while #entries < tonumber(ARGV[7]) and bytes < tonumber(ARGV[8]) do
    local count = math.min(16, ARGV[7] - #entries)
    local got = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', count, 'STREAMS', KEYS[1], last)
    local page = got and got[1][2] or {}
    for _, entry in ipairs(page) do
      if from ~= '>' then last = entry[1] end
      if entry[2] and #entry[2] > 0 then
        for _, text in ipairs(entry[2]) do bytes = bytes + #text end
        table.insert(entries, entry)
      else
        redis.call('XACK', KEYS[1], group, entry[1])  -- deleted since: compacted, or past its retention
      end
    end
    if #page < count then break end
  end
end
fetch(ARGV[6])
if #entries == 0 then fetch('>') end
return {redis.call('HGET', KEYS[3], ARGV[1]) or '0-0', entries}
"""

# KEYS: stream, owners · ARGV: partition, ownership, group, member, entry up to which all is done
COMMIT = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
repeat
  local pending = redis.call('XPENDING', KEYS[1], ARGV[3], '-', ARGV[5], 1000, ARGV[4])
  for _, one in ipairs(pending) do redis.call('XACK', KEYS[1], ARGV[3], one[1]) end
until #pending < 1000
return 1
"""

# KEYS: stream, ends · ARGV: partition, group · Returns: events, milliseconds since the oldest of them
LAG = (
    _NOW
    + """
local function number(id) return tonumber(string.match(id, '%-(%d+)$')) end
local last = number(redis.call('HGET', KEYS[2], ARGV[1]) or '0-0')
local delivered, pending = '0-0', 0
local groups = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'GROUPS', KEYS[1]) or {}
for _, group in ipairs(groups) do
  local one = {}
  for place = 1, #group, 2 do one[group[place]] = group[place + 1] end
  if one['name'] == ARGV[2] then delivered, pending = one['last-delivered-id'], one['pending'] end
end
local next = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)[1]
local events = pending + (next and last - number(next[1]) + 1 or 0)
if events == 0 then return {0, 0} end
local oldest = pending > 0 and redis.call('XPENDING', KEYS[1], ARGV[2])[2] or next[1]
return {events, math.max(0, now - tonumber(string.match(oldest, '^%d+')))}
"""
)

# A script, since redis-py makes dictionaries of entries, which lose repeated fields.
# KEYS: stream · ARGV: from, to, entries
RANGE = "return redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])"
