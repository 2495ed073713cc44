"""Following what changes at a manager: its circles, and the Patients by whose identifiers they are found.

Each look reads on from the last change that was seen, by the manager's own clock, and goes some seconds further back: a
change may become visible a little after the instant it bears. What a look has dealt with, the next one passes over. Where
nothing has changed for as long as that, no straggler can come any more, and only the very last change is read again.

- By history (newest first): a circle counts as its first entry says, so a deletion wins over what was before it.
- By search: deletions are not seen. The index then names the manager for a circle that is gone, and it is asked once too
  often; nothing is missed. A new crawl from time to time clears that up.

Where a manager's Patients cannot be followed, one may be given another identifier unseen. Then the index is true as of the
instant the crawl began and no later, `as_of` says so, and the manager goes on being asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.core.bundle import Entry
from broker.errors import BrokerError
from broker.sync.instants import earlier, epoch, newest
from broker.sync.reader import ManagerReader, Page, Way
from registry.locator_model import Coverage, CoverageState
from registry.ports import Locator

MAX_CHANGES = 200_000
"""Changes that one look takes in; with more to catch up, a new crawl is cheaper."""

NO_FEED = "locator.no-feed"
NO_PATIENT_FEED = "locator.no-patient-feed"
NO_DELETIONS = "locator.no-deletions"
"""Why an index stays behind its manager: keys of `MESSAGES`."""

LASTING = frozenset({NO_FEED, NO_PATIENT_FEED, NO_DELETIONS})
"""Those that only a new crawl makes good, for a while."""

Key = tuple[str, str | None, str | None]

Listener = Callable[[str, Sequence[Entry], str], Awaitable[None]]
"""Hears of circles that changed: the manager's slug, its entries, and from where this look reads. May raise `StoreError`."""


class TooManyChangesError(BrokerError):
    """The feed is too far ahead to be caught up with."""


@dataclass(frozen=True, slots=True)
class End:
    """The last change of a feed, and our instant (monotonic seconds) of the look that first saw it.

    `settled`: a look that went back far enough found no straggler when none could come any more.
    """

    last: str
    seen_at: float
    settled: bool = False


@dataclass(slots=True)
class Feed:
    """The feeds of one manager. `handled`: by type, the changes near the end of the feed that were dealt with.

    `ends`: by type, how the feed ended at the last look. `listener` hears of a change once the index knows it, and again
    wherever a look is begun anew.
    """

    locator: Locator
    listener: Listener | None = None
    handled: dict[str, frozenset[Key]] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)

    async def catch_up(self, reader: ManagerReader, coverage: Coverage, now: float) -> Coverage:
        """One look. `now`: our instant before it. The coverage as it is after it.

        Raises `ManagerError`, `StoreError`, `UnsortedError`, `TooManyChangesError`: then the next look reads it all again.
        """
        coverage = replace(coverage, state=CoverageState.COMPLETE, problem=problem_of(reader, coverage))
        if coverage.problem in (None, NO_DELETIONS):
            coverage = replace(coverage, as_of=now)
        elif coverage.as_of is None:
            coverage = replace(coverage, as_of=coverage.started)
        since = await self._look(reader, "CareTeam", coverage.since)
        patients_since = await self._look(reader, "Patient", coverage.patients_since)
        return replace(coverage, since=since, patients_since=patients_since)

    async def _look(self, reader: ManagerReader, resource_type: str, since: str | None) -> str | None:
        if since is None or reader.way(resource_type) is Way.NONE:
            return since
        began = reader.clock.monotonic()
        end = self.ends.get(resource_type)
        settled = end is not None and end.last == since and end.settled
        overlap = 0.0 if settled else reader.options.overlap
        handled = self.handled.get(resource_type, frozenset())
        look = Look(reader, self.locator, resource_type, since, overlap, handled, self.listener)
        last = await look.read()
        self.handled[resource_type] = look.seen
        if end is None or end.last != last:
            self.ends[resource_type] = End(last, began)
        elif began - end.seen_at > reader.options.overlap:
            self.ends[resource_type] = End(last, end.seen_at, settled=True)
        return last


