"""What the locator knows: which manager holds which circle of which person (federation, section 5). Pure.

Persons and circles are known by their business identifiers. Outside this module's users an identifier is only ever seen
as a keyed hash; the store holds no identifier at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

Identifier = tuple[str, str]
"""A business identifier: (system, value), both given."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One circle as a manager showed it.

    `circle_id`, `version`: the manager's own. `last_updated`: seconds since the epoch, by the manager's clock; None where
    it gives none. It orders sightings, the subject's identifiers too: where those were read from a Patient that changed
    after the circle, give the Patient's. `persons`: every identifier of the subject (INS, former INS, NIA…), none where
    it has none; whoever did not see the subject has no sighting to tell. `replica`: the circle says that it is a copy.
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
    `patients_since`: as `since`, of the feed of Patients; None where there is no such feed. `started`: our instant at
    which this crawl began. `base_url`: where the manager was when it was crawled; elsewhere it is another one.
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
    patients_since: str | None = None
    started: float | None = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """The index as built with one secret; a rotation fills the next one while this one still answers.

    `ours`: its secret is at hand here. `dropping`: only deleted any more. `circles`: for how many it was laid out.
    """

    number: int
    key_id: str
    circles: int
    ours: bool
    dropping: bool
    coverage: Mapping[str, Coverage]
