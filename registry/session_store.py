"""`broker.access.ports.SessionStore` on Redis or Valkey: sealed sessions of the console that expire by themselves."""

from __future__ import annotations

from typing import Any

from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys


class RedisSessions:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._keys = keys or RedisKeys()

    async def save(self, key: str, blob: bytes, *, seconds: int) -> None:
        with store_errors():
            await self._client.set(self._keys.session(key), blob, ex=seconds)

    async def load(self, key: str) -> bytes | None:
        with store_errors():
            blob: bytes | None = await self._client.get(self._keys.session(key))
        return blob

    async def replace(self, key: str, blob: bytes) -> bool:
        with store_errors():
            return bool(await self._client.set(self._keys.session(key), blob, xx=True, keepttl=True))

    async def touch(self, key: str, *, seconds: int) -> None:
        with store_errors():
            await self._client.expire(self._keys.session(key), seconds)

    async def remove(self, key: str) -> None:
        with store_errors():
            await self._client.delete(self._keys.session(key))
