"""How many persons have two homes, counted now and then for the gauge: resolving one is a person's work."""

from __future__ import annotations

from broker.errors import StoreError
from broker.ports import Clock
from registry.ports import Locator

_PAUSE = 10.0


class ConflictWatch:
    """`count` is None until the index was asked, and while it does not answer."""

    def __init__(self, locator: Locator, clock: Clock) -> None:
        self._locator = locator
        self._clock = clock
        self.count: int | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self.count = len(await self._locator.conflicts())
            except StoreError:
                self.count = None
            await self._clock.sleep(_PAUSE)
