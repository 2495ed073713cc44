"""Reading one manager's lists page by page: by the order of changes where it can, else by its own links.

Ascending order is read by the value, not by page links: each page asks for what changed at or after the last one seen.
Page links count places, and a circle that changes while they are followed leaves its place, so that all behind it move up
and one slips through between two pages. Asked for by value nothing slips through, links cannot expire, and whoever was
killed goes on where it was. Only within one and the same instant are links followed.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum, auto

from broker.core.bundle import Entry, ManagerBundle, read_history, read_searchset
from broker.core.identity import Origin
from broker.core.manager_query import Pairs
from broker.core.preferences import Preferences
from broker.core.query import Include
from broker.errors import FailureKind
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.includes import MAX_INCLUDED, IncludeFetcher
from broker.federation.manager_calls import ManagerCalls
from broker.federation.page_trail import PageTrail
from broker.ports import Clock
from broker.sync.instants import THE_BEGINNING, epoch, newest
from broker.sync.options import SyncOptions
from broker.sync.sightings import patients_among, sightings, without_patient
from registry.locator_model import Sighting
from registry.model import Registered

_NO_HISTORY = frozenset({400, 404, 405, 501})
_SUBJECT = Include("CareTeam", "subject", "Patient")
_REFERENCES = 30  # Patients in one criterion


_COARSE = 1.0  # seconds by which a filter may let earlier ones through: some servers compare whole seconds


class UnsortedError(Exception):
    """The manager did not keep the order, or the filter, that it was asked for and was thought to be able to keep."""

    def __init__(self, resource_type: str) -> None:
        super().__init__(resource_type)
        self.resource_type = resource_type


class Way(Enum):
    """How the changes of a type are followed."""

    HISTORY = auto()  # deletions are seen
    SEARCH = auto()  # they are not
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Page:
    """Matches in the manager's order, and what came with them."""

    bundle: ManagerBundle
    matches: Sequence[Entry]
    others: Sequence[Entry]
    aliases: dict[str, str]


