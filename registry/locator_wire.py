"""How the index is read and written over the wire: many edits in one exchange.

Scripts that are sent many at once are sent as text: a server that restarted or was emptied knows none by its hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio.cluster import RedisCluster

from registry.locator_scripts import FLOOR, LEAD, LINKS, MARK, REPLACE, WRITE
from registry.redis_connection import RedisClient, store_errors
from registry.redis_script import RedisScript
from registry.redis_shared import SharedConnection

EDITS_PER_SCRIPT = 64
"""So that no script holds the server for more than a millisecond or so."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One key, and what its script is told. `tag`: what a cluster goes by; edits of equal tags stay in order."""

    tag: int
    key: str
    arguments: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """An entry, and what has to be there with it: see `locator_scripts.WRITE`. Keys: `document`, `conflicts`."""

    entry: Edit
    links: Sequence[tuple[Edit, bytes]]
    doubtful: Iterable[bytes]
    most: int
    document: str
    conflicts: str


_WRITE = RedisScript(WRITE)


class LocatorWire:
    """Every method raises `StoreError`."""

    def __init__(self, client: RedisClient) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._cluster = isinstance(client, RedisCluster)
        self._shared = None if isinstance(client, RedisCluster) else SharedConnection(client)

    @property
    def is_one_server(self) -> bool:
        """Whether a script may touch any keys at once: `write` is for such."""
        return self._shared is not None

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """One round trip. One server reads all at one instant, the nodes of a cluster each at its own."""
        if self._shared is not None:
            return await self._shared.read(keys)
        with store_errors():
            return await self._piped([("GET", key) for key in keys])

    async def run(self, script: str, edits: Sequence[Edit]) -> dict[int, Any]:
        """One round trip. The answers that are not nothing, by the place of their edit."""
        batches = self._batches(edits)
        commands = []
        for batch in batches:
            told: Iterable[bytes] = (argument for place in batch for argument in edits[place].arguments)
            if script is LINKS:
                told = (b"".join(told),)
            commands.append(("EVAL", script, len(batch), *(edits[place].key for place in batch), *told))
        answers: dict[int, Any] = {}
        with store_errors():
            for batch, answered in zip(batches, await self._piped(commands), strict=True):
                for number, answer in zip(answered[::2], answered[1::2], strict=True):
                    answers[batch[number - 1]] = answer
        return answers

    async def write(self, told: Telling) -> tuple[bytes, bytes | None, frozenset[bytes]]:
        """All of it in one step and one round trip. The document by then; the entry that is there where it was not as
        read, and nothing was done; else the digests that are in doubt."""
        assert self._shared is not None  # noqa: S101 - for the type checker: see `is_one_server`
        links = [part for edit, digest in told.links for part in (*edit.arguments, digest)]
        document, current, *doubtful = await self._shared.run(
            _WRITE,
            (told.entry.key, told.document, told.conflicts, *(edit.key for edit, _ in told.links)),
            (*told.entry.arguments, told.most, b"".join(told.doubtful), *links),
        )
        return document, current, frozenset(doubtful)

    def _batches(self, edits: Sequence[Edit]) -> list[list[int]]:
        """Places of the edits that one script does."""
        by_tag: dict[int, list[int]] = {}
        for place, edit in enumerate(edits):
            by_tag.setdefault(edit.tag if self._cluster else 0, []).append(place)
        return [
            places[start : start + EDITS_PER_SCRIPT]
            for places in by_tag.values()
            for start in range(0, len(places), EDITS_PER_SCRIPT)
        ]

    async def replace(self, key: str, old: bytes, new: bytes) -> bytes:
        """What is there now: `new` where it was `old`."""
        with store_errors():
            answer: int | bytes = await self._client.eval(REPLACE, 1, key, old, new)
        return answer if isinstance(answer, bytes) else new

    async def lead(self, key: str, fence_key: str, node: str, milliseconds: int) -> int:
        with store_errors():
            fence: int = await self._client.eval(LEAD, 2, key, fence_key, node, milliseconds)
        return fence

    async def floor(self, key: str, fence_key: str) -> int:
        """The fence of whoever leads; above all that were given where nobody does."""
        with store_errors():
            fence: int = await self._client.eval(FLOOR, 2, key, fence_key)
        return fence

    async def mark(self, key: str, members: Iterable[bytes], most: int) -> None:
        with store_errors():
            await self._client.eval(MARK, 1, key, most, *members)

    async def unmark(self, key: str, members: Iterable[bytes]) -> None:
        with store_errors():
            await self._client.srem(key, *members)

    async def marked(self, key: str) -> set[bytes]:
        with store_errors():
            members: set[bytes] = await self._client.smembers(key)
        return members

    async def unlink(self, keys: Sequence[str]) -> None:
        """Keys of one hash tag."""
        with store_errors():
            await self._client.unlink(*keys)

    async def _piped(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not commands:
            return []
        # No transaction: edits are independent, and on a cluster they live on different nodes.
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute()
        return answers
