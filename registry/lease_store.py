"""`Leases` on Redis. A lease only saves double work: nothing breaks where two nodes hold one for a moment."""

from __future__ import annotations

from typing import Any

from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys


class RedisLeases:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._keys = keys or RedisKeys()

    async def take(self, name: str, *, seconds: int) -> bool:
        with store_errors():
            return bool(await self._client.set(self._keys.lease(name), b"1", nx=True, ex=seconds))

    async def give_back(self, name: str) -> None:
        with store_errors():
            await self._client.delete(self._keys.lease(name))
