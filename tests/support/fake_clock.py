"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import itertools


class FakeClock:
    """The `Clock` port on virtual time.

    Sleepers wake when `advance` passes their instant, in order. With `auto=True` a sleep moves the time itself and
    returns after one turn of the loop.
    """

    def __init__(
        self, start: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), *, auto: bool = False
    ) -> None:
        self._start = start
        self._elapsed = 0.0
        self._auto = auto
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> dt.datetime:
        return self._start + dt.timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if self._auto or seconds <= 0:
            self._elapsed += max(0.0, seconds)
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken))
        await woken

    @property
    def sleeping(self) -> int:
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move the time forward; every sleeper due on the way runs until it waits for something else."""
        target = self._elapsed + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, woken = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self._elapsed = target
        await settle()


async def settle(turns: int = 20) -> None:
    """Let what can run without I/O or timers run."""
    for _ in range(turns):
        await asyncio.sleep(0)
