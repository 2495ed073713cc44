"""One manager's part of a search: its pages, in public terms, with what it cannot do done for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.aside import aside
from broker.core import json_text
from broker.core.bundle import Entry, ManagerBundle, read_searchset
from broker.core.identity import Origin
from broker.core.manager_failure import failed
from broker.core.manager_query import Pairs, RequestPairs, silently_ignored
from broker.core.matching import Predicate, predicate
from broker.core.merge import Found
from broker.core.query import Criterion, SearchQuery, SortKey
from broker.core.routing import Ask
from broker.core.sort_key import instant_prefix, is_newest_first, sort_prefix
from broker.core.translation import in_public_terms
from broker.errors import FailureKind, ManagerError
from broker.federation.chains import NO_CHAINS, Resolved, resolve_chains
from broker.federation.context import RequestContext
from broker.federation.manager_calls import ManagerCalls
from broker.federation.page_trail import PageTrail
from registry.model import Gestionnaire


@dataclass(slots=True)
class FetchedPage:
    """One page of a manager: its matches, what came with them, its next page, its own total and outcomes."""

    found: list[Found[Entry]]
    others: list[Entry]
    next_url: str | None
    total: int | None
    problems: tuple[str, ...] = ()
    outcomes: tuple[bytes, ...] = ()
    incomplete: bool = False  # the manager says that it has more, and gives no way to it
    size: int = 0  # bytes read


@dataclass(slots=True)
class ManagerSearch:
    """Asks one manager for the pages of one search. Raises `ManagerError`; judges nothing else.

    `size` is the number of matches asked for at a time. `candidates` counts what was read in vain: it did not pass a filter.
    `ignored` names the criteria that the manager showed on its first page not to have applied.
    """

    ask: Ask
    query: SearchQuery
    sort: Sequence[SortKey]
    size: int
    requests: RequestPairs
    origin: Origin
    calls: ManagerCalls
    context: RequestContext
    aliases: dict[str, str]
    known_origins: Sequence[Origin]
    bound: int
    ignored: frozenset[str] = frozenset()
    candidates: int = 0
    trail: PageTrail = field(init=False)
    _resolved: Resolved | None = None
    _ignored: list[Criterion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trail = PageTrail(self.ask.manager)

    @property
    def manager(self) -> Gestionnaire:
        return self.ask.manager

    @property
    def sorts(self) -> bool:
        return self.ask.skills.sort is True

    async def page(self, url: str | None) -> FetchedPage:
        """The page at one of this manager's own links, or its first page."""
        plan = self.ask.plan
        resolved = await self._chains()
        if resolved.empty:
            return FetchedPage([], [], None, 0, outcomes=resolved.outcomes)
        native, filters = [*plan.criteria, *resolved.native], [*plan.filters, *resolved.filters]
        if url is None:
            bundle = await self._first(native)
        else:
            self.trail.follow(url)
            bundle = await self._read(await self.calls.follow(url, self.context))
        self.trail.take(bundle)
        self._check_ignored(bundle, native, url)
        fetched = await aside(bundle.size, self._in_order, bundle, [*filters, *self._ignored], url)
        fetched.outcomes = (*resolved.outcomes, *fetched.outcomes)
        return fetched

    async def _first(self, native: list[Criterion]) -> ManagerBundle:
        """The first page; of a manager that gives no way to a second one, as much as it takes to have all."""
        bundle = await self._read(await self._search(native, self.size))
        if _cut_off(bundle) and bundle.total is not None and bundle.total <= self.bound:
            return await self._read(await self._search(native, bundle.total))
        return bundle

    async def _search(self, native: list[Criterion], size: int) -> bytes:
        return await self.calls.search(self.query.type, self._pairs(native, size), self.context)

    async def _read(self, body: bytes) -> ManagerBundle:
        return await aside(
            len(body), read_searchset, body, self.origin, self.query.type, self.aliases, self.known_origins
        )

    async def _chains(self) -> Resolved:
        """The chains that are followed here in steps, once for all pages."""
        if self._resolved is None and not self.ask.plan.chains:
            self._resolved = NO_CHAINS
        if self._resolved is None:
            self._resolved = await resolve_chains(
                self.ask, self.query.type, self.calls, self.origin, self.context, self.bound
            )
        return self._resolved

    def _pairs(self, native: list[Criterion], size: int) -> Pairs:
        pairs = self.requests.of(self.ask.plan, size)
        resolved = native[len(self.ask.plan.criteria) :]
        return [(one.name, one.value) for one in resolved] + pairs if resolved else pairs

    def _check_ignored(self, bundle: ManagerBundle, native: list[Criterion], url: str | None) -> None:
        """A filter that the manager shows it did not apply is applied here, or the manager is not believed.

        Only a first page shows it: the `self` of a later one is an opaque link as often as not.
        """
        if url is None:
            self.ignored |= {criterion.name for criterion in silently_ignored(bundle.self_url, native)}
        if not self.ignored:
            return
        for criterion in native:
            if criterion.name not in self.ignored:
                continue
            if criterion.chain:
                raise failed_criterion(self.ask, criterion)
            public = in_public_terms(criterion, self.origin.slug)
            if public not in self._ignored:
                self._ignored.append(public)

    def _in_order(self, bundle: ManagerBundle, filters: list[Criterion], url: str | None) -> FetchedPage:
        tests = [self._predicate(criterion) for criterion in filters]
        plain = is_newest_first(self.sort) and not tests
        found: list[Found[Entry]] = []
        others: list[Entry] = []
        for entry in bundle.entries:
            if entry.mode != "match":
                others.append(entry)
            elif plain:
                found.append(Found(instant_prefix(entry.last_updated), entry.public_id, entry))
            else:
                resource = json_text.tree(entry.raw)
                if all(test(resource) for test in tests):
                    found.append(Found(sort_prefix(resource, self.sort), entry.public_id, entry))
        if tests:
            rejected = len(bundle.entries) - len(others) - len(found)
            self._count_candidates(rejected, filters[0])
        next_url = self.calls.next_url(bundle.next_url)
        # A total that was seen to be wrong when the manager was checked is no total.
        total = None if tests or self.ask.skills.total is False else bundle.total
        return FetchedPage(
            found,
            others,
            next_url,
            total,
            problems=bundle.problems,
            outcomes=bundle.outcomes,
            incomplete=url is None and _cut_off(bundle),
            size=bundle.size,
        )

    def _predicate(self, criterion: Criterion) -> Predicate:
        return predicate(criterion, base=self.origin.public_base, now=self.context.clock.now())

    def _count_candidates(self, rejected: int, criterion: Criterion) -> None:
        self.candidates += rejected
        if self.candidates > self.bound:
            raise failed_criterion(self.ask, criterion)


def _cut_off(bundle: ManagerBundle) -> bool:
    """Whether a first page is the last although its total says there is more; some servers count includes in it too."""
    if bundle.problems:  # entries came that cannot be used: that is said of them
        return False
    return bundle.next_url is None and bundle.total is not None and bundle.total > len(bundle.entries)


def failed_criterion(ask: Ask, criterion: Criterion) -> ManagerError:
    """The manager cannot apply a criterion, and the broker cannot within its bound."""
    error = failed(ask.manager, FailureKind.NOT_SUPPORTED)
    error.params["parameter"] = criterion.name
    return error
