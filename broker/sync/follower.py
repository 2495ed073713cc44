"""One manager's part of the index, kept true by the node that leads it: crawl where nothing is known, then follow.

What is to be done is decided anew at every step from the coverage that the store holds, never from memory: the index may
have been emptied, replaced, or told to begin anew by somebody else meanwhile. A coverage that is no longer what was
written here ends the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from broker.errors import FailureKind, ManagerError, StoreError
from broker.ports import Clock, Managers
from broker.sync.crawl import Crawl, begun
from broker.sync.feed import LASTING, Feed, Listener, TooManyChangesError
from broker.sync.instants import epoch
from broker.sync.options import SyncOptions
from broker.sync.reader import ManagerReader, UnsortedError
from registry.locator_model import Coverage, CoverageState
from registry.model import Registered, Status
from registry.ports import Locator

_SMALLEST_PAGE = 20
LONGEST_PAUSE = 60.0
"""Seconds between attempts at a manager that fails."""

_UNCHECKED_PAUSE = 1.0
_STORE_IS_OUT = "federation.store"  # else the store refuses what this manager shows

MakeReader = Callable[[Registered, int, set[str], set[str]], ManagerReader]
"""A reader from: the manager, the page size, the types found unsorted, and those found without history."""


class LostLeadError(Exception):
    """Another node feeds this manager now, or the generation is gone: nothing more may be written."""


class CoverageChangedError(Exception):
    """The stored coverage is no longer what was written here: a new crawl was asked for, or the index is another one."""


@dataclass(slots=True)
class Follower:
    """`generation`: the part of the index that is looked after; `fence`: the token of the leadership.

    `listener` hears of circles that change, once the manager is followed.
    """

    slug: str
    generation: int
    fence: int
    managers: Managers
    locator: Locator
    clock: Clock
    options: SyncOptions
    make_reader: MakeReader
    listener: Listener | None = None
    _feed: Feed = field(init=False)
    _last: Coverage = field(init=False)
    _crawled: float | None = None  # `started` of the crawl that came to its end
    _circles: int = 0  # that it counted
    _size: int = field(init=False)
    _unsorted: set[str] = field(default_factory=set)
    _unrecorded: set[str] = field(default_factory=set)
    _checked_at: str | None = None
    _base_url: str | None = None
    _too_far: bool = False  # the feed could not be caught up with

    def __post_init__(self) -> None:
        self._feed = Feed(self.locator, self.listener)
        self._last = Coverage(generation=self.generation)
        self._size = self.options.page

    async def run(self) -> None:
        """Until cancelled. Raises `LostLeadError`, `StoreError`."""
        failures = 0
        while True:
            seen = self._last
            try:
                pause = await self._step()
                failures = 0
            except CoverageChangedError:
                self._feed = Feed(self.locator, self.listener)  # what was learnt of late may be lost with it
                pause = 0.0
            except UnsortedError as error:
                self._unsorted.add(error.resource_type)
                pause = 0.0
            except TooManyChangesError:
                self._too_far = True
                await self._ask_anew()
                pause = 0.0
            except (ManagerError, StoreError) as error:
                if error.key == _STORE_IS_OUT:
                    raise
                failures = 1 if self._last.circles > seen.circles else failures + 1
                await self._tell(error)
                pause = min(self.options.poll * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
            await self.clock.sleep(pause)

    async def _step(self) -> float:
        """One thing done; the seconds until the next."""
        registered = self.managers.get(self.slug)
        if registered is None or registered.gestionnaire.status is not Status.ACTIVE:
            return self.options.poll
        if _unchecked(registered):
            return _UNCHECKED_PAUSE  # how it may be asked is about to be found out
        self._know(registered)
        reader = self.make_reader(registered, self._size, self._unsorted, self._unrecorded)
        self._last = await self._stored()
        if self._last.fence > self.fence:
            raise LostLeadError
        if await self._must_begin(reader):
            await self._begin(reader)
        if self._last.state is CoverageState.CRAWLING and self._crawled != self._last.started:
            self._circles = (await Crawl(reader, self.locator, self._save).run(self._last)).circles
            self._crawled = self._last.started
        now = self.clock.now().timestamp()
        coverage = await self._feed.catch_up(reader, self._last, now)
        if self._last.state is CoverageState.CRAWLING:
            coverage = replace(coverage, circles=self._circles)
        await self._save(coverage)
        return self.options.poll

    def _know(self, registered: Registered) -> None:
        """What was found out holds until the manager is checked again, or is another one."""
        checked_at = registered.skills.checked_at if registered.skills is not None else None
        base_url = registered.gestionnaire.base_url
        if (checked_at, base_url) != (self._checked_at, self._base_url):
            self._unsorted, self._unrecorded = set(), set()
            self._checked_at, self._base_url = checked_at, base_url

    async def _must_begin(self, reader: ManagerReader) -> bool:
        last = self._last
        if last.state is CoverageState.NONE or last.base_url != reader.registered.gestionnaire.base_url:
            return True
        if last.state is not CoverageState.COMPLETE or last.problem is None or last.started is None:
            return False
        age = self.clock.now().timestamp() - last.started
        return last.problem in LASTING and age > self.options.recrawl

    async def _begin(self, reader: ManagerReader) -> None:
        """A crawl from the start. What an earlier one left is cleared, and nobody relies on it from before that."""
        self._size = self.options.page
        self._feed = Feed(self.locator, self.listener)
        before = self._last
        if self._last.started is not None:
            await self._save(replace(self._last, state=CoverageState.NONE, as_of=None))
            await self.locator.clear(self.slug)
            self._last = await self._stored()
        now = self.clock.now().timestamp()
        coverage = await begun(reader, self._last, now)
        if not self._too_far and _goes_on(before, coverage):
            coverage = replace(coverage, since=before.since)
        await self._save(replace(coverage, state=CoverageState.CRAWLING, as_of=None))
        self._too_far = False

    async def _ask_anew(self) -> None:
        await self._save(replace(self._last, state=CoverageState.NONE, as_of=None))

    async def _tell(self, error: ManagerError | StoreError) -> None:
        """Keep why nothing moves on; what is covered stays, and ages."""
        kind = error.kind if isinstance(error, ManagerError) else None
        if kind in (FailureKind.TIMEOUT, FailureKind.TOO_LARGE):
            self._size = max(_SMALLEST_PAGE, self._size // 2)
        try:
            crawling = self._last.state is CoverageState.CRAWLING and self._crawled != self._last.started
            if kind is FailureKind.INCOMPLETE and crawling:
                await self._ask_anew()  # circles slipped through: from where it came to, they will not be met
            await self._save(replace(self._last, problem=error.key))
        except CoverageChangedError:
            pass  # the next step sees it

    # --- the coverage of this manager, in this generation

    async def _stored(self) -> Coverage:
        coverage = await self.locator.coverage(self.generation)
        return coverage.get(self.slug, Coverage(generation=self.generation))

    async def _save(self, coverage: Coverage) -> Coverage:
        """Write what differs from what is kept, if that still is what was written here."""
        registered = self.managers.get(self.slug)
        if registered is None or registered.gestionnaire.base_url != self._base_url:
            raise CoverageChangedError  # what was read is another manager's
        coverage = replace(coverage, fence=self.fence, generation=self.generation)
        if _content(await self._stored()) != _content(self._last):
            raise CoverageChangedError
        if coverage != self._last and not await self.locator.save_coverage(self.slug, coverage):
            raise LostLeadError
        self._last = coverage
        return coverage


def _goes_on(before: Coverage, coverage: Coverage) -> bool:
    """Whether the feed is read on from where it was left: what changed since then is still to be heard of."""
    left, there = epoch(before.since), epoch(coverage.since)
    return before.base_url == coverage.base_url and left is not None and there is not None and left < there


def _content(coverage: Coverage) -> Coverage:
    return msgspec.structs.replace(coverage, fence=0)


def _unchecked(registered: Registered) -> bool:
    skills = registered.skills
    return registered.gestionnaire.dialect is None and (skills is None or skills.checked_at is None)
