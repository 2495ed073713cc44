"""The scripts of the subscriptions, each one step. All keys a script touches are declared, and of one hash tag.

A script may run twice for one call, as the client repeats it after a lost connection. A second `PUT` finds the version that
the first wrote, with the very same document, and answers as the first did; so does a second `REMOVE`.
"""

from __future__ import annotations

# KEYS: documents, versions, epoch, gone · ARGV: id, expected version, instant and content, channel. Answers 1, or 0.
PUT = """
local document = string.format('%.0f', ARGV[2] + 1) .. ' ' .. ARGV[3]
local present = redis.call('HGET', KEYS[1], ARGV[1])
if present == document then return 1 end
local version = present and string.match(present, '^%d+') or '0'
if version ~= ARGV[2] or redis.call('EXISTS', KEYS[4]) == 1 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], document)
redis.call('HSET', KEYS[2], ARGV[1], string.match(document, '^%d+'))
redis.call('INCR', KEYS[3])
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1
"""

# KEYS: documents, versions, epoch, gone · ARGV: id, expected version or '', instant and nonce, seconds, channel
# Answers 1, or 0.
REMOVE = """
local present = redis.call('HGET', KEYS[1], ARGV[1])
if not present then
  local gone = redis.call('GET', KEYS[4])
  return gone and string.match(gone, ' (.*)$') == ARGV[3] and 1 or 0
end
local version = string.match(present, '^%d+')
if ARGV[2] ~= '' and version ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('INCR', KEYS[3])
redis.call('SET', KEYS[4], string.format('%.0f', version + 1) .. ' ' .. ARGV[3], 'EX', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[1])
return 1
"""

# KEYS: documents, gone of each · ARGV: ids. Answers for each: document or false, gone or false.
READ = """
local found = {}
for place, id in ipairs(ARGV) do
  found[place] = {redis.call('HGET', KEYS[1], id), redis.call('GET', KEYS[place + 1])}
end
return found
"""

# KEYS: documents · ARGV: id, document as read, document. Answers 1, or 0 where it is another by now.
RESEAL = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
