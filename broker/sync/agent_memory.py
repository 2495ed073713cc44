"""What the agent remembers between events, so as to ask its manager less: actors that it has just found or made. Bounded.

Nothing here is needed for being right. What is remembered is only referred to: before an actor is written, it is looked at.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from sys import intern

import msgspec

from broker.core.entry import Entry
from broker.ports import Clock
from registry.locator_model import Identifier

ActorKey = tuple[str, Identifier]
"""Type and business identifier."""

_encode = msgspec.json.Encoder().encode  # orjson's bytes keep the 4 kB that they were written in


@dataclass(slots=True)
class ActorMemory:
    """`size` actors at most; the one that was not used for longest goes first. About 1 kB for each.

    `seconds`: after which one is asked for again.
    """

    clock: Clock
    size: int = 20_000
    seconds: float = 600.0
    _held: OrderedDict[ActorKey, tuple[float, Entry]] = field(default_factory=OrderedDict)

    def get(self, key: ActorKey) -> Entry | None:
        found = self._held.get(key)
        if found is None:
            return None
        good_until, held = found
        if good_until < self.clock.monotonic():
            del self._held[key]
            return None
        self._held.move_to_end(key)
        return held

    def put(self, key: ActorKey, held: Entry) -> None:
        """With no more of its content than by what it was found."""
        system, value = key[1]
        raw = _encode({"identifier": [{"system": system, "value": value}]})
        tags = tuple((None if name is None else intern(name), code) for name, code in held.tags)
        held = msgspec.structs.replace(held, raw=raw, tags=tags)
        self._held[key] = (self.clock.monotonic() + self.seconds, held)
        self._held.move_to_end(key)
        if len(self._held) > self.size:
            self._held.popitem(last=False)

    def forget(self, keys: Iterable[ActorKey]) -> None:
        for key in keys:
            self._held.pop(key, None)

    def __len__(self) -> int:
        return len(self._held)


@dataclass(slots=True)
class Turns:
    """Who writes something under a name goes alone: two events that need the same actor must not both make it."""

    _locks: dict[ActorKey, tuple[asyncio.Lock, int]] = field(default_factory=dict)

    @asynccontextmanager
    async def taken(self, keys: Iterable[ActorKey]) -> AsyncIterator[bool]:
        """Whether somebody else was at one of them, so that they are not as they were when they were looked at.

        Taken in one order by everybody, so that nobody waits for one who waits for him.
        """
        wanted = sorted(set(keys))
        waited = any(key in self._locks for key in wanted)
        async with AsyncExitStack() as stack:
            for key in wanted:
                await stack.enter_async_context(self._one(key))
            yield waited

    @asynccontextmanager
    async def _one(self, key: ActorKey) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
