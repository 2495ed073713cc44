"""The index's coverage of each manager, looked at now and then, so that showing figures of it waits for nobody."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.service import LocatorService, ManagerInLocator

EVERY = 5.0
"""Seconds between two looks."""


@dataclass(slots=True)
class CoverageWatch:
    """`known`: of the last look that was answered; `looked`: when that was (monotonic), None before the first."""

    service: LocatorService
    clock: Clock
    known: Sequence[ManagerInLocator] = ()
    looked: float | None = None

    async def run(self, every: float = EVERY) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await self.clock.sleep(every)

    async def look(self) -> None:
        with suppress(StoreError):  # what was known is shown, and grows old
            self.known = (await self.service.status()).managers
            self.looked = self.clock.monotonic()

    @property
    def since(self) -> float:
        """Seconds since the last look that was answered."""
        return 0.0 if self.looked is None else self.clock.monotonic() - self.looked
