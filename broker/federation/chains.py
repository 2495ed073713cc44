"""Chained criteria for a manager that cannot chain: the actor first, then circles by reference (federation, section 3).

`participant:PractitionerRole.practitioner:Practitioner.identifier=X` becomes: Practitioner?identifier=X, then
PractitionerRole?practitioner=(those), then CareTeam?participant=(those). The last step is left to the search itself: as
a criterion where the manager takes the reference parameter, else as a filter here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from broker.aside import aside
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
) -> Resolved:
    """The chains of a plan as what the search itself can be asked. Raises `ManagerError`."""
    steps = _Steps(calls, origin, context, min(bound, MAX_REFERENCES))
    native: list[Criterion] = []
    filters: list[Criterion] = []
    for criterion in ask.plan.chains:
        found = await steps.actors(criterion)
        if not found:
            return Resolved(empty=True, outcomes=tuple(steps.outcomes))
        first = criterion.chain[0]
        name = first.parameter.name
        reference = replace(criterion, parameter=first.parameter, type=searched, chain=(), modifier=None)
        if knows(ask.skills, searched, name):
            local = tuple(f"{entry.type}/{entry.local_id}" for entry in found)
            native.append(replace(reference, values=local))
        if not proven(ask.skills, searched, name):
            public = tuple(f"{entry.type}/{entry.public_id}" for entry in found)
            filters.append(replace(reference, values=public))
    return Resolved(tuple(native), tuple(filters), outcomes=tuple(steps.outcomes))


@dataclass(frozen=True, slots=True)
class Resolved:
    """Chains as criteria in the manager's ids and filters in public ids. `empty`: nothing can match.

    `outcomes`: what the manager had to say on the way. A broker may miss some of its own managers' actors.
    """

    native: tuple[Criterion, ...] = ()
    filters: tuple[Criterion, ...] = ()
    empty: bool = False
    outcomes: tuple[bytes, ...] = ()


NO_CHAINS = Resolved()
"""Of a plan without chains."""


@dataclass(frozen=True, slots=True)
class _Steps:
    """The searches that lead from the end of a chain to its first link, each to at most `limit` resources."""

    calls: ManagerCalls
    origin: Origin
    context: RequestContext
    limit: int
    outcomes: list[bytes] = field(default_factory=list)

    async def actors(self, criterion: Criterion) -> list[Entry]:
        """The resources that the first link must point to."""
        skills = self.calls.skills
        last = replace(criterion, chain=())
        sent = last if trusted(last.modifier, skills) else replace(last, modifier=None)
        found = await self._search(sent)
        if sent is not last or not proven(skills, last.type, last.parameter.name):
            found = self._meeting(last, found)
        owners = [link.target for link in criterion.chain]
        for link, owner in zip(reversed(criterion.chain[1:]), reversed(owners[:-1]), strict=True):
            if not found:
                return []
            references = tuple(f"{entry.type}/{entry.local_id}" for entry in found)
            step = Criterion(link.parameter, owner, (), None, references)
            found = await self._search(step)
            if not proven(skills, owner, link.parameter.name):
                found = self._meeting(step, found)
        return found

    def _meeting(self, criterion: Criterion, found: list[Entry]) -> list[Entry]:
        """Those that meet a criterion: a step that is ignored would lead to other people's circles."""
        public = in_public_terms(criterion, self.origin.slug)
        holds = predicate(public, base=self.origin.public_base, now=self.context.clock.now())
        return [entry for entry in found if holds(json_text.tree(entry.raw))]

    async def _search(self, criterion: Criterion) -> list[Entry]:
        pairs = [(criterion.name, criterion.value), ("_count", str(self.limit))]
        body = await self.calls.search(criterion.type, pairs, self.context)
        found: list[Entry] = []
        aliases: dict[str, str] = {}
        trail = PageTrail(self.calls.manager)
        while True:
            bundle = await aside(len(body), read_searchset, body, self.origin, criterion.type, aliases)
            trail.take(bundle)
            if bundle.problems:  # an actor left out would leave out its circles
                raise self.calls.failure(FailureKind.INVALID)
            self.outcomes.extend(bundle.outcomes)
            found += [entry for entry in bundle.entries if entry.mode == "match"]
            url = self.calls.next_url(bundle.next_url)
            if len(found) > self.limit or (url is None and len(found) < (bundle.total or 0)):
                raise self._too_many(criterion)
            if url is None:
                return found
            trail.follow(url)
            body = await self.calls.follow(url, self.context)

    def _too_many(self, criterion: Criterion) -> ManagerError:
        error = failed(self.calls.manager, FailureKind.NOT_SUPPORTED)
        error.params["parameter"] = criterion.name
        return error