def problem_of(reader: ManagerReader, coverage: Coverage) -> str | None:
    """Why the index of a manager cannot be complete and exact for long; None: it can."""
    if coverage.since is None or reader.way("CareTeam") is Way.NONE:
        return NO_FEED
    if coverage.patients_since is None or reader.way("Patient") is Way.NONE:
        return NO_PATIENT_FEED
    return NO_DELETIONS if reader.way("CareTeam") is Way.SEARCH else None


@dataclass(slots=True)
class Look:
    """One look at the feed of one type. `seen`: the changes dealt with, as far back as the next look may go."""

    reader: ManagerReader
    locator: Locator
    resource_type: str
    since: str
    overlap: float
    handled: frozenset[Key]
    listener: Listener | None = None
    seen: frozenset[Key] = frozenset()

    async def read(self) -> str:
        """Take in what changed; the place from which the next look reads."""
        by_history = self.reader.way(self.resource_type) is Way.HISTORY
        low = earlier(self.since, self.overlap) if self.overlap else self.since
        last = self.since
        first_of: set[str] = set()
        keys: set[Key] = set()
        async with aclosing(self._pages(low, by_history=by_history)) as pages:
            async for page in pages:
                fresh = []
                for entry in page.matches:
                    if by_history and entry.local_id in first_of:
                        continue
                    first_of.add(entry.local_id)
                    key = (entry.local_id, entry.version_id, entry.last_updated)
                    if key not in self.handled and key not in keys:
                        fresh.append(entry)
                    keys.add(key)
                if len(keys) > MAX_CHANGES:
                    raise TooManyChangesError("internal")
                await self._take(page, fresh)
                last = newest([last, *(entry.last_updated for entry in page.matches)]) or last
                if by_history and _older(page.matches, low):
                    break  # it gave its whole history, whatever `_since` said
        edge = epoch(earlier(last, self.reader.options.overlap)) or float("-inf")
        self.seen = frozenset(key for key in keys if (epoch(key[2]) or edge) >= edge)
        return last

    def _pages(self, low: str, *, by_history: bool) -> AsyncGenerator[Page]:
        if by_history:
            return self.reader.past(self.resource_type, low)
        return self.reader.ascending(self.resource_type, low)

    async def _take(self, page: Page, changes: Sequence[Entry]) -> None:
        if not changes:
            return
        if self.resource_type == "Patient":
            async with aclosing(self.reader.of_patients([one.local_id for one in changes])) as pages:
                async for found in pages:
                    await self._learn(found, found.matches)
            return
        slug = self.reader.origin.slug
        bare: list[str] = []  # told without their content
        held: list[Entry] = []
        for one in changes:
            if one.raw:
                held.append(one)
            elif one.change is not None and one.change.method != "DELETE":
                bare.append(one.local_id)
            else:
                await self.locator.forget(slug, one.local_id, at=epoch(one.last_updated))
        await self._learn(page, held)
        gone = [one for one in changes if not one.raw and one.local_id not in bare]
        await self._tell([*held, *gone])
        if bare:
            async with aclosing(self.reader.named(bare)) as pages:
                async for found in pages:
                    await self._learn(found, found.matches)
                    await self._tell(found.matches)

    async def _tell(self, circles: Sequence[Entry]) -> None:
        if circles and self.listener is not None:
            await self.listener(self.reader.origin.slug, circles, self.since)

    async def _learn(self, page: Page, circles: Sequence[Entry]) -> None:
        if circles:
            part = Page(page.bundle, circles, page.others, page.aliases)
            await self.locator.learn(await self.reader.sightings(part))


def _older(entries: Sequence[Entry], low: str) -> bool:
    edge = epoch(low)
    instants = [instant for entry in entries if (instant := epoch(entry.last_updated)) is not None]
    return edge is not None and bool(instants) and min(instants) < edge
