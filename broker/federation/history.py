"""Flux 2b → 3b: a circle's history from its manager, and the history of all circles, merged newest first.

A manager without a history of its type is read another way: its circles, newest first, and the history of each, within a
bound. Deletions do not show so, and the outcome says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from broker.aside import aside
from broker.core.bundle import Entry, ManagerBundle, read_history
from broker.core.bundle_writer import write_history
from broker.core.fhir_dates import date_range
from broker.core.identity import Origin, split_public_id
from broker.core.merge import Found, restore
from broker.core.preferences import Partial
from broker.core.sort_key import instant_prefix
from broker.errors import FailureKind, Issue, RequestError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.history_bridge import HistoryBridge
from broker.federation.issues import (
    FederatedAnswer,
    all_refused,
    manager_issue,
    not_authorised,
    outcome_entry,
    refusal,
    status_of_all_failed,
)
from broker.federation.links import PageLinks
from broker.federation.manager_calls import ManagerCalls
from broker.federation.manager_search import FetchedPage
from broker.federation.page_run import PageRun
from broker.federation.page_trail import PageTrail
from broker.federation.pages import PageState
from broker.federation.read import ReadService
from registry.model import Gestionnaire, Registered, Status

Pairs = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class ManagerHistory:
    """One manager's part of a history. `target`: `CareTeam/_history`, or `CareTeam/{its own id}/_history`."""

    calls: ManagerCalls
    origin: Origin
    known_origins: tuple[Origin, ...]
    target: str
    pairs: Pairs
    size: int
    context: RequestContext
    aliases: dict[str, str]
    bridged: bool = False
    trail: PageTrail = field(init=False)

    def __post_init__(self) -> None:
        self.trail = PageTrail(self.calls.manager)

    @property
    def manager(self) -> Gestionnaire:
        return self.calls.manager

    @property
    def sorts(self) -> bool:
        return True

    async def page(self, url: str | None) -> FetchedPage:
        if url is None:
            return await self._first()
        self.trail.follow(url)
        return self._fetched(await self._read(await self.calls.follow(url, self.context)))

    async def _first(self) -> FetchedPage:
        of_type = self.target == "CareTeam/_history"
        if of_type and self.calls.skills.history_type is False:
            return await self._bridge()
        answer = await self.calls.get(
            self.target, self.context, query=[*self.pairs, ("_count", str(self.size))]
        )
        if answer.status == 200:
            return self._fetched(await self._read(answer.body))
        if of_type and answer.status in (400, 404, 405, 501):
            return await self._bridge()
        if not of_type and answer.status in (404, 410):
            raise RequestError("request.not-found" if answer.status == 404 else "request.deleted")
        raise self.calls.failure(FailureKind.REJECTED, answer.status)

    async def _read(self, body: bytes) -> ManagerBundle:
        return await aside(len(body), read_history, body, self.origin, self.aliases, self.known_origins)

    def _fetched(self, bundle: ManagerBundle) -> FetchedPage:
        self.trail.take(bundle)
        kept = [entry for entry in bundle.entries if self._is_asked(entry)]
        found = [
            Found(
                instant_prefix(entry.last_updated),
                f"{entry.public_id}/_history/{entry.version_id or number}",
                entry,
            )
            for number, entry in enumerate(kept)
        ]
        next_url = self.calls.next_url(bundle.next_url)
        total = bundle.total if len(kept) == len(bundle.entries) else None
        return FetchedPage(found, [], next_url, total, problems=bundle.problems, outcomes=bundle.outcomes)

    def _is_asked(self, entry: Entry) -> bool:
        """Not older than `_since`, which some managers overlook. What has no instant is not judged."""
        since = next((date_range(value) for name, value in self.pairs if name == "_since"), None)
        instant = date_range(entry.last_updated) if entry.last_updated else None
        return since is None or instant is None or instant.high > since.low

    async def _bridge(self) -> FetchedPage:
        self.bridged = True
        bridge = HistoryBridge(
            self.calls, self.origin, self.known_origins, self.pairs, self.context, self.aliases
        )
        entries, complete = await bridge.read()
        return replace(self._fetched(ManagerBundle(tuple(entries))), incomplete=not complete)


