"""What the store must be for the broker to rely on it, looked at at start and then again and again.

A store that evicts keys loses claims (and with them the rule of one circle per person), records of the index (and with
them circles from searches, unseen), unfinished writes and events: so none is started on. One that begins to evict later,
or takes over in another's place, is told of in the log, by `/metrics` and by `/health/ready`: what is in it by then is
better served than not. A part of the composition root.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.errors import ConfigurationError, StoreError
from broker.observability.metrics import Room
from broker.observability.metrics_store import StoreFigures
from broker.ports import Clock
from broker.wiring_ground import Ground, Part
from registry.store_memory import NO_EVICTION, RedisMemory, StoreMemory

_log = logging.getLogger("broker.store")

EVERY: Final = 60.0
"""Seconds between two looks."""

MAY_EVICT: Final = "store-may-evict"


@dataclass(slots=True)
class StoreWatch(Part):
    """`seen`: None until the store has told. `told`: what of it is in the log already."""

    memory: RedisMemory
    clock: Clock
    seen: StoreMemory | None = None
    told: set[str] = field(default_factory=set)

    @classmethod
    async def wired(cls, ground: Ground) -> StoreWatch:
        """Raises `ConfigurationError` where the store evicts. One that is away is looked at when it is back."""
        watch = cls(RedisMemory(ground.redis), ground.clock)
        await watch.look()
        if watch.seen is not None and watch.seen.may_evict:
            raise ConfigurationError("config.store-evicts", policy=str(watch.seen.policy))
        return watch

    async def look(self) -> None:
        try:
            seen = await self.memory.look()
        except StoreError:
            return  # whoever needs it says so
        before, self.seen = self.seen, seen
        if seen.policy is None:
            self._tell("the store does not tell its maxmemory-policy: it must be noeviction", logging.WARNING)
        elif seen.may_evict:
            self._tell(
                f"the store evicts keys (maxmemory-policy {seen.policy}): what must not be lost may be lost",
                logging.ERROR,
            )
        elif seen.policy != NO_EVICTION:
            self._tell(
                f"the store would evict keys if it had a limit (maxmemory-policy {seen.policy})",
                logging.WARNING,
            )
        else:
            self.told.clear()
        if before is not None and seen.evicted > before.evicted:
            _log.error("the store threw %d keys away", seen.evicted - before.evicted)

    async def run(self) -> None:
        while True:
            await self.clock.sleep(EVERY)
            await self.look()

    def warnings(self) -> Sequence[str]:
        """Codes, for `/health/ready`."""
        return (MAY_EVICT,) if self.seen is not None and self.seen.may_evict else ()

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.run()

    def figures(self) -> Iterable[Room]:
        yield StoreFigures(self._evicting, lambda: 0 if self.seen is None else self.seen.evicted)

    def _evicting(self) -> bool | None:
        return None if self.seen is None or self.seen.policy is None else self.seen.may_evict

    def _tell(self, text: str, level: int) -> None:
        if text not in self.told:
            self.told = {text}
            _log.log(level, "%s", text)
