"""A script that the server knows by its hash, and is told again where it forgot (restarted, emptied, a new primary)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from registry.redis_connection import RedisClient, store_errors

Arguments = Sequence[str | bytes | int]


class RedisScript:
    """One round trip, on a cluster too as long as the keys share a hash tag; two where the server forgot."""

    __slots__ = ("hash", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: RedisClient, keys: Sequence[str], arguments: Arguments) -> Any:
        """Raises `StoreError`."""
        redis: Any = client  # redis-py types its commands as sync-or-async unions
        with store_errors():
            try:
                return await redis.evalsha(self.hash, len(keys), *keys, *arguments)
            except NoScriptError:
                return await redis.eval(self.text, len(keys), *keys, *arguments)