@dataclass(frozen=True, slots=True)
class HistoryService:
    """Histories of circles, paged. Raises `RequestError` for what the client got wrong."""

    federation: Federation
    reads: ReadService

    async def of_type(self, pairs: Pairs, size: int, context: RequestContext) -> FederatedAnswer:
        """The history of every circle (`pairs`: `_since`, checked)."""
        return await self._page(PageState("history", "CareTeam", pairs, size), None, context)

    async def of_circle(
        self, public_id: str, pairs: Pairs, size: int, context: RequestContext
    ) -> FederatedAnswer:
        state = PageState("history", f"CareTeam/{public_id}", pairs, size)
        return await self._page(state, None, context)

    async def later_page(self, what: str, token: str, context: RequestContext) -> FederatedAnswer:
        """`what`: `CareTeam` or `CareTeam/{public id}`, as the link's path says."""
        state = await self.federation.pages.load(token, context)
        if state.kind != "history" or state.type != what:
            raise RequestError("page.forged")
        return await self._page(state, token, context)

    async def _page(self, state: PageState, token: str | None, context: RequestContext) -> FederatedAnswer:
        aliases: dict[str, str] = {}
        sources = await self._sources(state, context, aliases)
        refused = self._refused(state, context)
        if not sources and refused:
            return all_refused(not_authorised(refused), context)
        if not sources:
            return refusal(503, [Issue("federation.no-manager")], context)
        run = PageRun(
            sources=sources,
            positions=state.positions,
            watermark=restore(state.watermark),
            size=state.size,
            bound=self.federation.options.sort_bound,
        )
        taken = await run.read()
        context.touched.managers.update(sources)
        issues = [*not_authorised(refused), *self._suspended(state, context), *run.issues()]
        issues += [
            run.issue("manager.no-type-history", slug) for slug, source in sources.items() if source.bridged
        ]
        lacking = {*run.failures, *run.partial}
        absent = [*(run.sources[slug].manager for slug in lacking), *refused]
        needed = any(not one.optional for one in absent)
        if needed and context.preferences.partial is Partial.DENY:
            return refusal(503, [Issue("federation.partial-denied"), *issues], context)
        if len(run.failures) == len(sources) and not taken.found:
            return refusal(status_of_all_failed(run.failures.values()), issues, context)
        address = f"{self.federation.options.public_base}/{state.type}/_history"
        links = PageLinks(self.federation.pages, address, state, token, self.federation.options.page_bound)
        made, told = await links.make(run, taken, context, copies=False)
        await context.within(self.federation.remember(aliases))
        for found in taken.found:
            context.touched.show(found.item.type, found.item.public_id, found.item.raw)
        body = write_history(
            self.federation.options.public_base,
            [found.item for found in taken.found],
            links=made,
            total=run.total(taken),
            outcome=outcome_entry([*issues, *told], context),
        )
        return FederatedAnswer(200, body)

    async def _sources(
        self, state: PageState, context: RequestContext, aliases: dict[str, str]
    ) -> dict[str, ManagerHistory]:
        known = tuple(self.federation.origins.all())

        def source(calls: ManagerCalls, target: str) -> ManagerHistory:
            origin = self.federation.origins.of(calls.manager)
            size = state.size + 1
            return ManagerHistory(calls, origin, known, target, state.pairs, size, context, aliases)

        _, _, public_id = state.type.partition("/")
        if public_id:
            if split_public_id(public_id) is not None:
                context.touched.name("CareTeam", public_id)
            where = await self.reads.locate(public_id, context)
            return {where.calls.manager.id: source(where.calls, f"CareTeam/{where.local_id}/_history")}
        return {
            one.gestionnaire.id: source(self.federation.calls(one), "CareTeam/_history")
            for one in self.federation.managers.all()
            if one.gestionnaire.status is Status.ACTIVE
            and context.principal.reaches(one.gestionnaire)
            and self._asked_before(one, state.positions)
        }

    def _asked_before(self, one: Registered, positions: Mapping[str, object]) -> bool:
        return not positions or one.gestionnaire.id in positions

    def _suspended(self, state: PageState, context: RequestContext) -> list[Issue]:
        if "/" in state.type:
            return []
        return [
            manager_issue("manager.suspended", one.gestionnaire)
            for one in self.federation.managers.all()
            if one.gestionnaire.status is Status.SUSPENDED and context.principal.reaches(one.gestionnaire)
        ]

    def _refused(self, state: PageState, context: RequestContext) -> list[Gestionnaire]:
        """Of the history of all circles, the managers that the client does not reach."""
        if "/" in state.type or context.principal.reaches_all:
            return []
        managers = [one.gestionnaire for one in self.federation.managers.all()]
        return [one for one in managers if not context.principal.reaches(one)]
