"""`AliasStore` on Redis or Valkey: one key for each long id, without expiry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys


class RedisAliasStore:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._keys = keys or RedisKeys()

    async def remember(self, aliases: Mapping[str, str]) -> None:
        """An alias is derived from what it stands for, so that writing it again writes the same."""
        if not aliases:
            return
        with store_errors():
            # No transaction: aliases are independent, and on a cluster they live on different nodes.
            async with self._client.pipeline(transaction=False) as pipeline:
                for alias, own_id in aliases.items():
                    pipeline.set(self._keys.alias(alias), own_id)
                await pipeline.execute()

    async def resolve(self, alias: str) -> str | None:
        with store_errors():
            own_id: bytes | None = await self._client.get(self._keys.alias(alias))
            return None if own_id is None else own_id.decode()
