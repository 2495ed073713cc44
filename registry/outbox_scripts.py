"""The scripts of the outbox, each one step. Every script may run twice for one call, as those of the write log may.

What is known of a circle, so that a change is told once and numbered, lies in a hash of its manager's that is small enough
to be kept packed: field, ten bytes of a digest of its id; value, big-endian, six bytes each but for the flag:

    sequence | instant (ms, 0 unknown) | deleted (one byte) | versions seen at that instant, the last first

A number is never below the instant at which the server began to run, or took over from another: that one may have given
numbers of which this one knows nothing, since its last changes were not synced or not replicated.

A version is a number of six bytes: the one that it is written as, and one (order counts then); from 2^47 on, the digest of
one that is no number (only sameness counts). 0: the manager gave none.
"""

from __future__ import annotations

# A change has ten arguments, from `from` on: which bucket (1 for the first), field, manager, id, version, instant as text,
# operation, instant, version as a number, trace or ''. `stream`, `epoch` and `bucket` are keys.
ENQUEUE_FUNCTION = """
local OPAQUE, MOST_VERSIONS = 2 ^ 47, 8

local function unpacked(bucket, field)
  local packed = redis.call('HGET', bucket, field)
  if not packed then return nil end
  local known, place = {versions = {}}, nil
  known.sequence, known.instant, known.deleted, place = struct.unpack('>I6I6B', packed)
  while place <= #packed do
    local version
    version, place = struct.unpack('>I6', packed, place)
    known.versions[#known.versions + 1] = version
  end
  return known
end

local function counts(version) return version > 0 and version < OPAQUE end

local function seen(known, version)
  for _, one in ipairs(known.versions) do
    if one == version then return version > 0 end
  end
  return false
end

local function is_new(known, instant, version, deleted)
  if deleted and known.deleted == 1 then return false end
  local last = known.versions[1] or 0
  if counts(version) and counts(last) and version ~= last then
    return version > last or (known.instant > 0 and instant > known.instant)
  end
  if seen(known, version) and not deleted then return false end
  local whole_second = instant % 1000 == 0 and instant == known.instant - known.instant % 1000
  if instant > 0 and instant < known.instant and not whole_second then return false end
  return version > 0 or deleted or instant == 0 or instant > known.instant
end

local function kept_versions(known, instant, version)
  if version == 0 then return known.versions end
  if counts(version) or instant > known.instant then return {version} end
  local versions = {version}
  for _, one in ipairs(known.versions) do
    if #versions < MOST_VERSIONS and one ~= version then versions[#versions + 1] = one end
  end
  return versions
end

local began
local function begun(epoch, now)
  if began then return began end
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
  local known, since = string.match(redis.call('GET', epoch) or '', '^(%x*) (%d+)$')
  if known ~= run then
    since = now
    redis.call('SET', epoch, run .. string.format(' %.0f', now))
  end
  began = tonumber(since)
  return began
end

local function enqueue(stream, epoch, floor, bucket, from, now)
  local field, instant, version = ARGV[from + 1], tonumber(ARGV[from + 7]), tonumber(ARGV[from + 8])
  local deleted = ARGV[from + 6] == 'deleted'
  local known, stated = unpacked(bucket, field), ARGV[from + 4]
  if known then
    if not is_new(known, instant, version, deleted) then return false end
    if deleted and seen(known, version) then version, stated = 0, '' end
  else
    if instant > 0 and instant <= floor then return false end
    known = {sequence = now - 1, instant = 0, versions = {}}
  end
  local sequence = math.max(known.sequence + 1, begun(epoch, now))
  local packed = struct.pack('>I6I6B', sequence, math.max(known.instant, instant), deleted and 1 or 0)
  for _, one in ipairs(kept_versions(known, instant, version)) do packed = packed .. struct.pack('>I6', one) end
  redis.call('HSET', bucket, field, packed)
  local text = string.format('%.0f', sequence)
  local told = {'m', ARGV[from + 2], 'i', ARGV[from + 3], 'v', stated, 't', ARGV[from + 5], 'o', ARGV[from + 6], 's', text}
  if ARGV[from + 9] ~= '' then
    told[13], told[14] = 'c', ARGV[from + 9]
  end
  redis.call('XADD', stream, '*', unpack(told))
  return text
end
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: stream, epoch, floors, buckets · ARGV: where each manager's feed was followed from (ms), or ''; changes.
# Answers for each: its number, or '' for what is nothing new.
ENQUEUE = (
    ENQUEUE_FUNCTION
    + _NOW
    + """
