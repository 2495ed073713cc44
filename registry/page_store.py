"""`CursorStore` on Redis or Valkey: sealed page states that expire by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys


class RedisCursorStore:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._keys = keys or RedisKeys()

    async def save(self, blobs: Mapping[str, bytes], *, seconds: int) -> None:
        with store_errors():
            async with self._client.pipeline(transaction=False) as pipeline:
                for key, blob in blobs.items():
                    pipeline.set(self._keys.page(key), blob, ex=seconds)
                await pipeline.execute()

    async def load(self, key: str) -> bytes | None:
        with store_errors():
            blob: bytes | None = await self._client.get(self._keys.page(key))
        return blob
