"""The actors of an event at the agent's manager: by what each is found, what is there, and what there is to write. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from broker.core.business_identifier import strongest_identifier
from broker.core.copies import URI_SYSTEM, copy_of, followed, parsed, source_of, to_json
from broker.core.copy_plan import Actor, plan_copies, the_one
from broker.core.entry import Entry
from broker.core.event_content import ChangeEvent
from broker.core.named_urn import urn_of
from broker.core.references import Named, with_references
from broker.core.replica_marks import AS_OF_SYSTEM, as_of, held_state, is_copy_of, marked, state_marked


class AmbiguousActorError(ValueError):
    """The manager holds several actors of its own under one identifier; `type` is theirs."""

    def __init__(self, resource_type: str) -> None:
        super().__init__(resource_type)
        self.type = resource_type


@dataclass(frozen=True, slots=True)
class Write:
    """One create (`local_id` None) or update. Writes of one `layer` need not wait for each other.

    `full_url`: the `urn:uuid:` by which later writes refer to what this one creates. `criterion`: for `If-None-Exist`.
    `version_id`: for `If-Match`, where the manager gave one.
    """

    type: str
    resource: Mapping[str, Any] = field(repr=False)
    full_url: str
    layer: int
    criterion: str | None = field(default=None, repr=False)
    local_id: str | None = None
    version_id: str | None = None

    @property
    def target(self) -> str:
        """Relative to the manager's base."""
        return self.type if self.local_id is None else f"{self.type}/{self.local_id}"

    def body(self, made: Mapping[str, str]) -> bytes:
        """In JSON. `made`: what the creates before it have become at the manager (`Practitioner/77`), by `full_url`."""
        return with_references(to_json(self.resource), made)

    @classmethod
    def update(cls, resource: Mapping[str, Any], held: Entry, full_url: str, layer: int) -> Write:
        """Of what the manager holds."""
        rest = {name: value for name, value in resource.items() if name not in ("resourceType", "id")}
        whole = {"resourceType": held.type, "id": held.local_id, **rest}
        return cls(held.type, whole, full_url, layer, None, held.local_id, held.version_id)


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """`references`: what the circle's references become, by their text. `writes`: creates and updates, in their order."""

    references: Mapping[str, str]
    writes: tuple[Write, ...]


def actors_of(event: ChangeEvent) -> list[Actor]:
    """The event's actors, each with what it is found by: its strongest identifier, or the address of its original."""
    found = []
    for entry in event.actors:
        resource = parsed(entry.raw)
        named = Named(entry.type, entry.public_id)
        address = source_of(resource, named, event.public_base)
        found.append(Actor(named, resource, strongest_identifier(resource) or (URI_SYSTEM, address)))
    return found


def plan_actors(event: ChangeEvent, wanted: Sequence[str], held: Mapping[str, Sequence[Entry]]) -> ActorPlan:
    """What to write so that the references `wanted` lead somewhere at the manager.

    `held`: what the manager answered, by `Type/public id`; what it sent beside what was asked for is not looked at. Raises
    `AmbiguousActorError`.
    """
    base = event.public_base
    actors: dict[str, Actor] = {}
    outdated: dict[str, Entry] = {}
    for actor in actors_of(event):
        there = _held(actor, held)
        if there is not None:
            actor = replace(actor, local=f"{there.type}/{there.local_id}")
            if _is_outdated(there, actor, base):
                outdated[actor.named.reference] = there
        actors[actor.named.reference] = actor
    led_on = [text for reference in outdated for _, text, _ in followed(actors[reference].resource)]
    full_urls = {reference: full_url_of(f"{base}/{reference}") for reference in actors}
    plan = plan_copies(dict.fromkeys((*wanted, *led_on)), actors, {}, full_urls, base)
    writes = []
    for copy in plan.copies:
        made = _restated(copy.resource, actors[copy.original])
        writes.append(Write(copy.type, made, copy.full_url, copy.layer, copy.criterion))
    layer = max((copy.layer for copy in plan.copies), default=-1) + 1
    for reference, there in outdated.items():
        actor = actors[reference]
        source = source_of(actor.resource, actor.named, base)
        texts = [text for _, text, _ in followed(actor.resource) if text in plan.references]
        local = {text: plan.references[text] for text in texts}
        made = copy_of(actor.resource, source=source, references=local, public_base=base)
        writes.append(Write.update(_restated(made, actor), there, full_urls[reference], layer))
    return ActorPlan(plan.references, tuple(writes))


def full_url_of(address: str) -> str:
    """The `urn:uuid:` that stands for what has a public address, until it has one at the manager."""
    return urn_of(address.encode())


def _held(actor: Actor, held: Mapping[str, Sequence[Entry]]) -> Entry | None:
    there = [
        one
        for one in held.get(actor.named.reference, ())
        if one.type == actor.named.type and actor.identifier in one.identifiers
    ]
    found = the_one(there) if there else None
    if there and found is None:
        raise AmbiguousActorError(actor.named.type)
    return found


def _is_outdated(held: Entry, actor: Actor, public_base: str) -> bool:
    """Whether it is a copy of this very original, and an older one. The manager's own actor is never touched."""
    if not is_copy_of(held, source_of(actor.resource, actor.named, public_base)):
        return False
    code = as_of(actor.resource)
    now = None if code is None else state_marked([(AS_OF_SYSTEM, code)])
    then = held_state(held)
    return now is not None and (then is None or now > then)


def _restated(copy: Mapping[str, Any], actor: Actor) -> dict[str, Any]:
    """A copy with its mark, and with the identifier by which it is found where it has none of its own."""
    made = marked(copy, as_of=as_of(actor.resource))
    if strongest_identifier(made) is not None:
        return made
    system, value = actor.identifier
    stated = made.get("identifier")
    others = stated if isinstance(stated, list) else []
    return made | {"identifier": [*others, {"system": system, "value": value}]}
