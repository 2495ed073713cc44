"""Flux 2a → 3a: one search over every manager (federation, sections 2 and 3).

The way of a search: plan (who, what, why) → read the managers' pages until one page of the whole is decided → includes
→ what must be said about it → one searchset. A later page is the same from a kept state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from broker.aside import aside
from broker.core.access.principal import Principal
from broker.core.bundle import Entry
from broker.core.bundle_writer import write_searchset
from broker.core.dedup import conflicts, home_of, is_replica
from broker.core.identified import Located
from broker.core.manager_query import shown_entries
from broker.core.merge import Taken
from broker.core.persons import named_person, person_keys, subject_of
from broker.core.preferences import Partial
from broker.core.query import SearchQuery, Summary, TotalMode
from broker.core.query_parser import parse_search
from broker.core.routing import Plan, plan_search
from broker.core.translation import public_ids
from broker.errors import Issue, RequestError
from broker.federation.context import RequestContext
from broker.federation.counting import Counted, count_matches
from broker.federation.federation import Federation
from broker.federation.hedged_search import HedgedFanOut
from broker.federation.hedging import Hedging
from broker.federation.included import page_includes, shown_includes
from broker.federation.issues import (
    FederatedAnswer,
    all_refused,
    outcome_entry,
    plan_issues,
    refusal,
    status_of_all_failed,
)
from broker.federation.links import PageLinks
from broker.federation.locating import LocatorGuide
from broker.federation.manager_search import ManagerSearch
from broker.federation.page_run import PageRun
from broker.federation.pages import PageState
from broker.federation.search_told import PageTold
from broker.federation.search_work import Work, page_run, searches_of
from registry.model import Gestionnaire, Registered, Status


@dataclass(frozen=True, slots=True)
class SearchService:
    """Searches of the federation. Raises `RequestError` for what the client got wrong."""

    federation: Federation
    guide: LocatorGuide | None = None
    observe: Callable[[Sequence[Entry]], None] | None = None
    """Hears of every page of circles that came with other resources: the locator learns in passing."""
    tell: Callable[[PageTold], None] | None = None
    """Hears of every page, for the figures."""
    hedging: Hedging | None = None
    hurried: Callable[[RequestContext], Federation] | None = None
    """The way to managers on which some are given up early; for clients alone, and where an operator wants it."""

    async def explain(self, query: SearchQuery, principal: Principal) -> Plan:
        """Who would be asked what, who would not, and why."""
        return await self._plan(query, self.federation.managers.all(), principal, await self._located(query))

    async def first_page(self, query: SearchQuery, context: RequestContext) -> FederatedAnswer:
        managers = self.federation.managers.all()
        if all(one.gestionnaire.status is Status.SUSPENDED for one in managers):
            return refusal(503, [Issue("federation.no-manager")], context)
        located = await self._located(query)
        plan = await self._plan(query, managers, context.principal, located)
        if plan.is_refused:
            return all_refused(plan_issues(plan), context)
        size = self.federation.options.default_count if query.count is None else query.count
        state = PageState("search", query.type, tuple(query.pairs()), size, silent=plan.silent)
        work = Work(query, plan, state, None, context, {})
        if query.summary is Summary.COUNT or size == 0:
            return await self._count_only(work)
        if self.hedging is not None and located is not None and len(plan.asks) > 1:
            asked = {ask.manager.id: ask.manager for ask in plan.asks}
            work = replace(work, ask_all=HedgedFanOut(self.hedging, query, asked, context))
        return await self._page(work)

    async def later_page(self, resource_type: str, token: str, context: RequestContext) -> FederatedAnswer:
        """The page behind a link of an earlier one. `page.forged`, `page.expired` as `RequestError`."""
        state = await self.federation.pages.load(token, context)
        if state.kind != "search" or state.type != resource_type:
            raise RequestError("page.forged")
        query = parse_search(state.type, state.pairs, strict=False, max_count=state.size)
        managers, principal = self.federation.managers.all(), context.principal
        if state.positions:
            managers = [
                one
                for one in managers
                if one.gestionnaire.id in state.positions or not principal.reaches(one.gestionnaire)
            ]
        plan = await self._plan(query, managers, principal)
        if plan.is_refused:
            return all_refused(plan_issues(plan), context)
        return await self._page(Work(query, plan, state, token, context, {}))

    async def _located(self, query: SearchQuery) -> Located | None:
        return None if self.guide is None else await self.guide.locate(query)

    async def _plan(
        self,
        query: SearchQuery,
        managers: Sequence[Registered],
        principal: Principal,
        located: Located | None = None,
    ) -> Plan:
        named = [one for criterion in query.criteria for one in public_ids(criterion)]
        return plan_search(
            query,
            managers,
            public_base=self.federation.options.public_base,
            aliases=await self.federation.resolved(named) if named else {},
            skills_of=self.federation.skills_of,
            located=located,
            principal=principal,
        )

    async def _page(self, work: Work) -> FederatedAnswer:
        way = self.federation if self.hurried is None else self.hurried(work.context)
        searches = searches_of(way, work)
        run = page_run(self.federation, work, searches)
        taken = await run.read()
        work.context.touched.managers.update(searches)
        if self.tell is not None:
            self.tell(_told(work, run, taken))
        refused_now = {one.manager.id for one in work.plan.refused}
        gone = sorted(work.state.positions.keys() - run.streams.keys() - refused_now)
        issues = [*plan_issues(work.plan), *run.issues()]
        issues += [Issue("manager.gone", {"slug": slug}) for slug in gone]
        refused = _refused(work, run, taken, issues)
        if refused is not None:
            return refused
        includes, told = await page_includes(
            work.query, run, searches, taken, work.context, work.aliases, self.federation.options
        )
        if self.observe is not None and includes and work.query.type == "CareTeam":
            self.observe([*(found.item for found in taken.found), *includes])
        includes, withheld = shown_includes(includes, work.context)
        issues += told + withheld
        issues += await aside(run.size_read, self._findings, work, run, taken, includes)
        total, told = await self._total(work, run, taken)
        issues += told
        pages = self._links(_remembering(work, searches))
        links, told = await pages.make(run, taken, work.context, copies=run.copies is not None)
        issues += told
        if work.aliases:
            await work.context.within(self.federation.remember(work.aliases))
        matches = shown_entries(work.query, [found.item for found in taken.found])
        body = await aside(
            run.size_read,
            write_searchset,
            self.federation.options.public_base,
            [*matches, *shown_entries(work.query, includes)],
            links=links,
            total=total,
            outcome=outcome_entry(issues, work.context),
        )
        return FederatedAnswer(200, body)

    def _links(self, work: Work) -> PageLinks:
        address = f"{self.federation.options.public_base}/{work.query.type}"
        return PageLinks(
            self.federation.pages, address, work.state, work.token, self.federation.options.page_bound
        )

    def _findings(
        self, work: Work, run: PageRun, taken: Taken[Entry], includes: Sequence[Entry]
    ) -> list[Issue]:
        """Replicas shown for want of their home, and persons with several circles. Whose data is shown is noted."""
        query, touched = work.query, work.context.touched
        for one in includes:
            touched.show(one.type, one.public_id, one.raw)
        if query.type != "CareTeam":
            for found in taken.found:
                touched.show(query.type, found.public_id, found.item.raw)
            return []
        subjects = [subject_of(found.item.raw) for found in taken.found]
        touched.persons.update(filter(None, map(named_person, subjects)))
        base, bases = self.federation.options.public_base, self.federation.origins.bases()
        issues = [
            Issue(
                "merge.replica-shown",
                {"circle": found.public_id, "home": home_of(found.item.source, base, bases) or "?"},
            )
            for found in taken.found
            if is_replica(found.item)
        ]
        if len(taken.found) > 1:
            persons = person_keys([found.item for found in taken.found], includes, query, subjects)
            issues += [
                Issue("merge.conflict", {"circles": ", ".join(f"CareTeam/{circle}" for circle in group)})
                for group in conflicts(persons)
            ]
        return issues

    async def _total(self, work: Work, run: PageRun, taken: Taken[Entry]) -> tuple[int | None, list[Issue]]:
        if work.plan.unable or work.query.total is TotalMode.NONE:
            return None, []
        known = run.total(taken)
        if known is not None or work.query.total is not TotalMode.ACCURATE or run.failures:
            return known, []
        counted = await self._counted(work)
        return counted.total, list(counted.issues)

    async def _counted(self, work: Work) -> Counted:
        """An exact total by counting; unknown, and why, where it would cost too much or a manager failed."""
        counted = await count_matches(self.federation, work)
        if counted.total is None and not counted.failures:
            limit = self.federation.options.count_bound
            return replace(counted, issues=(Issue("merge.total-unknown", {"limit": limit}),))
        return counted

    async def _count_only(self, work: Work) -> FederatedAnswer:
        """`_summary=count`, `_count=0`: the total and nothing else."""
        counted = await self._counted(work)
        work.context.touched.managers.update(ask.manager.id for ask in work.plan.asks)
        issues = [*plan_issues(work.plan), *counted.issues]
        lacking = len(counted.failures) + len(work.plan.unable)
        slugs = {error.params["slug"] for error in counted.failures}
        absent = [ask.manager for ask in work.plan.asks if ask.manager.id in slugs]
        if _denied(work, absent):
            return refusal(503, [Issue("federation.partial-denied"), *issues], work.context)
        if lacking and lacking == len(work.plan.asks) + len(work.plan.unable):
            return refusal(status_of_all_failed(counted.failures), issues, work.context)
        body = write_searchset(
            self.federation.options.public_base,
            (),
            links=self._links(work).here(),
            total=None if work.plan.unable else counted.total,
            outcome=outcome_entry(issues, work.context),
        )
        return FederatedAnswer(200, body)


def _told(work: Work, run: PageRun, taken: Taken[Entry]) -> PageTold:
    plan = work.plan
    return PageTold(
        first=work.token is None,
        asked=len(run.sources),
        left_out=len(plan.left_out),
        unable=len(plan.unable),
        refused=len(plan.refused),
        matches=len(taken.found),
        partial=bool(run.failures or run.partial or plan.unable),
        merging=run.merging,
    )


def _remembering(work: Work, searches: Mapping[str, ManagerSearch]) -> Work:
    """With what later pages cannot find out again: the criteria that managers showed not to apply."""
    ignored = {slug: one.ignored for slug, one in searches.items() if one.ignored}
    return replace(work, state=structs.replace(work.state, ignored=ignored)) if ignored else work


def _denied(work: Work, failed: Sequence[Gestionnaire]) -> bool:
    """Whether the client takes nothing partial, and a manager that is needed for the whole is absent: it failed, was
    unable, or is out of the client's reach."""
    if work.context.preferences.partial is not Partial.DENY:
        return False
    unable = [one.manager for one in work.plan.unable]
    absent = [*failed, *unable, *(one.manager for one in work.plan.refused)]
    return any(not one.optional for one in absent)


def _refused(
    work: Work, run: PageRun, taken: Taken[Entry], issues: Sequence[Issue]
) -> FederatedAnswer | None:
    """The answer that is no searchset: nobody answered, or the client takes nothing partial."""
    absent = [run.sources[slug].manager for slug in {*run.failures, *run.partial}]
    if _denied(work, absent):
        return refusal(503, [Issue("federation.partial-denied"), *issues], work.context)
    asked = len(run.sources) + len(work.plan.unable)
    lacking = len(run.failures) + len(work.plan.unable)
    if asked and lacking == asked and not taken.found:
        return refusal(status_of_all_failed(run.failures.values()), issues, work.context)
    return None
