"""While somebody looks on, every manager is asked for something cheap now and then, so that what is shown is true.

Without it a manager that nobody searches would look as it did when it was last asked. What comes of it counts: an outage
that an operator sees is one that searches need not find out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from broker.console.live import Live
from broker.federation.traffic import Traffic
from broker.ports import Clock, Managers
from registry.model import Registered, Status

_EVERY: Final = 0.5
_QUIET: Final = 2.0
"""Seconds after which a manager that nobody asked is asked."""
_DOUBTFUL: Final = 1.0
"""The same, where its last exchange failed."""


@dataclass(frozen=True, slots=True)
class Lookout:
    """`look`: at one manager; it raises nothing of a manager's. `refresh`: what is known is brought up to date."""

    live: Live
    managers: Managers
    traffic: Traffic
    look: Callable[[Registered], Awaitable[None]]
    refresh: Callable[[], Awaitable[None]]
    clock: Clock

    async def run(self) -> None:
        """Until cancelled."""
        under_way: dict[str, asyncio.Task[None]] = {}
        asked: dict[str, float] = {}
        try:
            while True:
                await self.clock.sleep(_EVERY)
                self.traffic.keep({one.gestionnaire.id for one in self.managers.all()})
                under_way = {slug: task for slug, task in under_way.items() if not task.done()}
                if self.live.watched:
                    await self.refresh()
                for one in self.managers.all() if self.live.watched else ():
                    slug = one.gestionnaire.id
                    if slug not in under_way and self._is_due(one, asked.get(slug)):
                        asked[slug] = self.clock.monotonic()
                        under_way[slug] = asyncio.create_task(self._look(one))
        finally:
            for task in under_way.values():
                task.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)

    async def _look(self, one: Registered) -> None:
        await self.look(one)

    def _is_due(self, one: Registered, asked: float | None) -> bool:
        if one.gestionnaire.status is not Status.ACTIVE:
            return False
        known = self.traffic.of(one.gestionnaire.id)
        patience = _DOUBTFUL if known is not None and known.failing else _QUIET
        last = max(asked or 0.0, known.last if known is not None else 0.0)
        return (asked is None and known is None) or self.clock.monotonic() - last >= patience