@dataclass(slots=True)
class ManagerReader:
    """One manager, as it can be asked now. `size`: matches on a page.

    `unsorted`, `unrecorded`: types of which it was found out that they are not sorted, or have no history, after all.
    Whatever asks the manager may raise `ManagerError`.
    """

    registered: Registered
    federation: Federation
    clock: Clock
    via: str
    options: SyncOptions
    size: int
    unsorted: set[str] = field(default_factory=set)
    unrecorded: set[str] = field(default_factory=set)
    calls: ManagerCalls = field(init=False)
    origin: Origin = field(init=False)

    def __post_init__(self) -> None:
        self.calls = self.federation.calls(self.registered)
        self.origin = self.federation.origins.of(self.registered.gestionnaire)

    # --- what it can do

    def orders(self, resource_type: str) -> bool:
        """It sorts and filters by `_lastUpdated`, as far as was seen."""
        skills, name = self.calls.skills, "_lastUpdated"
        return (
            skills.sort is True
            and name in skills.search_params.get(resource_type, ())
            and f"{resource_type}.{name}" not in skills.unproven
            and resource_type not in self.unsorted
        )

    def way(self, resource_type: str) -> Way:
        """Circles by their history, for deletions; Patients by search, which brings each once.

        Behind another broker are managers whose clocks differ: no one instant says what has been read of them all.
        """
        if self.calls.skills.broker is True:
            return Way.NONE
        history = self.calls.skills.history_type is True and resource_type not in self.unrecorded
        if history and (resource_type == "CareTeam" or not self.orders(resource_type)):
            return Way.HISTORY
        return Way.SEARCH if self.orders(resource_type) else Way.NONE

    # --- pages

    async def newest(self, resource_type: str) -> str | None:
        """The instant of the last change there is; None where changes cannot be followed.

        An older one than the last does no harm: the feed is read from there.
        """
        way = self.way(resource_type)
        if way is Way.NONE:
            return None
        if way is Way.HISTORY:
            page = await self._history_page(resource_type, [("_count", "20")])
            if page is None:
                self.unrecorded.add(resource_type)
                return await self.newest(resource_type)
        else:
            page = await self._search(resource_type, [("_sort", "-_lastUpdated"), ("_count", "1")])
        entries = page.matches
        return newest(entry.last_updated for entry in entries) or (None if entries else THE_BEGINNING)

    async def total(self, resource_type: str) -> int | None:
        """How many there are; None where the manager gives no total, or one that was seen to be wrong."""
        if self.calls.skills.total is not True:
            return None
        return (await self._search(resource_type, [("_count", "1")])).bundle.total

    async def ascending(self, resource_type: str, start: str | None) -> AsyncGenerator[Page]:
        """What changed at or after an instant, oldest first. Raises `UnsortedError`.

        A resource may come twice: what has the very instant at which a page ends is asked for again.
        """
        position = start
        while True:
            last = position
            async with aclosing(self._linked(resource_type, self._from(resource_type, position))) as pages:
                async for page in pages:
                    last = _end(page, position, resource_type)
                    yield page
                    if last != position:
                        break
            if last == position:
                return
            position = last

    def listed(self, resource_type: str) -> AsyncGenerator[Page]:
        """By the manager's own links, in its own order."""
        return self._linked(resource_type, [*self._included(resource_type), ("_count", str(self.size))])

    async def past(self, resource_type: str, since: str) -> AsyncGenerator[Page]:
        """Versions written since an instant, newest first, deletions too."""
        page = await self._history_page(resource_type, [("_since", since), ("_count", str(self.size))])
        if page is None:
            self.unrecorded.add(resource_type)
            raise self.calls.failure(FailureKind.NOT_SUPPORTED)
        trail = PageTrail(self.calls.manager)
        while True:
            trail.take(page.bundle)
            yield page
            url = self.calls.next_url(page.bundle.next_url)
            if url is None:
                return
            trail.follow(url)
            page = self._past_page(await self.calls.follow(url, self._context()), resource_type)

    async def named(self, local_ids: Sequence[str]) -> AsyncGenerator[Page]:
        """Circles by their own ids."""
        for start in range(0, len(local_ids), _REFERENCES):
            chunk = local_ids[start : start + _REFERENCES]
            pairs = [("_id", ",".join(chunk)), *self._included("CareTeam"), ("_count", str(self.size))]
            async for page in self._linked("CareTeam", pairs):
                yield page

    async def of_patients(self, local_ids: Sequence[str]) -> AsyncGenerator[Page]:
        """The circles of Patients."""
        params = self.calls.skills.search_params.get("CareTeam", ("patient",))
        name = "subject" if "subject" in params and "patient" not in params else "patient"
        for start in range(0, len(local_ids), _REFERENCES):
            references = ",".join(f"Patient/{one}" for one in local_ids[start : start + _REFERENCES])
            pairs = [(name, references), *self._included("CareTeam"), ("_count", str(self.size))]
            async for page in self._linked("CareTeam", pairs):
                yield page

    async def sightings(self, page: Page) -> list[Sighting]:
        """What a page of circles tells. Their Patients are fetched where they did not come with it."""
        patients = patients_among(page.others)
        missing = without_patient(page.matches, patients)
        fetcher = IncludeFetcher(self.calls, self.origin, self._context(), page.aliases)
        for start in range(0, len(missing), MAX_INCLUDED):
            brought, _ = await fetcher.complete([_SUBJECT], missing[start : start + MAX_INCLUDED])
            patients |= patients_among(brought)
        return sightings(page.matches, patients)

    # --- requests

    def _from(self, resource_type: str, position: str | None) -> Pairs:
        pairs = [] if position is None else [("_lastUpdated", f"ge{position}")]
        return [
            *pairs,
            *self._included(resource_type),
            ("_sort", "_lastUpdated"),
            ("_count", str(self.size)),
        ]

    def _included(self, resource_type: str) -> Pairs:
        wanted = resource_type == "CareTeam" and self.calls.skills.include is True
        return [(_SUBJECT.name, "CareTeam:subject")] if wanted else []

    async def _linked(self, resource_type: str, pairs: Pairs) -> AsyncGenerator[Page]:
        trail = PageTrail(self.calls.manager)
        page, read = await self._search(resource_type, pairs), 0
        while True:
            trail.take(page.bundle)
            read += len(page.matches)
            yield page
            url = self.calls.next_url(page.bundle.next_url)
            if url is None:
                self._check_end(page, read)
                return
            trail.follow(url)
            page = self._found_page(await self.calls.follow(url, self._context()), resource_type)

    def _check_end(self, page: Page, read: int) -> None:
        """A list without a further link is not always at its end. Raises `ManagerError` of kind incomplete."""
        skills = self.calls.skills
        if skills.total is True and page.bundle.total is not None:
            cut_off = read < page.bundle.total
        else:
            cut_off = skills.paging is False and len(page.matches) >= min(
                self.size, skills.max_page or self.size
            )
        if cut_off:
            raise self.calls.failure(FailureKind.INCOMPLETE)

    async def _search(self, resource_type: str, pairs: Pairs) -> Page:
        return self._found_page(await self.calls.search(resource_type, pairs, self._context()), resource_type)

    def _found_page(self, body: bytes, resource_type: str) -> Page:
        aliases: dict[str, str] = {}
        bundle = read_searchset(body, self.origin, resource_type, aliases)
        return Page(
            bundle,
            [entry for entry in bundle.entries if entry.mode == "match"],
            [entry for entry in bundle.entries if entry.mode != "match"],
            aliases,
        )

    async def _history_page(self, resource_type: str, pairs: Pairs) -> Page | None:
        """The first page; None where there is no such history."""
        answer = await self.calls.get(f"{resource_type}/_history", self._context(), query=pairs)
        if answer.status in _NO_HISTORY:
            return None
        if answer.status != 200:
            raise self.calls.failure(FailureKind.REJECTED, answer.status)
        return self._past_page(answer.body, resource_type)

    def _past_page(self, body: bytes, resource_type: str) -> Page:
        aliases: dict[str, str] = {}
        bundle = read_history(body, self.origin, aliases)
        return Page(bundle, [entry for entry in bundle.entries if entry.type == resource_type], (), aliases)

    def _context(self) -> RequestContext:
        """Each request has its own time: a crawl has no deadline."""
        return RequestContext(
            request_id=secrets.token_hex(8),
            caller="",
            language="fr",
            preferences=Preferences(),
            deadline=self.clock.monotonic() + self.options.timeout,
            via=self.via,
            clock=self.clock,
        )


def _end(page: Page, position: str | None, resource_type: str) -> str | None:
    """The last instant of a page that begins at `position`. Raises `UnsortedError`."""
    begin = epoch(position)
    last, end = begin, position
    previous = float("-inf") if begin is None else begin - _COARSE
    for entry in page.matches:
        instant = epoch(entry.last_updated)
        if instant is None or instant < previous:
            raise UnsortedError(resource_type)
        previous = instant
        if last is None or instant > last:
            last, end = instant, entry.last_updated
    return end
