"""`ConflictStore` on Redis or Valkey: one small hash, since the index keeps some thousand conflicts at most."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from broker.core.conflict import Conflict
from registry.conflict_ports import KnownConflicts
from registry.locator_scripts import LEAD
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.redis_script import RedisScript

_LEAD = RedisScript(LEAD)

# KEYS: all, looked. Answers the instant or false, and the contents.
_KNOWN = RedisScript("return {redis.call('GET', KEYS[2]), redis.call('HVALS', KEYS[1])}")

# KEYS: lead, all, looked · ARGV: token, instant or '', how many are kept, their ids and contents, ids of those to forget.
# Answers 1; 0 where the lead is another's.
_SAVE = RedisScript("""
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^(%d+) ') ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[3], ARGV[2]) end
local behind = 3 + 2 * tonumber(ARGV[3])
for place = 4, behind, 2 do redis.call('HSET', KEYS[2], ARGV[place], ARGV[place + 1]) end
for place = behind + 1, #ARGV do redis.call('HDEL', KEYS[2], ARGV[place]) end
return 1
""")

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Conflict).decode


class RedisConflictStore:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client = client
        self._keys = keys or RedisKeys()

    async def lead(self, node: str, *, seconds: float) -> int | None:
        keys = [self._keys.conflicts_lead, self._keys.conflicts_fence]
        return await _LEAD.run(self._client, keys, (node, round(seconds * 1000))) or None

    async def known(self) -> KnownConflicts:
        looked: bytes | None
        held: list[bytes]
        looked, held = await _KNOWN.run(self._client, [self._keys.conflicts, self._keys.conflicts_looked], ())
        conflicts = sorted(map(_decode, held), key=lambda one: (one.since, one.id))
        return KnownConflicts(tuple(conflicts), None if looked is None else float(looked))

    async def save(
        self,
        token: int,
        changed: Sequence[Conflict] = (),
        *,
        gone: Collection[str] = (),
        looked: float | None = None,
    ) -> bool:
        keys = [self._keys.conflicts_lead, self._keys.conflicts, self._keys.conflicts_looked]
        arguments: list[Any] = [token, "" if looked is None else repr(looked), len(changed)]
        for one in changed:
            arguments += [one.id, _encode(one)]
        return bool(await _SAVE.run(self._client, keys, [*arguments, *gone]))
