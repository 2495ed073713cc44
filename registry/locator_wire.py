"""How the index's buckets are read and rewritten: a few small scripts, many edits in one exchange.

On a Redis Cluster a script touches keys of one hash tag only; each edit concerns one key. A bucket is written
whole, as a fresh string: appending to one would have the server reserve up to as much again for more.
Scripts are sent as text: a server that restarted or was emptied knows none by its hash.
Every edit may arrive twice (the client repeats after a lost connection) and changes nothing then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio.cluster import RedisCluster

from registry.locator_records import LINK
from registry.redis_connection import RedisClient, store_errors

EDITS_PER_SCRIPT = 64
"""So that no script holds the server for more than a millisecond or so."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One key, and what its script is told. `tag`: what a cluster goes by; edits of equal tags stay in order."""

    tag: int
    key: str
    arguments: tuple[bytes, ...]


# ARGV: for each key '+' or '-', then a link, all in one string. A link that is there already takes the later stamp; one
# is removed up to the stamp given. Answers 1 for a key where the same digest has other links too.
LINKS = f"""
local answers = {{}}
for i, key in ipairs(KEYS) do
  local start = (i - 1) * {LINK + 1} + 1
  local adds = string.sub(ARGV[1], start, start) == '+'
  local edit = string.sub(ARGV[1], start + 1, start + {LINK})
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
  if others then
    answers[#answers + 1] = i
    answers[#answers + 1] = 1
  end
end
return answers
"""

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

# ARGV, for each key: identity, entry as read ('' for none), new entry with its length before it, and '' or an instant
# (seconds) before which deletions are forgotten. Answers: nothing where it was as read, else the entry that is there.
EXCHANGE = (
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
local answers = {}
for i, key in ipairs(KEYS) do
  local n = i * 4
  local bucket = redis.call('GET', key) or ''
  local at, body, after = locate(bucket, ARGV[n - 3])
  local current = at and string.sub(bucket, body, after - 1) or ''
  if current ~= ARGV[n - 2] then
    answers[#answers + 1] = i
    answers[#answers + 1] = current
  else
    if not at then at, after = #bucket + 1, #bucket + 1 end
    bucket = string.sub(bucket, 1, at - 1) .. ARGV[n - 1] .. string.sub(bucket, after)
    if ARGV[n] ~= '' then bucket = without_old_deletions(bucket, tonumber(ARGV[n])) end
    redis.call('SET', key, bucket)
  end
end
return answers
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
_REPLACE = """
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
_LEAD = (
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
_FLOOR = (
    _FENCE
    + """
local held = redis.call('GET', KEYS[1])
return tonumber(held and string.match(held, '^(%d+) ') or fence(KEYS[2]))
"""
)

# KEYS: conflicts · ARGV: most, then digests
_MARK = """
for i = 2, #ARGV do
  if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[1]) then break end
  redis.call('SADD', KEYS[1], ARGV[i])
end
return 1
"""


class LocatorWire:
    """Every method raises `StoreError`."""

    def __init__(self, client: RedisClient) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._cluster = isinstance(client, RedisCluster)

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """One round trip. One server reads all at one instant, the nodes of a cluster each at its own."""
        with store_errors():
            if not self._cluster:
                answers: list[bytes | None] = await self._client.mget(keys)
                return answers
            return await self._piped([("GET", key) for key in keys])

    async def run(self, script: str, edits: Sequence[Edit]) -> dict[int, Any]:
        """One round trip. The answers that are not nothing, by the place of their edit."""
        batches = self._batches(edits)
        commands = []
        for batch in batches:
            told: Iterable[bytes] = (argument for place in batch for argument in edits[place].arguments)
            if script is LINKS:
                told = (b"".join(told),)
            commands.append(("EVAL", script, len(batch), *(edits[place].key for place in batch), *told))
        answers: dict[int, Any] = {}
        with store_errors():
            for batch, answered in zip(batches, await self._piped(commands), strict=True):
                for number, answer in zip(answered[::2], answered[1::2], strict=True):
                    answers[batch[number - 1]] = answer
        return answers

    def _batches(self, edits: Sequence[Edit]) -> list[list[int]]:
        """Places of the edits that one script does."""
        by_tag: dict[int, list[int]] = {}
        for place, edit in enumerate(edits):
            by_tag.setdefault(edit.tag if self._cluster else 0, []).append(place)
        return [
            places[start : start + EDITS_PER_SCRIPT]
            for places in by_tag.values()
            for start in range(0, len(places), EDITS_PER_SCRIPT)
        ]

    async def replace(self, key: str, old: bytes, new: bytes) -> bytes:
        """What is there now: `new` where it was `old`."""
        with store_errors():
            answer: int | bytes = await self._client.eval(_REPLACE, 1, key, old, new)
        return answer if isinstance(answer, bytes) else new

    async def lead(self, key: str, fence_key: str, node: str, milliseconds: int) -> int:
        with store_errors():
            fence: int = await self._client.eval(_LEAD, 2, key, fence_key, node, milliseconds)
        return fence

    async def floor(self, key: str, fence_key: str) -> int:
        """The fence of whoever leads; above all that were given where nobody does."""
        with store_errors():
            fence: int = await self._client.eval(_FLOOR, 2, key, fence_key)
        return fence

    async def mark(self, key: str, members: Iterable[bytes], most: int) -> None:
        with store_errors():
            await self._client.eval(_MARK, 1, key, most, *members)

    async def unmark(self, key: str, members: Iterable[bytes]) -> None:
        with store_errors():
            await self._client.srem(key, *members)

    async def marked(self, key: str) -> set[bytes]:
        with store_errors():
            members: set[bytes] = await self._client.smembers(key)
        return members

    async def unlink(self, keys: Sequence[str]) -> None:
        """Keys of one hash tag."""
        with store_errors():
            await self._client.unlink(*keys)

    async def _piped(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not commands:
            return []
        # No transaction: edits are independent, and on a cluster they live on different nodes.
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute()
        return answers
