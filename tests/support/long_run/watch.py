"""Looking at the broker's processes while it is under load, and while it rests."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from tests.support.long_run.figures import Growth, after
from tests.support.long_run.processes import Held, held
from tests.support.long_run.site import Site

TASKS = "cds_tasks"


@dataclass
class Watch:
    """`seen`: by process id, at instants (monotonic). `tasks`: of all its event loops together."""

    site: Site
    seen: dict[int, list[tuple[float, Held]]] = field(default_factory=lambda: defaultdict(list))
    tasks: list[tuple[float, float]] = field(default_factory=list)
    figures: Mapping[str, float] = field(default_factory=dict)

    async def run(self, every: float) -> None:
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        now = time.monotonic()
        for pid, one in (await asyncio.to_thread(self._held)).items():
            self.seen[pid].append((now, one))
        try:
            self.figures = await self.site.figures()
        except (aiohttp.ClientError, TimeoutError):
            return  # the clients tell of a broker that does not answer
        if TASKS in self.figures:
            self.tasks.append((now, self.figures[TASKS]))

    def _held(self) -> dict[int, Held]:
        roles = self.site.roles
        found = {pid: held(pid, roles) for pid in self.site.pids}
        return {pid: one for pid, one in found.items() if one is not None}

    @property
    def now(self) -> Mapping[int, Held]:
        """Of the processes that were there at the last look."""
        last = max((times[-1][0] for times in self.seen.values()), default=0.0)
        return {pid: times[-1][1] for pid, times in self.seen.items() if times[-1][0] == last}

    def descriptors(self) -> Counter[str]:
        """Of all of them together."""
        counted: Counter[str] = Counter()
        for one in self.now.values():
            counted.update(one.descriptors)
        return counted

    def replaced(self, since: float) -> list[int]:
        """Processes that were not there all the time since then."""
        last = max((times[-1][0] for times in self.seen.values()), default=0.0)
        return [
            pid
            for pid, times in self.seen.items()
            if times[-1][0] >= since and not times[0][0] <= since <= times[-1][0] == last
        ]

    def growth(self, what: str, since: float) -> dict[int, Growth]:
        """Of `rss`, `uss`, `open` or `threads`, of each process that lived all the time since then."""
        last = max((times[-1][0] for times in self.seen.values()), default=0.0)
        found = {}
        for pid, times in self.seen.items():
            series = after([(instant, float(getattr(one, what))) for instant, one in times], since)
            if len(series) > 3 and times[0][0] <= since and times[-1][0] == last:
                found[pid] = Growth.of(series)
        return found
