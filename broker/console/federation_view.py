"""The federation as a page shows it: managers with their figures, regions as tiles. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker.core.breaker import BreakerState
from broker.federation.manager_guard import ManagerHealth
from broker.federation.traffic import Bucket, ManagerTraffic, Recent
from broker.sync.agent import Backlog
from broker.sync.service import ManagerInLocator
from registry.model import REGIONS, Registered, Status

SLOW: Final = 1.0
"""Seconds: the mean of a minute from which a manager is called slow."""
FAILING: Final = 2
"""Exchanges in a row that failed, from which it is called failing before its breaker says so."""

PLACES: Final[Mapping[str, tuple[int, int]]] = {
    "32": (1, 3), "01": (1, 6), "02": (1, 7),
    "53": (2, 1), "28": (2, 2), "11": (2, 3), "44": (2, 4), "03": (2, 6), "04": (2, 7),
    "52": (3, 2), "24": (3, 3), "27": (3, 4), "06": (3, 6),
    "75": (4, 2), "84": (4, 4),
    "76": (5, 3), "93": (5, 4),
    "94": (6, 5),
}  # fmt: skip
"""Row and column of each region, in the order in which they are read."""


class State(StrEnum):
    """The worst first."""

    FAILING = "failing"
    SLOW = "slow"
    UNKNOWN = "unknown"  # it has not been asked yet
    UP = "up"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Spark:
    """A drawing of `WIDTH` by `HEIGHT`: lines of points, and where something failed. `most`: seconds at its top."""

    lines: tuple[str, ...]
    failures: tuple[int, ...]
    most: float | None


@dataclass(frozen=True, slots=True)
class ManagerLine:
    """`index`: None where there is none, or it does not answer. `backlog`, `letters`: None for who takes no changes."""

    slug: str
    name: str
    region: str
    state: State
    health: ManagerHealth | None
    recent: Recent
    index: ManagerInLocator | None
    backlog: Backlog | None
    letters: int | None
    spark: Spark

    @property
    def region_name(self) -> str:
        return REGIONS.get(self.region, self.region)


@dataclass(frozen=True, slots=True)
class Tile:
    """`state`: the worst of its managers; None where there is none."""

    region: str
    name: str
    row: int
    column: int
    state: State | None
    managers: tuple[ManagerLine, ...]

    @property
    def of_that_state(self) -> int:
        return sum(one.state is self.state for one in self.managers)


WIDTH: Final = 180
HEIGHT: Final = 40
_TOP: Final = 4


def state_of(
    registered: Registered, health: ManagerHealth | None, traffic: ManagerTraffic | None, recent: Recent
) -> State:
    if registered.gestionnaire.status is Status.SUSPENDED:
        return State.SUSPENDED
    if health is not None and health.breaker is not BreakerState.CLOSED:
        return State.FAILING
    if traffic is None or not traffic.exchanges:
        return State.UNKNOWN
    if traffic.failing >= FAILING:
        return State.FAILING
    if recent.mean is not None and recent.mean > SLOW:
        return State.SLOW
    return State.UP


def tiles(lines: Iterable[ManagerLine]) -> tuple[Tile, ...]:
    held: dict[str, list[ManagerLine]] = {region: [] for region in PLACES}
    for line in lines:
        held.setdefault(line.region, []).append(line)
    order = list(State)
    found = []
    for region, (row, column) in PLACES.items():
        managers = tuple(sorted(held[region], key=lambda one: order.index(one.state)))
        state = managers[0].state if managers else None
        found.append(Tile(region, REGIONS[region], row, column, state, managers))
    return tuple(found)


def worst_first(lines: Iterable[ManagerLine]) -> Sequence[ManagerLine]:
    """By state, and as they were within one."""
    order = list(State)
    return sorted(lines, key=lambda one: order.index(one.state))


def by_state(lines: Iterable[ManagerLine]) -> Mapping[State, int]:
    counted = dict.fromkeys(State, 0)
    for line in lines:
        counted[line.state] += 1
    return counted


def spark(buckets: Sequence[Bucket | None]) -> Spark:
    """Mean times, oldest first. Where nothing was exchanged the line is broken."""
    means = [None if one is None else one.mean for one in buckets]
    most = max((mean for mean in means if mean is not None), default=None)
    step = WIDTH / max(1, len(buckets) - 1)
    lines: list[list[str]] = [[]]
    for place, mean in enumerate(means):
        if mean is None:
            lines.append([])
            continue
        y = HEIGHT - _TOP - (HEIGHT - 2 * _TOP) * (mean / most if most else 0.0)
        lines[-1].append(f"{place * step:.1f},{y:.1f}")
    failures = tuple(
        round(place * step) for place, one in enumerate(buckets) if one is not None and one.failed
    )
    # A point alone is drawn as a short line.
    drawn = tuple(" ".join(line if len(line) > 1 else [*line, _beside(line[0])]) for line in lines if line)
    return Spark(drawn, failures, most)


def _beside(point: str) -> str:
    x, _, y = point.partition(",")
    return f"{float(x) + 1.5:.1f},{y}"
