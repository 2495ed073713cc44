"""Which copies of other managers' actors a write needs at its home, in the order in which they can be made (pure).

An actor comes after those that it refers to, so that a manager that minds its references takes each one. Where actors go
round in a circle, the last of them refers to the first by a logical reference: see `copies`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from broker.core.business_identifier import token_criterion
from broker.core.copies import copy_of, followed, source_of
from broker.core.dedup import Copyable, is_replica
from broker.core.references import Named, named_by
from registry.locator_model import Identifier


@dataclass(frozen=True, slots=True)
class Actor:
    """Another manager's actor as it was read, in public terms.

    `identifier`: its strongest one, by which it is the same at every manager. `paths`: FHIRPaths of what refers to it.
    `local`: what it is at the home already (`Practitioner/77`), in the home's own terms.
    """

    named: Named
    resource: Mapping[str, Any]
    identifier: Identifier
    paths: tuple[str, ...] = ()
    local: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """An actor that the home lacks, ready to be created there.

    `full_url`: the `urn:uuid:` by which other copies, and what is written, refer to it until it has an id. `original`: the
    actor as `Type/public id`; `paths`: FHIRPaths of what refers to it. `layer`: 0 where it refers to no other copy, else one
    more than the highest of these.
    """

    full_url: str
    resource: Mapping[str, Any]
    identifier: Identifier
    original: str
    paths: tuple[str, ...] = ()
    layer: int = 0

    @property
    def type(self) -> str:
        return str(self.resource["resourceType"])

    @property
    def criterion(self) -> str:
        """For `If-None-Exist`, or `ifNoneExist` in a transaction (FHIR R4, http.html#ccreate)."""
        return token_criterion(*self.identifier)


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """`references`: what each foreign reference becomes, by its text: a resource of the home, or a copy's `full_url`."""

    references: Mapping[str, str] = field(default_factory=dict)
    copies: tuple[PlannedCopy, ...] = ()


def plan_copies(
    wanted: Iterable[str],
    actors: Mapping[str, Actor],
    at_home: Mapping[str, str],
    full_urls: Mapping[str, str],
    public_base: str,
) -> CopyPlan:
    """The plan for the references `wanted`, each of whose actors must be in `actors` or `at_home`.

    Keys are `Type/public id`; values of `at_home` the home's own references, of `full_urls` what to call each actor's copy.
    Two actors of one type and business identifier are one.
    """
    planner = _Planner(actors, at_home, full_urls, public_base)
    references = {}
    for text in wanted:
        named = named_by(text, public_base)
        stands = None if named is None else planner.stand_in(named.reference)
        if stands is not None:
            references[text] = stands
    return CopyPlan(references, tuple(planner.copies))


@dataclass(slots=True)
class _Planner:
    actors: Mapping[str, Actor]
    at_home: Mapping[str, str]
    full_urls: Mapping[str, str]
    public_base: str
    copies: list[PlannedCopy] = field(default_factory=list)
    _planned: dict[tuple[str, Identifier], PlannedCopy | None] = field(default_factory=dict)

    def stand_in(self, reference: str) -> str | None:
        """What stands for an actor at the home; None where it stays behind, or is being planned itself."""
        if reference in self.at_home:
            return self.at_home[reference]
        actor = self.actors.get(reference)
        if actor is None or actor.local is not None:
            return None if actor is None else actor.local
        key = actor.named.type, actor.identifier
        if key not in self._planned:
            self._planned[key] = None
            self._planned[key] = self._copy(actor)
        planned = self._planned[key]
        return None if planned is None else planned.full_url

    def _copy(self, actor: Actor) -> PlannedCopy:
        references = {}
        for _, text, _ in followed(actor.resource):
            named = named_by(text, self.public_base)
            stands = None if named is None else self.stand_in(named.reference)
            if stands is not None:
                references[text] = stands
        layers = [copy.layer + 1 for copy in self.copies if copy.full_url in references.values()]
        copy = PlannedCopy(
            full_url=self.full_urls[actor.named.reference],
            resource=copy_of(
                actor.resource,
                source=source_of(actor.resource, actor.named, self.public_base),
                references=references,
                public_base=self.public_base,
            ),
            identifier=actor.identifier,
            original=actor.named.reference,
            paths=actor.paths,
            layer=max(layers, default=0),
        )
        self.copies.append(copy)
        return copy


C = TypeVar("C", bound=Copyable)


def the_one(found: Sequence[C]) -> C | None:
    """Of what a manager holds under one business identifier, what stands for the actor. There must be something.

    The manager's own one before copies, of which the first by id: two may have been made at the same instant. None: it
    holds several of its own, and nobody can say which is meant.
    """
    own = [one for one in found if not is_replica(one)]
    if len(own) > 1:
        return None
    return own[0] if own else min(found, key=lambda one: one.public_id)
