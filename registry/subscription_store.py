"""`SubscriptionStore` on Redis or Valkey, one server or a cluster. What it promises is said at the port.

A document is `{version} {instant} {sealed content}`. The seal is bound to the subscription's id: a content that was
moved to another one does not open. A writer says which version it saw, and one script compares, writes and tells.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from broker.core.sealing import Sealer
from broker.ports import Clock
from registry import subscription_scripts as scripts
from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys
from registry.redis_listening import listen
from registry.redis_script import RedisScript
from registry.subscription_model import StoredSubscription

_PURPOSE = "subscription"
_GONE = 30 * 86_400  # seconds for which a removed one is known as such
_KEY_ID = 4  # bytes with which a seal begins: they tell under which secret it was made
_AT_ONCE = 200  # documents in one answer

_PUT = RedisScript(scripts.PUT)
_REMOVE = RedisScript(scripts.REMOVE)
_READ = RedisScript(scripts.READ)
_RESEAL = RedisScript(scripts.RESEAL)


class RedisSubscriptionStore:
    def __init__(
        self, client: RedisClient, sealer: Sealer, clock: Clock, *, keys: RedisKeys | None = None
    ) -> None:
        self._client = client
        self._sealer = sealer
        self._clock = clock
        self._keys = keys or RedisKeys()

    async def epoch(self) -> int:
        redis: Any = self._client  # redis-py types its commands as sync-or-async unions
        with store_errors():
            return int(await redis.get(self._keys.subscription_epoch) or 0)

    async def versions(self) -> Mapping[str, int]:
        redis: Any = self._client  # redis-py types its commands as sync-or-async unions
        with store_errors():
            found: dict[bytes, bytes] = await redis.hgetall(self._keys.subscription_versions)
        return {name.decode(): int(version) for name, version in found.items()}

    async def read(self, ids: Sequence[str]) -> Sequence[StoredSubscription]:
        found: list[StoredSubscription] = []
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            keys = [self._keys.subscriptions, *(self._keys.subscription_gone(one) for one in some)]
            answers: list[tuple[bytes | None, bytes | None]] = await _READ.run(self._client, keys, some)
            for name, (document, gone) in zip(some, answers, strict=True):
                if document is not None:
                    found.append(self._opened(name, document))
                elif gone is not None:
                    version, at, _ = gone.split(b" ")
                    found.append(StoredSubscription(name, int(version), at.decode(), None, removed=True))
        return found

    async def put(self, subscription: str, content: bytes, *, expected: int) -> StoredSubscription | None:
        now = self._now()
        sealed = self._sealer.seal(_PURPOSE, content, context=subscription.encode())
        arguments = (subscription, expected, f"{now} ".encode() + sealed, self._keys.subscription_changes)
        done = await _PUT.run(self._client, self._written(subscription), arguments)
        return StoredSubscription(subscription, expected + 1, now, content) if done else None

    async def remove(self, subscription: str, *, expected: int | None = None) -> bool:
        told = f"{self._now()} {secrets.token_hex(8)}"  # a repeated call knows its own removal
        version = "" if expected is None else expected
        arguments = (subscription, version, told, _GONE, self._keys.subscription_changes)
        return bool(await _REMOVE.run(self._client, self._written(subscription), arguments))

    async def reseal(self) -> int:
        redis: Any = self._client  # redis-py types its commands as sync-or-async unions
        with store_errors():
            documents: dict[bytes, bytes] = await redis.hgetall(self._keys.subscriptions)
        present = self._sealer.seal(_PURPOSE, b"")[:_KEY_ID]
        done = 0
        for name, document in documents.items():
            version, at, sealed = document.split(b" ", 2)
            if sealed.startswith(present):
                continue
            content = self._sealer.open(_PURPOSE, sealed, context=name)
            if content is not None:
                anew = b" ".join([version, at, self._sealer.seal(_PURPOSE, content, context=name)])
                done += await _RESEAL.run(self._client, [self._keys.subscriptions], (name, document, anew))
        return done

    async def changes(self) -> AsyncGenerator[str]:
        async with aclosing(listen(self._client, self._keys.subscription_changes, self._clock)) as messages:
            async for message in messages:
                yield message.decode()

    def _written(self, subscription: str) -> list[str]:
        """The keys that a write touches."""
        keys = self._keys
        own = keys.subscription_gone(subscription)
        return [keys.subscriptions, keys.subscription_versions, keys.subscription_epoch, own]

    def _opened(self, name: str, document: bytes) -> StoredSubscription:
        version, at, sealed = document.split(b" ", 2)
        content = self._sealer.open(_PURPOSE, sealed, context=name.encode())
        return StoredSubscription(name, int(version), at.decode(), content)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
