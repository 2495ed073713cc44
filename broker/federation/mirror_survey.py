"""What is known of other managers' actors before any is copied: read there, looked for at the home (federation, section 4).

In waves: what the client refers to, then what those actors cannot be without, and so on. An actor that the home has already
leads no further. Problems are collected, never thrown: all are told at once, each with the FHIRPath of its reference; one
that lies further on is `CareTeam.participant[0].member.resolve().practitioner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from broker.core.business_identifier import strongest_identifier
from broker.core.copies import COPIED_TYPES, followed, nests_too_deep, parsed
from broker.core.copy_plan import Actor, the_one
from broker.core.identity import is_alias, split_public_id
from broker.core.manager_failure import failed
from broker.core.messages import MESSAGES
from broker.core.outcome import issue_of
from broker.core.references import Named, named_by
from broker.errors import BrokerError, FailureKind, Issue, ManagerError, RefusedError, RequestError
from broker.federation.context import RequestContext
from broker.federation.fan_out import fan_out
from broker.federation.federation import Federation
from broker.federation.issues import manager_issue
from broker.federation.read import ReadService
from broker.federation.writing.evidence import Evidence
from broker.federation.writing.records import Target
from registry.model import Gestionnaire

MAX_DEPTH = 4
"""How far actors are followed from what is written: a role, its structure, two more above that."""

MAX_ACTORS = 200
_AT_ONCE = 8
"""Actors under way for one write: a circle of many must not take all of a manager's connections."""

Wanted = Sequence[tuple[str, str]]
"""Foreign references: (FHIRPath, text as the client wrote it)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reference cannot be honoured: `issue` without its place, and what else was said about it."""

    issue: Issue
    causes: tuple[Issue, ...] = ()

    @classmethod
    def about(cls, key: str, manager: Gestionnaire, causes: Iterable[Issue] = ()) -> Problem:
        return cls(manager_issue(key, manager), tuple(causes))


UNKNOWN = Problem(Issue("write.reference-unknown"))
_NO_IDENTIFIER = Problem(Issue("write.reference-no-identifier"))
_UNAVAILABLE = "write.reference-unavailable"


def unavailable(error: BrokerError) -> Problem:
    """What a manager could not be asked, from its failure or its suspension."""
    who = {name: value for name, value in error.params.items() if name in ("slug", "name", "region")}
    return Problem(Issue(_UNAVAILABLE, who), (issue_of(error),))


@dataclass(slots=True)
class Problems:
    """Problems with the places they were met at. One that was met at several is said once."""

    _met: list[tuple[Problem, list[str]]] = field(default_factory=list)

    def add(self, problem: Problem, places: Iterable[str]) -> None:
        met = next((known for one, known in self._met if one == problem), None)
        if met is None:
            self._met.append((problem, met := []))
        met += [place for place in places if place not in met]

    def raise_any(self) -> None:
        """`RefusedError` with all of them: 422 where the client can do something about one of them, else 503."""
        if not self._met:
            return
        issues = [replace(problem.issue, expression=tuple(places)) for problem, places in self._met]
        for problem, _ in self._met:
            issues += [cause for cause in problem.causes if cause not in issues]
        told = [problem.issue for problem, _ in self._met]
        worst = min(told, key=lambda issue: MESSAGES[issue.key].status)
        raise RefusedError(worst.key, issues, **worst.params)


@dataclass(frozen=True, slots=True)
class _Mention:
    """A reference to an actor: where it stands, and whether what holds it is nothing without."""

    named: Named
    place: str
    needed: bool = True


