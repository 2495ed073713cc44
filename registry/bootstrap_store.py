"""`BootstrapStore` on Redis or Valkey: one small hash, since there are few subscriptions on topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from registry.bootstrap_model import BootstrapProgress
from registry.locator_scripts import LEAD
from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys
from registry.redis_script import RedisScript

_LEAD = RedisScript(LEAD)

# KEYS: lead, progress · ARGV: token, field, content or ''. Answers 1; 0 where the lead is another's.
_SAVE = RedisScript("""
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^(%d+) ') ~= ARGV[1] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
return 1
""")

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(BootstrapProgress).decode


class RedisBootstrapStore:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._keys = keys or RedisKeys()

    async def lead(self, node: str, *, seconds: float) -> int | None:
        keys = [self._keys.bootstrap_lead, self._keys.bootstrap_fence]
        return await _LEAD.run(self._client, keys, (node, round(seconds * 1000))) or None

    async def progress(self) -> Mapping[tuple[str, str], BootstrapProgress]:
        with store_errors():
            found: dict[bytes, bytes] = await self._client.hgetall(self._keys.bootstrap_progress)
        named = ((name.decode().partition(" "), content) for name, content in found.items())
        return {(subscription, manager): _decode(content) for (subscription, _, manager), content in named}

    async def save(
        self, token: int, subscription: str, manager: str, progress: BootstrapProgress | None
    ) -> bool:
        keys = [self._keys.bootstrap_lead, self._keys.bootstrap_progress]
        content = b"" if progress is None else _encode(progress)
        return bool(await _SAVE.run(self._client, keys, (token, f"{subscription} {manager}", content)))

    async def requests(self) -> Mapping[str, int]:
        with store_errors():
            found: dict[bytes, bytes] = await self._client.hgetall(self._keys.bootstrap_requests)
        return {name.decode(): int(count) for name, count in found.items()}

    async def request(self, subscription: str) -> None:
        with store_errors():
            await self._client.hincrby(self._keys.bootstrap_requests, subscription, 1)

    async def forget_request(self, subscription: str) -> None:
        with store_errors():
            await self._client.hdel(self._keys.bootstrap_requests, subscription)