local told = {}
for from = 2, #ARGV, 10 do
  local floor = 0
  if ARGV[1] ~= '' then
    redis.call('HSETNX', KEYS[3], ARGV[from + 2], ARGV[1])
    floor = tonumber(redis.call('HGET', KEYS[3], ARGV[from + 2]))
  end
  told[#told + 1] = enqueue(KEYS[1], KEYS[2], floor, KEYS[3 + tonumber(ARGV[from])], from, now) or ''
end
return told
"""
)

# KEYS: buckets · ARGV: for each circle, which bucket (1 for the first) and its field.
# Answers the present instant (ms), and for each its number, or '', and the version that was told last, or 0.
NUMBERS = (
    _NOW
    + """
local told = {string.format('%.0f', now)}
for i = 1, #ARGV, 2 do
  local packed = redis.call('HGET', KEYS[tonumber(ARGV[i])], ARGV[i + 1])
  local number, version = '', 0
  if packed then number = string.format('%.0f', (struct.unpack('>I6', packed))) end
  if packed and #packed > 13 then version = struct.unpack('>I6', packed, 14) end
  told[#told + 1] = number
  told[#told + 1] = string.format('%.0f', version)
end
return told
"""
)

# KEYS: lead, stream · ARGV: token, place to begin behind or '', most.
# Answers the present instant (ms) and the entries; nothing where the lead is another's.
PEEK = (
    _NOW
    + """
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^(%d+) ') ~= ARGV[1] then return false end
local start = ARGV[2] == '' and '-' or '(' .. ARGV[2]
return {now, redis.call('XRANGE', KEYS[2], start, '+', 'COUNT', ARGV[3])}
"""
)

# KEYS: lead, stream · ARGV: token, places. Answers 1; 0 where the lead is another's.
REMOVE = """
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^(%d+) ') ~= ARGV[1] then return 0 end
for i = 2, #ARGV do redis.call('XDEL', KEYS[2], ARGV[i]) end
return 1
"""

# KEYS: lead, stream. Answers: depth, milliseconds since the oldest, how many were ever added, leader or ''.
STATE = (
    _NOW
    + """
local held = redis.call('GET', KEYS[1])
local node = held and string.match(held, '^%d+ (.*)$') or ''
if redis.call('EXISTS', KEYS[2]) == 0 then return {0, 0, 0, node} end
local added, info = 0, redis.call('XINFO', 'STREAM', KEYS[2])
for i = 1, #info, 2 do
  if info[i] == 'entries-added' then added = info[i + 1] end
end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local age = oldest and math.max(0, now - tonumber(string.match(oldest[1], '^%d+'))) or 0
return {redis.call('XLEN', KEYS[2]), age, added, node}
"""
)

# KEYS: floors, bucket · ARGV: manager, milliseconds. Answers how many circles were forgotten.
#
# A circle is forgotten only together with the right to ask about it: from then on, what its manager's feed shows of a time
# not after the newest that was forgotten is old, whoever it is about.
TIDY = (
    _NOW
    + """
local edge, floor, gone = now - ARGV[2], tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0'), {}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local _, instant = struct.unpack('>I6I6', all[i + 1])
  if instant > 0 and instant < edge then
    gone[#gone + 1] = all[i]
    floor = math.max(floor, instant)
  end
end
if #gone == 0 then return 0 end
for _, field in ipairs(gone) do redis.call('HDEL', KEYS[2], field) end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', floor))
return #gone
"""
)
