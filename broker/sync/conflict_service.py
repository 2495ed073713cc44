"""Conflicts as operators see them: the circles of persons with two homes, with their managers; never who they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from broker.core.conflict import Circle, Conflict
from broker.core.conflict_event import written
from broker.core.identity import public_id
from broker.errors import RequestError
from broker.ports import Managers
from registry.conflict_ports import ConflictStore

DEFAULT_LIMIT = 100
MAX_LIMIT = 500

_PLACE = re.compile(r"([0-9]{1,15})-([0-9a-f]{16})", re.ASCII)


class ConflictState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"


class ConflictingCircle(msgspec.Struct, frozen=True):
    """One of a person's home circles. `reference`: `CareTeam/` and its public id, to be read under `/fhir`.

    `manager`: the slug of the manager that it is at; `name`, `region`: null where that has left the registry.
    """

    reference: str
    manager: str
    name: str | None = None
    region: str | None = None


class ListedConflict(msgspec.Struct, frozen=True):
    """A person with several home circles, as those circles: `count` of them, the first hundred listed.

    `since`: when it was first seen; `resolved`: when it was seen no more. `published`: the event that says so is in the
    change log.
    """

    id: str
    state: ConflictState
    since: str
    resolved: str | None
    published: bool
    count: int
    circles: tuple[ConflictingCircle, ...]


class ConflictList(msgspec.Struct, frozen=True):
    """A page of conflicts, the oldest first. `total`: of this state. `as_of`: when the index was last asked; null: never.

    `next`: what to ask for as `after` to get the following page; null on the last one.
    """

    conflicts: tuple[ListedConflict, ...]
    total: int
    as_of: str | None = None
    next: str | None = None


@dataclass(frozen=True, slots=True)
class ConflictService:
    store: ConflictStore
    managers: Managers

    async def list(self, state: ConflictState, *, limit: int, after: str | None = None) -> ConflictList:
        """`limit`: 1 to `MAX_LIMIT`. Raises `StoreError`; `RequestError` for an `after` that is none."""
        behind = _place(after)
        known = await self.store.known()
        of_state = [one for one in known.conflicts if _state(one) is state]
        there = [one for one in of_state if behind is None or _order(one) > behind]
        page = there[:limit]
        return ConflictList(
            tuple(map(self._listed, page)),
            len(of_state),
            None if known.looked is None else written(known.looked),
            None if len(there) <= limit else "{}-{}".format(*_order(page[-1])),
        )

    def _listed(self, one: Conflict) -> ListedConflict:
        return ListedConflict(
            one.id,
            _state(one),
            written(one.since),
            None if one.resolved is None else written(one.resolved),
            one.is_told,
            one.count,
            tuple(map(self._circle, one.circles)),
        )

    def _circle(self, circle: Circle) -> ConflictingCircle:
        slug, local_id = circle
        reference, registered = f"CareTeam/{public_id(slug, local_id)}", self.managers.get(slug)
        if registered is None:
            return ConflictingCircle(reference, slug)
        return ConflictingCircle(
            reference, slug, registered.gestionnaire.name, registered.gestionnaire.region
        )


def _state(one: Conflict) -> ConflictState:
    return ConflictState.OPEN if one.is_open else ConflictState.RESOLVED


def _order(one: Conflict) -> tuple[int, str]:
    """What does not change while a conflict lasts."""
    return int(one.since * 1000), one.id


def _place(after: str | None) -> tuple[int, str] | None:
    if after is None:
        return None
    match = _PLACE.fullmatch(after)
    if match is None:
        raise RequestError("registry.bad-value", parameter="after")
    return int(match[1]), match[2]
