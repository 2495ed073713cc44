"""The first crawl of a manager: every circle it holds, read once, in an order that survives being killed.

What makes it without gaps: the place in the manager's feed is noted **before** the first page is asked for. Whatever
changes from then on the feed will bring; whatever does not change keeps its place in the order in which it is crawled.
A page is learnt before the place it leads to is kept: after a kill a page may be learnt twice, none is left out.

A manager that cannot be asked in that order is walked by its own links, from the start each time. Its links count places,
so a deletion on the way may let a circle slip through: it is held to the total that it gave at the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from broker.errors import FailureKind
from broker.sync.instants import epoch
from broker.sync.reader import ManagerReader, Page
from broker.sync.tasks import end
from registry.locator_model import Coverage
from registry.ports import Locator

Save = Callable[[Coverage], Awaitable[Coverage]]
"""Keep the coverage, and give it back as kept."""


async def begun(reader: ManagerReader, coverage: Coverage, now: float) -> Coverage:
    """The coverage with which a crawl begins: the places in the feeds, and how much there is."""
    since = await reader.newest("CareTeam")
    patients_since = await reader.newest("Patient")
    return replace(
        coverage,
        since=since,
        patients_since=patients_since,
        crawled=None,
        circles=0,
        total=await reader.total("CareTeam"),
        problem=None,
        as_of=None,
        started=now,
        base_url=reader.registered.gestionnaire.base_url,
    )


@dataclass(slots=True)
class Crawl:
    """Raises `ManagerError`, also of kind incomplete where circles slipped through, and `UnsortedError`."""

    reader: ManagerReader
    locator: Locator
    save: Save

    async def run(self, coverage: Coverage) -> Coverage:
        """From where `coverage` says to the end. What comes back, and is not kept yet, tells how many there were."""
        if self.reader.orders("CareTeam"):
            return await self._in_order(coverage)
        return await self._walk(coverage)

    async def _in_order(self, coverage: Coverage) -> Coverage:
        count = coverage.circles  # of those before `crawled`
        here: set[str] = set()  # the circles counted of that very instant
        place = epoch(coverage.crawled)
        async with aclosing(ahead(self.reader.ascending("CareTeam", coverage.crawled))) as pages:
            async for page in pages:
                await self._learn(page)
                crawled = coverage.crawled
                for entry in page.matches:
                    instant = epoch(entry.last_updated)
                    if instant is None or (place is not None and instant < place):
                        continue
                    if place is None or instant > place:
                        place, crawled, here = instant, entry.last_updated, set()
                    if entry.local_id not in here:
                        here.add(entry.local_id)
                        count += 1
                coverage = await self.save(replace(coverage, crawled=crawled, circles=count - len(here)))
        await self._check(coverage.total, count)
        # Not kept so: whoever goes on from `crawled` counts the last ones again.
        return replace(coverage, circles=count)

    async def _check(self, total: int | None, count: int) -> None:
        """Fewer than there were: deleted on the way, or never shown."""
        if total is not None and count < total and count < (await self.reader.total("CareTeam") or 0):
            raise self.reader.calls.failure(FailureKind.INCOMPLETE)

    async def _walk(self, coverage: Coverage) -> Coverage:
        coverage = replace(coverage, circles=0, crawled=None)
        before: frozenset[str] = frozenset()  # of the page before: what moved back comes twice
        async with aclosing(ahead(self.reader.listed("CareTeam"))) as pages:
            async for page in pages:
                await self._learn(page)
                now = frozenset(entry.local_id for entry in page.matches)
                coverage = await self.save(replace(coverage, circles=coverage.circles + len(now - before)))
                before = now
        if coverage.total is not None and coverage.circles < coverage.total:
            raise self.reader.calls.failure(FailureKind.INCOMPLETE)
        return coverage

    async def _learn(self, page: Page) -> None:
        await self.locator.learn(await self.reader.sightings(page))


async def ahead(pages: AsyncGenerator[Page]) -> AsyncGenerator[Page]:
    """The same pages, the next of which is read while the present one is worked at. Never more than two at a time."""
    coming = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await coming) is not None:
            coming = asyncio.ensure_future(anext(pages, None))
            yield page
    finally:
        await end([coming])
        await pages.aclose()
