"""The registry of managers on Redis or Valkey.

A write reads the newest version of the manager's history, decides (`registry.versions`, pure), and hands what
is to be written to one script that first compares the head of the history with what was read. Another
writer's version in between makes it compare unequal, and the decision is taken anew: no lock, no lost change.
The same script keeps two managers from one address and publishes the change, so that none is stored unseen.
All keys share a hash tag (`registry.redis_keys`), as Redis Cluster asks of a script.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from broker.errors import RequestError
from broker.ports import Clock
from registry.model import Gestionnaire, Registered, Skills
from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys
from registry.redis_listening import listen
from registry.versions import Version, next_version, removal

HISTORY_LENGTH = 50
"""Versions kept of each manager."""

# KEYS: declarations, skills, addresses, slugs, history
# ARGV: slug, head as read ('' for none), new head, new declaration ('' to remove), old and new address,
# bound, channel
_WRITE = """
local head = redis.call('LINDEX', KEYS[5], 0) or ''
if head ~= ARGV[2] then return 0 end
if ARGV[4] ~= '' then
  local owner = redis.call('HGET', KEYS[3], ARGV[6])
  if owner and owner ~= ARGV[1] then return owner end
end
if ARGV[5] ~= ARGV[6] then
  redis.call('HDEL', KEYS[3], ARGV[5])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
  redis.call('HSET', KEYS[3], ARGV[6], ARGV[1])
end
redis.call('LPUSH', KEYS[5], ARGV[3])
redis.call('LTRIM', KEYS[5], 0, tonumber(ARGV[7]) - 1)
redis.call('SADD', KEYS[4], ARGV[1])
redis.call('PUBLISH', ARGV[8], ARGV[1])
return 1
"""

# KEYS: declarations, skills · ARGV: slug, skills, channel
_LEARN = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
"""

# Declarations and skills in one breath: a reader never sees the skills of one version beside another
# declaration.
_READ = """
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}
"""

_encode = msgspec.json.encode
_registered = msgspec.json.Decoder(Registered)
_version = msgspec.json.Decoder(Version)
_skills = msgspec.json.Decoder(Skills)


class RedisGestionnaireStore:
    """`GestionnaireStore` on Redis or Valkey, one server or a cluster."""

    def __init__(self, client: RedisClient, clock: Clock, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._clock = clock
        self._keys = keys or RedisKeys()

    async def all(self) -> Sequence[Registered]:
        with store_errors():
            declarations, skills = await self._client.eval(
                _READ, 2, self._keys.declarations, self._keys.skills
            )
            learnt = dict(zip(skills[::2], skills[1::2], strict=True))
            slugs = zip(declarations[::2], declarations[1::2], strict=True)
            return [_joined(document, learnt.get(slug)) for slug, document in sorted(slugs)]

    async def get(self, slug: str) -> Registered | None:
        return next((one for one in await self.all() if one.gestionnaire.id == slug), None)

    async def put(self, gestionnaire: Gestionnaire, *, expected_revision: int | None = None) -> Registered:
        while True:
            raw, head = await self._head(gestionnaire.id)
            new = next_version(head, gestionnaire, expected_revision, self._now())
            if new is not None and await self._write(raw, head, Version(new)):
                return await self.get(gestionnaire.id) or new
            if new is None and (current := await self.get(gestionnaire.id)) is not None:
                return current

    async def remove(self, slug: str) -> bool:
        while True:
            raw, head = await self._head(slug)
            gone = removal(head, self._now())
            if gone is None:
                return False
            if await self._write(raw, head, gone):
                return True

    async def save_skills(self, slug: str, skills: Skills) -> None:
        keys = (self._keys.declarations, self._keys.skills)
        with store_errors():
            await self._client.eval(_LEARN, 2, *keys, slug, _encode(skills), self._keys.changes)

    async def history(self, slug: str) -> Sequence[tuple[Registered, bool]]:
        with store_errors():
            entries = await self._client.lrange(self._keys.history(slug), 0, -1)
            versions = [_version.decode(entry) for entry in entries]
        return [(version.registered, version.removed) for version in versions]

    async def known_slugs(self) -> Sequence[str]:
        """Every slug that has a history, removed ones too, sorted."""
        with store_errors():
            return sorted(slug.decode() for slug in await self._client.smembers(self._keys.slugs))

    async def changes(self) -> AsyncGenerator[None]:
        """Yields as soon as it listens, at each change, and again whenever a lost connection came back."""
        async with aclosing(listen(self._client, self._keys.changes, self._clock)) as messages:
            async for _ in messages:
                yield

    async def _head(self, slug: str) -> tuple[bytes, Version | None]:
        with store_errors():
            raw: bytes | None = await self._client.lindex(self._keys.history(slug), 0)
            return (b"", None) if raw is None else (raw, _version.decode(raw))

    async def _write(self, raw: bytes, head: Version | None, new: Version) -> bool:
        """False where another writer came first. Raises `RequestError("registry.same-address")`."""
        keys = self._keys
        slug = new.registered.gestionnaire.id
        old = "" if head is None or head.removed else head.registered.gestionnaire.base_url
        address = "" if new.removed else new.registered.gestionnaire.base_url
        document = b"" if new.removed else _encode(new.registered)
        with store_errors():
            answer: int | bytes = await self._client.eval(
                _WRITE,
                5,
                *(keys.declarations, keys.skills, keys.addresses, keys.slugs, keys.history(slug)),
                *(slug, raw, _encode(new), document, old, address, HISTORY_LENGTH, keys.changes),
            )
        if isinstance(answer, bytes):
            raise RequestError("registry.same-address", slug=slug, other=answer.decode())
        return bool(answer)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _joined(document: bytes, skills: bytes | None) -> Registered:
    registered = _registered.decode(document)
    return (
        registered if skills is None else msgspec.structs.replace(registered, skills=_skills.decode(skills))
    )
