"""What the locator knows: which manager holds which circle of which person (federation, section 5). Pure.

Persons and circles are known by their business identifiers. Outside this module's users an identifier is only ever seen
as a keyed hash; the store holds no identifier at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

Identifier = tuple[str, str]
"""A business identifier: (system, value), both given."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One circle as a manager showed it.

    `circle_id`, `version`: the manager's own. `last_updated`: seconds since the epoch, by the manager's clock; None where
    it gives none. `persons`: every identifier of the subject (INS, former INS, NIA…), none where it has none.
    `replica`: the circle says that it is a copy.
    """

    manager: str
    circle_id: str
    version: str | None
    last_updated: float | None
    identifiers: tuple[Identifier, ...]
    persons: tuple[Identifier, ...]
    replica: bool = False


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a circle is held. `circle` is a short hash of its business identifier: equal for copies of one circle."""

    manager: str
    circle_id: str
    version: str | None
    replica: bool
    circle: bytes


class CoverageState(StrEnum):
    NONE = "none"
    CRAWLING = "crawling"
    COMPLETE = "complete"


class Coverage(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of one manager the index holds.

    `as_of`: our instant (seconds since the epoch) up to which every change is in the index; only with state complete.
    `since`: the manager's own `meta.lastUpdated` from which its feed is read next. `crawled`: the same, up to which the
    first crawl has come (ascending), so that a killed one goes on. `circles`: how many were seen by the crawl. `total`:
    how many the manager says it holds. `fence`: the token of the leader that wrote this. `generation`: of the index.
    """

    state: CoverageState = CoverageState.NONE
    as_of: float | None = None
    since: str | None = None
    crawled: str | None = None
    circles: int = 0
    total: int | None = None
    fence: int = 0
    generation: int = 0
    problem: str | None = None  # key of a message: why it cannot be complete
