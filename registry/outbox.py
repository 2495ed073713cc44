"""`Outbox` on Redis or Valkey, one server or a cluster. What it promises is said at the port.

A waiting change takes 66 bytes where ids and versions are numbers, 137 where they are UUIDs, some 60 more where it is a part
of a trace: a million that wait (at 50 changes a second, five hours without the log) take some 70 to 200 MB. A circle that
changed of late is remembered in 36 bytes, in 90 at a manager with few such circles. Nothing is dropped where memory ends:
the server must not evict keys (`maxmemory-policy noeviction`), and then refuses what would need more, the intent of a new
write among it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry import outbox_scripts as scripts
from registry.locator_scripts import LEAD
from registry.outbox_model import CircleChange, Numbered, OutboxState, Waiting
from registry.outbox_wire import BUCKETS, change_arguments, circle_arguments, milliseconds, waiting
from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys
from registry.redis_script import RedisScript

_ENQUEUE = RedisScript(scripts.ENQUEUE)
_LEAD = RedisScript(LEAD)
_NUMBERS = RedisScript(scripts.NUMBERS)
_PEEK = RedisScript(scripts.PEEK)
_REMOVE = RedisScript(scripts.REMOVE)
_STATE = RedisScript(scripts.STATE)
_TIDY = RedisScript(scripts.TIDY)

_AT_ONCE = 200
_LONGEST_WAIT = 1.0  # seconds, below what the connection takes for a dead server


class RedisOutbox:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._keys = keys or RedisKeys()

    async def enqueue(self, change: CircleChange) -> int | None:
        return (await self._enqueue([change], ""))[0]

    async def enqueue_many(
        self, changes: Sequence[CircleChange], *, since: str | None
    ) -> Sequence[int | None]:
        told: list[int | None] = []
        for start in range(0, len(changes), _AT_ONCE):
            told += await self._enqueue(changes[start : start + _AT_ONCE], str(milliseconds(since)))
        return told

    async def _enqueue(self, changes: Sequence[CircleChange], floor: str) -> list[int | None]:
        buckets, made = change_arguments(changes, self._keys)
        keys = [self._keys.outbox, self._keys.outbox_epoch, self._keys.outbox_floors, *buckets]
        told: list[bytes] = await _ENQUEUE.run(self._client, keys, (floor, *made))
        return [int(one) if one else None for one in told]

    async def numbers(self, manager: str, circle_ids: Sequence[str]) -> Sequence[Numbered]:
        told: list[Numbered] = []
        for start in range(0, len(circle_ids), _AT_ONCE):
            keys, made = circle_arguments(manager, circle_ids[start : start + _AT_ONCE], self._keys)
            now, *found = await _NUMBERS.run(self._client, keys, made)
            told += [
                Numbered(int(number) if number else int(now) - 1, bool(number), int(version))
                for number, version in zip(found[::2], found[1::2], strict=True)
            ]
        return told

    async def lead(self, node: str, *, seconds: float) -> int | None:
        keys = [self._keys.outbox_lead, self._keys.outbox_fence]
        return await _LEAD.run(self._client, keys, (node, round(seconds * 1000))) or None

    async def peek(self, token: int, *, after: str | None, limit: int) -> Sequence[Waiting] | None:
        keys = [self._keys.outbox_lead, self._keys.outbox]
        answer = await _PEEK.run(self._client, keys, (token, after or "", limit))
        return None if answer is None else waiting(*answer)

    async def remove(self, token: int, places: Sequence[str]) -> bool:
        keys = [self._keys.outbox_lead, self._keys.outbox]
        return bool(await _REMOVE.run(self._client, keys, (token, *places)))

    async def wait(self, after: str | None, *, seconds: float) -> bool:
        block = round(min(seconds, _LONGEST_WAIT) * 1000)
        with store_errors():
            if block <= 0:
                return False
            found = await self._client.xread({self._keys.outbox: after or "0"}, count=1, block=block)
        return bool(found)

    async def state(self) -> OutboxState:
        keys = [self._keys.outbox_lead, self._keys.outbox]
        depth, age, added, node = await _STATE.run(self._client, keys, ())
        return OutboxState(depth, age / 1000 if depth else None, added, node.decode() or None)

    async def tidy(self, manager: str, part: int, *, older: float) -> int:
        keys = [self._keys.outbox_floors, self._keys.outbox_circles(manager, part % BUCKETS)]
        gone: int = await _TIDY.run(self._client, keys, (manager, round(older * 1000)))
        return gone
