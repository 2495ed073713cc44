"""The figures that publishing is run with, and those that it gives."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PublisherOptions:
    """Seconds, but for the bounds.

    `lease`: how long a publisher that fell silent stays the one. `margin`: of it, what a last publishing may take.
    `tick`: between two looks at what is due again. `gather`: from a first change to reading, for others to come with it.
    `quiet`: between two looks at a circle that is not found.
    `most_waiting`: changes in hand. `most_read`: circles read and not in the log yet. `batch`: changes read, and circles
    published, at a time. `at_once`: circles read at one home at a time. `stale`: looks after which an older version than
    was announced is believed. `forget`: after which a circle that does not change is forgotten; `tidy`: between two parts.
    """

    lease: float = 15.0
    margin: float = 5.0
    tick: float = 0.05
    gather: float = 0.01
    quiet: float = 2.0
    most_waiting: int = 100_000
    most_read: int = 256
    batch: int = 200
    at_once: int = 8
    stale: int = 6
    forget: float = 30 * 86_400.0
    tidy: float = 0.2


@dataclass(slots=True)
class PublisherFigures:
    """Since the start of this process. `waiting_for`: by home, circles that it does not give now."""

    published: int = 0
    notified_early: int = 0
    replicas: int = 0
    found_deleted: int = 0
    abandoned: int = 0
    reduced: int = 0
    log_failures: int = 0
    waiting_for: dict[str, int] = field(default_factory=dict)
    stalled: bool = False
