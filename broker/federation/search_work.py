"""One page of a search as work to be done: what is asked of each manager, and the run that will ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker.core.dedup import CopyRule
from broker.core.manager_query import RequestPairs
from broker.core.merge import restore
from broker.core.query import SearchQuery
from broker.core.routing import Ask, Plan
from broker.core.sort_key import NEWEST_FIRST
from broker.federation.context import RequestContext
from broker.federation.fan_out import fan_out
from broker.federation.federation import Federation
from broker.federation.manager_calls import ManagerCalls
from broker.federation.manager_search import ManagerSearch
from broker.federation.page_run import FanOut, PageRun
from broker.federation.pages import PageState

SWEEP = 200
"""Matches asked for at a time of a manager whose matches are sorted or sifted here."""


@dataclass(frozen=True, slots=True)
class Work:
    """One page being made."""

    query: SearchQuery
    plan: Plan
    state: PageState
    token: str | None
    context: RequestContext
    aliases: dict[str, str]
    ask_all: FanOut = fan_out


def searches_of(federation: Federation, work: Work, *, ahead: int | None = None) -> dict[str, ManagerSearch]:
    """One search per manager asked. `ahead`: matches asked for at a time (one more than the page)."""
    sort = work.query.sort or NEWEST_FIRST
    requests = RequestPairs(work.query, sort)
    return {
        ask.manager.id: ManagerSearch(
            ask=ask,
            query=work.query,
            sort=sort,
            size=ahead or _ahead(ask, work.state.size),
            requests=requests,
            origin=federation.origins.of(ask.manager),
            calls=ManagerCalls(ask.manager, ask.skills, federation.client),
            context=work.context,
            aliases=work.aliases,
            known_origins=federation.origins.all(),
            bound=federation.options.sort_bound,
            ignored=work.state.ignored.get(ask.manager.id, frozenset()),
        )
        for ask in work.plan.asks
    }


def page_run(federation: Federation, work: Work, searches: Mapping[str, ManagerSearch]) -> PageRun:
    """The streams of one page, not read yet."""
    # One manager alone, and nobody else to speak of, holds no copies of another's circles: nothing to tell apart.
    merging = (len(searches) > 1 or bool(work.state.silent)) and work.query.type == "CareTeam"
    rule = CopyRule(
        federation.options.public_base, federation.origins.bases(), work.state.shown, work.state.silent
    )
    return PageRun(
        sources=searches,
        positions=work.state.positions,
        watermark=restore(work.state.watermark),
        size=work.state.size,
        bound=federation.options.sort_bound,
        copies=rule if merging else None,
        now=work.context.clock.monotonic,
        ask_all=work.ask_all,
    )


def _ahead(ask: Ask, size: int) -> int:
    """How many matches are asked for at a time: one more than the page, so that a tie at its end is seen to close.

    Where they are sorted or sifted here many more are needed, and few requests for them.
    """
    sifted = bool(ask.plan.filters) and not (
        {one.name for one in ask.plan.filters} <= {one.name for one in ask.plan.criteria}
    )
    return size + 1 if ask.skills.sort is True and not sifted else max(size + 1, SWEEP)