@dataclass(slots=True)
class Survey:
    """`actors` and `at_home`, for `plan_copies`, are whole once `run` is over, unless `problems` holds any."""

    federation: Federation
    reads: ReadService
    home: Target
    context: RequestContext
    actors: dict[str, Actor] = field(default_factory=dict)
    at_home: dict[str, str] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    _failures: dict[str, Problem] = field(default_factory=dict)
    _at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def run(self, wanted: Wanted) -> None:
        """Follow the references. Raises `StoreError`, and `RefusedError` where there is no end of them."""
        base = self.home.origin.public_base
        mentions = []
        for place, text in wanted:
            named = named_by(text, base)
            if named is None:
                self.problems.add(UNKNOWN, [place])
            else:
                mentions.append(_Mention(named, place))
        met: list[_Mention] = []
        for _ in range(MAX_DEPTH):
            met += mentions
            mentions = await self._wave(mentions)
        self._judge(met)

    async def _wave(self, mentions: Sequence[_Mention]) -> list[_Mention]:
        """Find these actors, each once; what they in turn cannot be without."""
        await self._find_at_home(mentions)
        known = self.actors.keys() | self.at_home.keys() | self._failures.keys()
        new = {one.named.reference: one.named for one in mentions if one.named.reference not in known}
        if len(self.actors) + len(new) > MAX_ACTORS:
            raise RefusedError(
                "write.reference-many",
                [Issue("write.reference-many", {"limit": MAX_ACTORS})],
                limit=MAX_ACTORS,
            )
        found = await fan_out(list(new), lambda reference: self._actor(new[reference]))
        for reference, one in found.items():
            if isinstance(one, Actor):
                self.actors[reference] = one
            else:
                self._failures[reference] = unavailable(one) if isinstance(one, ManagerError) else one
        return [
            following
            for mention in mentions
            if isinstance(actor := found.get(mention.named.reference), Actor)
            for following in self._beyond(actor, mention.place)
        ]

    def _beyond(self, actor: Actor, place: str) -> Iterator[_Mention]:
        if actor.local is not None:
            return
        for element, text, needed in followed(actor.resource):
            named = named_by(text, self.home.origin.public_base)
            if named is not None:
                yield _Mention(named, f"{place}.resolve().{element}", needed)

    async def _find_at_home(self, mentions: Sequence[_Mention]) -> None:
        """Another manager's actor may refer to the home's own."""
        own = [one.named for one in mentions if one.named.slug == self.home.slug]
        aliases = await self.federation.resolved(named.public_id for named in own)
        for named in own:
            parts = split_public_id(named.public_id)
            local = parts and (aliases.get(named.public_id) if is_alias(named.public_id) else parts[1])
            if local:
                self.at_home[named.reference] = f"{named.type}/{local}"
            else:
                self._failures[named.reference] = UNKNOWN

    async def _actor(self, named: Named) -> Actor | Problem:
        """Raises `ManagerError`, of whichever manager fails."""
        registered = self.federation.managers.get(named.slug)
        if split_public_id(named.public_id) is None or registered is None:
            return UNKNOWN
        if not self.context.principal.reaches(registered.gestionnaire):
            # A copy would show at the home what the client may not see.
            return Problem.about("access.reference", registered.gestionnaire)
        if named.type not in COPIED_TYPES:
            return Problem(Issue("write.reference-type", {"type": named.type}))
        async with self._at_once:
            try:
                answer = await self.reads.read(named.type, named.public_id, self.context.as_broker())
            except RequestError:
                return UNKNOWN
            except BrokerError as error:
                if error.key != "manager.suspended":
                    raise
                return unavailable(error)
            resource = self._tree(answer.body, named.slug)
            identifier = strongest_identifier(resource)
            if identifier is None:
                return _NO_IDENTIFIER
            aliases: dict[str, str] = {}
            evidence = Evidence(self.federation)
            found = await evidence.all_by_identifier(named.type, identifier, self.home, self.context, aliases)
        if not found:
            return Actor(named, resource, identifier)
        one = the_one(found)
        if one is None:
            return Problem.about("write.reference-ambiguous", self.home.calls.manager)
        return Actor(named, resource, identifier, local=f"{named.type}/{one.local_id}")

    def _tree(self, body: bytes, slug: str) -> dict[str, Any]:
        """A resource as a manager holds it: it may be anything that is JSON."""
        try:
            resource = parsed(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            resource = None
        if resource is None or nests_too_deep(resource):
            registered = self.federation.managers.get(slug)
            manager = registered.gestionnaire if registered is not None else self.home.calls.manager
            raise failed(manager, FailureKind.INVALID)
        return resource

    def _judge(self, met: Sequence[_Mention]) -> None:
        """Failures at their places. What an actor can be without it does without, unless its manager only rests."""
        for mention in met:
            problem = self._failures.get(mention.named.reference)
            if problem is not None and (mention.needed or problem.issue.key == _UNAVAILABLE):
                self.problems.add(problem, [mention.place])
        for reference, actor in self.actors.items():
            places = dict.fromkeys(one.place for one in met if one.named.reference == reference)
            self.actors[reference] = replace(actor, paths=tuple(places))
