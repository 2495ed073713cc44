"""Chained criteria for a manager that cannot chain: the actor first, then circles by reference (federation, section 3).

`participant:PractitionerRole.practitioner:Practitioner.identifier=X` becomes: Practitioner?identifier=X, then
PractitionerRole?practitioner=(those), then CareTeam?participant=(those). The last step is left to the search itself: as
a criterion where the manager takes the reference parameter, else as a filter here.
"""

from __future__ import annotations

from dataclasses import replace

from broker.core import json_text
from broker.core.bundle import Entry, read_searchset
from broker.core.identity import Origin
from broker.core.manager_failure import failed
from broker.core.matching import predicate
from broker.core.query import Criterion
from broker.core.routing import Ask, knows, proven, trusted
from broker.core.translation import in_public_terms
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.manager_calls import ManagerCalls
from broker.federation.page_trail import PageTrail

MAX_REFERENCES = 200
"""Actors that one step may lead to: more would make a URL or form that servers refuse."""


async def resolve_chains(
    ask: Ask, searched: str, calls: ManagerCalls, origin: Origin, context: RequestContext, bound: int
) -> tuple[list[Criterion], list[Criterion]] | None:
    """The chains of a plan as (criteria in the manager's ids, filters in public ids); None: nothing can match."""
    native: list[Criterion] = []
    filters: list[Criterion] = []
    limit = min(bound, MAX_REFERENCES)
    for criterion in ask.plan.chains:
        found = await _actors(criterion, calls, origin, context, limit)
        if not found:
            return None
        first = criterion.chain[0]
        name = first.parameter.name
        reference = replace(criterion, parameter=first.parameter, type=searched, chain=(), modifier=None)
        if knows(ask.skills, searched, name):
            local = tuple(f"{entry.type}/{entry.local_id}" for entry in found)
            native.append(replace(reference, values=local))
        if not proven(ask.skills, searched, name):
            public = tuple(f"{entry.type}/{entry.public_id}" for entry in found)
            filters.append(replace(reference, values=public))
    return native, filters


async def _actors(
    criterion: Criterion, calls: ManagerCalls, origin: Origin, context: RequestContext, limit: int
) -> list[Entry]:
    """The resources that the first link must point to."""
    last = replace(criterion, chain=())
    sent = last if trusted(last.modifier, calls.skills) else replace(last, modifier=None)
    found = await _search(last.type, sent.name, sent.value, calls, origin, context, limit)
    if sent is not last or not proven(calls.skills, last.type, last.parameter.name):
        found = _meeting(in_public_terms(last, origin.slug), found, origin, context)
    owners = [link.target for link in criterion.chain]
    for link, owner in zip(reversed(criterion.chain[1:]), reversed(owners[:-1]), strict=True):
        if not found:
            return []
        step = Criterion(
            link.parameter, owner, (), None, tuple(f"{entry.type}/{entry.local_id}" for entry in found)
        )
        found = await _search(owner, step.name, step.value, calls, origin, context, limit)
        if not proven(calls.skills, owner, link.parameter.name):
            found = _meeting(in_public_terms(step, origin.slug), found, origin, context)
    return found


def _meeting(
    criterion: Criterion, found: list[Entry], origin: Origin, context: RequestContext
) -> list[Entry]:
    """Those that meet a criterion: a step that is ignored would lead to other people's circles."""
    holds = predicate(criterion, base=origin.public_base, now=context.clock.now())
    return [entry for entry in found if holds(json_text.tree(entry.raw))]


async def _search(
    resource_type: str,
    name: str,
    value: str,
    calls: ManagerCalls,
    origin: Origin,
    context: RequestContext,
    limit: int,
) -> list[Entry]:
    pairs = [(name, value), ("_count", str(limit))]
    body = await calls.search(resource_type, pairs, context)
    found: list[Entry] = []
    aliases: dict[str, str] = {}
    trail = PageTrail(calls.manager)
    while True:
        bundle = read_searchset(body, origin, resource_type, aliases)
        trail.take(bundle)
        if bundle.problems:  # an actor left out would leave out its circles
            raise calls.failure(FailureKind.INVALID)
        found += [entry for entry in bundle.entries if entry.mode == "match"]
        url = calls.next_url(bundle.next_url)
        if len(found) > limit or (url is None and len(found) < (bundle.total or 0)):
            raise _too_many(calls, name)
        if url is None:
            return found
        trail.follow(url)
        body = await calls.follow(url, context)


def _too_many(calls: ManagerCalls, name: str) -> ManagerError:
    error = failed(calls.manager, FailureKind.NOT_SUPPORTED)
    error.params["parameter"] = name
    return error
