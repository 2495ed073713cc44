"""`HeadStore` of the audit trail on Redis: how far each stream has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker.core.audit.chain import Head
from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys


class RedisAuditHeads:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._keys = keys or RedisKeys()

    async def load(self) -> Mapping[str, Head]:
        with store_errors():
            stored = await self._client.hgetall(self._keys.audit_heads)
        return {stream.decode(): _head(value) for stream, value in stored.items()}

    async def save(self, stream: str, head: Head) -> None:
        with store_errors():
            await self._client.hset(self._keys.audit_heads, stream, f"{head.seq} {head.mac}")

    async def mourn(self, stream: str, first: int, last: int) -> None:
        with store_errors():
            await self._client.sadd(self._keys.audit_mourned, f"{stream} {first} {last}")

    async def mourned(self) -> Sequence[tuple[str, int, int]]:
        with store_errors():
            members = await self._client.smembers(self._keys.audit_mourned)
        parts = (member.decode().split(" ") for member in members)
        return sorted((stream, int(first), int(last)) for stream, first, last in parts)


def _head(value: bytes) -> Head:
    seq, _, mac = value.decode().partition(" ")
    return Head(int(seq), mac)
