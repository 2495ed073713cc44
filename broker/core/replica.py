"""What the regional agent does with an event: a pure decision from the event and what its manager holds (federation, 6).

1. `lookups`: what to ask the manager for, by business identifier.
2. `decide`: nothing, the writes that make the manager hold the circle as its home has it, its removal, or a dead letter.
3. The agent writes, in the order given, and fills in the ids that the manager gives (`Write.body`).

Whatever the order in which a circle's events come, and however often, the one with the highest number is what the manager
ends with: an older or repeated one changes nothing. Where there is no replica, nothing there says that the circle was
deleted: that takes the agent's memory (`removed`), or the order that the log keeps.

Actors are found by their strongest business identifier; one without any by the original's public address, which its copy is
given as an identifier. An actor that is not a copy is the manager's own and is used as it is. A copy of the same original
is brought up to date where the event's is newer. Of what the event does not bring with it, the replica keeps a logical
reference (`copies`).

Never decided here: two circles of one identifier, of which neither is the replica of the other's home. That is a conflict
for people to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from broker.core.business_identifier import strongest_identifier, token_criterion
from broker.core.change_event import CIRCLE, Operation
from broker.core.copies import copy_of, parsed
from broker.core.dedup import is_replica
from broker.core.entry import Entry
from broker.core.event_content import ChangeEvent
from broker.core.references import reference_paths
from broker.core.replica_actors import AmbiguousActorError, Write, actors_of, full_url_of, plan_actors
from broker.core.replica_marks import is_copy_of, marked, sequence_of
from registry.locator_model import Identifier

ENTERED_IN_ERROR: Final = "entered-in-error"


class Why(StrEnum):
    """Why nothing is done."""

    ECHO = "echo"  # the circle's home is this very manager
    COPY = "copy"  # what was published is itself a replica
    OLDER = "older"  # the manager has this state already, or a later one
    ABSENT = "absent"  # gone, and there is no replica


class Unfit(StrEnum):
    """Why an event can be read and yet not be applied; `sync.replica-…` in `MESSAGES`."""

    ID_ONLY = "id-only"  # there is no content to write
    NO_IDENTIFIER = "no-identifier"  # the circle has no business identifier with its system
    NOT_A_REPLICA = "not-a-replica"  # the manager holds a circle of its own of that identifier
    OTHER_HOME = "other-home"  # it holds the replica of another home's circle of that identifier
    AMBIGUOUS = "ambiguous"  # it holds several actors of its own under one identifier


@dataclass(frozen=True, slots=True)
class Lookups:
    """What to ask the manager for, before deciding.

    `circle`: None where it is not known (a deletion). `address`: the `meta.source` of the replica; to be asked for where the
    identifier is not known, or finds nothing: it may have been changed. `actors`: by `Type/public id`.
    """

    address: str
    circle: Identifier | None
    actors: Mapping[str, Identifier]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the manager answered, in its own terms (`public_id` is its own id).

    `circles`: found by identifier and by address. `actors`: by `Type/public id` of the event's.
    """

    circles: Sequence[Entry] = ()
    actors: Mapping[str, Sequence[Entry]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leave:
    why: Why


@dataclass(frozen=True, slots=True)
class Apply:
    """`writes`: actors in the order of their dependence, the circle last."""

    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """`replicas`: to be deleted. `instead`: for a manager that does not delete, in the same order, the circle in error."""

    replicas: tuple[Entry, ...]
    instead: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`detail`: a resource type."""

    reason: Unfit
    detail: str = CIRCLE

    @property
    def key(self) -> str:
        """Of the row in `MESSAGES`."""
        return f"sync.replica-{self.reason.value}"


Decision = Leave | Apply | Remove | DeadLetter


def lookups(event: ChangeEvent) -> Lookups:
    """What the manager is to be asked for about an event, so that `decide` knows enough."""
    circle = None if event.circle is None else strongest_identifier(parsed(event.circle.raw))
    actors = {one.named.reference: one.identifier for one in actors_of(event)}
    return Lookups(event.home_address, circle, actors)


def decide(event: ChangeEvent, manager: str, holdings: Holdings, *, removed: int | None = None) -> Decision:
    """What to do about an event at the manager `manager` (its slug).

    `removed`: the highest number among the deletions of this circle that the agent has seen, whether there was a replica or
    not, as far as it remembers: an older event that comes again must not bring it back.
    """
    if event.change.manager == manager:
        return Leave(Why.ECHO)
    if event.circle is not None and is_replica(event.circle):
        return Leave(Why.COPY)
    if removed is not None and event.change.sequence <= removed:
        return Leave(Why.OLDER)
    if event.change.operation is Operation.DELETED:
        return _removal(event, holdings)
    if event.circle is None:
        return DeadLetter(Unfit.ID_ONLY)
    return _replication(event, event.circle, holdings)


def _replication(event: ChangeEvent, circle: Entry, holdings: Holdings) -> Decision:
    resource = parsed(circle.raw)
    identifier = strongest_identifier(resource)
    if identifier is None:
        return DeadLetter(Unfit.NO_IDENTIFIER)
    same = [one for one in holdings.circles if identifier in one.identifiers]
    if any(not is_replica(one) for one in same):
        return DeadLetter(Unfit.NOT_A_REPLICA)
    if any(not is_copy_of(one, event.home_address) for one in same):
        return DeadLetter(Unfit.OTHER_HOME)
    replica = _replica(event, holdings)
    if replica is not None and not _is_news(event, replica):
        return Leave(Why.OLDER)
    wanted = [text for _, text in reference_paths(resource)]
    try:
        actors = plan_actors(event, wanted, holdings.actors)
    except AmbiguousActorError as error:
        return DeadLetter(Unfit.AMBIGUOUS, error.type)
    made = copy_of(
        resource, source=event.home_address, references=actors.references, public_base=event.public_base
    )
    made = marked(made, sequence=event.change.sequence)
    layer = max((one.layer for one in actors.writes), default=-1) + 1
    full_url = full_url_of(event.home_address)
    if replica is not None:
        return Apply((*actors.writes, Write.update(made, replica, full_url, layer)))
    return Apply((*actors.writes, Write(CIRCLE, made, full_url, layer, token_criterion(*identifier))))


def _replica(event: ChangeEvent, holdings: Holdings) -> Entry | None:
    ours = [one for one in holdings.circles if is_copy_of(one, event.home_address)]
    # Two may have been made at the same instant: from then on it is always the same one that is kept up to date.
    return min(ours, key=lambda one: one.local_id) if ours else None


def _removal(event: ChangeEvent, holdings: Holdings) -> Leave | Remove:
    replicas = [one for one in holdings.circles if is_copy_of(one, event.home_address)]
    if not replicas:
        return Leave(Why.ABSENT)
    outdated = tuple(one for one in replicas if _is_news(event, one))
    if not outdated:
        return Leave(Why.OLDER)
    return Remove(outdated, tuple(_in_error(event, one) for one in outdated))


def _in_error(event: ChangeEvent, held: Entry) -> Write:
    """The replica in the manager's own terms, with a status that says that it does not count."""
    resource = parsed(held.raw) | {"status": ENTERED_IN_ERROR}
    resource = marked(resource, sequence=event.change.sequence)
    meta = resource["meta"]
    resource["meta"] = {name: meta[name] for name in meta if name not in ("versionId", "lastUpdated")}
    return Write.update(resource, held, full_url_of(event.home_address), 0)


def _is_news(event: ChangeEvent, held: Entry) -> bool:
    """Whether an event tells of a later state than that which a replica was written from."""
    known = sequence_of(held)
    return known is None or event.change.sequence > known
