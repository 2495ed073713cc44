"""An exact total, by counting: a sum of managers' totals would count copies twice (federation, section 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec
from msgspec.structs import replace as change

from broker.core.manager_failure import failed
from broker.core.manager_query import Pairs, silently_ignored
from broker.core.outcome import issue_of
from broker.core.query import Summary, TotalMode
from broker.core.routing import Ask, Plan
from broker.errors import FailureKind, Issue, ManagerError
from broker.federation.fan_out import fan_out
from broker.federation.federation import Federation
from broker.federation.manager_calls import ManagerCalls
from broker.federation.pages import PageState
from broker.federation.search_work import Work, page_run, searches_of

PAGE = 500
"""Matches asked for at a time while counting."""


@dataclass(frozen=True, slots=True)
class Counted:
    """`total` is None where it is not known: a manager failed, or it would cost too much."""

    total: int | None
    failures: tuple[ManagerError, ...] = ()
    issues: tuple[Issue, ...] = ()


def _failed(failures: Iterable[ManagerError]) -> Counted:
    kept = tuple(failures)
    return Counted(None, kept, tuple(issue_of(error) for error in kept))


class _Link(msgspec.Struct):
    relation: str | None = None
    url: str | None = None


class _Total(msgspec.Struct):
    total: int | None = None
    link: list[_Link] = []


_decode = msgspec.json.Decoder(_Total).decode


async def count_matches(federation: Federation, work: Work) -> Counted:
    """The number of different matches over the managers asked.

    First each is asked for its count alone. If nobody has any, or one that is all there is, that is the total. Else,
    within the bound, the matches are read with nothing but what tells copies apart, and counted: also those of a single
    manager, for they may be replicas of what another says it has no more.
    """
    asks = {ask.manager.id: ask for ask in work.plan.asks}
    if not asks:
        return Counted(0)

    async def own_count(slug: str) -> int | None:
        return await _own_count(asks[slug], work, federation)

    counts = await fan_out(list(asks), own_count)
    failures = [answer for answer in counts.values() if isinstance(answer, ManagerError)]
    if failures:
        return _failed(failures)
    known = {slug: answer for slug, answer in counts.items() if isinstance(answer, int)}
    holders = tuple(ask for slug, ask in asks.items() if known.get(slug, 1))
    silent = work.state.silent | {slug for slug, count in known.items() if not count}
    alone = len(holders) == 1 and (not silent or work.query.type != "CareTeam")
    if len(known) == len(asks) and (alone or not holders):
        return Counted(sum(known.values()))
    if sum(known.values()) > federation.options.count_bound:
        return Counted(None)
    return await _enumerated(federation, work, holders, silent)


async def _own_count(ask: Ask, work: Work, federation: Federation) -> int | None:
    """A manager's own count; None where it gives none, or where it cannot apply the whole query itself."""
    if ask.plan.chains or ask.plan.filters or ask.skills.total is False:
        return None
    pairs: Pairs = [(criterion.name, criterion.value) for criterion in ask.plan.criteria]
    calls = ManagerCalls(ask.manager, ask.skills, federation.client)
    body = await calls.search(work.query.type, [*pairs, ("_summary", "count")], work.context)
    try:
        counted = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise failed(ask.manager, FailureKind.INVALID) from None
    # A count that overlooks a criterion is the count of another search.
    self_url = next((link.url for link in counted.link if link.relation == "self"), None)
    return None if silently_ignored(self_url, ask.plan.criteria) else counted.total


async def _enumerated(
    federation: Federation, work: Work, asks: tuple[Ask, ...], silent: frozenset[str]
) -> Counted:
    """The matches read page by page, with no more than tells copies apart."""
    lean = replace(
        work.query,
        includes=(),
        sort=(),
        elements=("identifier",),
        summary=Summary.FALSE,
        total=TotalMode.NONE,
    )
    plain = tuple(change(ask, plan=change(ask.plan, includes=(), include_here=False)) for ask in asks)
    counting = replace(
        work,
        query=lean,
        plan=Plan(plain, (), ()),
        state=PageState("search", lean.type, (), federation.options.count_bound, silent=silent),
    )
    run = page_run(federation, counting, searches_of(federation, counting, ahead=PAGE))
    taken = await run.read()
    if run.failures or run.partial:
        missing = [failed(run.sources[slug].manager, FailureKind.INCOMPLETE) for slug in run.partial]
        return replace(_failed([*run.failures.values(), *missing]), issues=tuple(run.issues()))
    return Counted(None if taken.more or run.lossy else len(taken.found))
