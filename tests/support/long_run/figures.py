"""Whether something grows, told from samples that jump: pure, seconds in, ratios out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Series = Sequence[tuple[float, float]]
"""Instants in seconds, and what was seen then."""

MOST = 250
"""Samples that a slope is told from: all pairs of them are looked at."""


def slope(series: Series) -> float:
    """Theil and Sen's: the median of the slopes between all pairs, in units a second. A quarter of the samples may be
    anything. 0 where there are fewer than two."""
    thinned = series[:: max(1, -(-len(series) // MOST))]
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(thinned, 2) if x2 != x1]
    return statistics.median(slopes) if slopes else 0.0


def after(series: Series, instant: float) -> Series:
    return [one for one in series if one[0] >= instant]


@dataclass(frozen=True)
class Growth:
    """`first`, `last`: medians of the first and the last tenth. `grown`: by the robust slope over the whole span, as a
    part of `first`: 0.05 is five percent."""

    first: float
    last: float
    grown: float

    @classmethod
    def of(cls, series: Series) -> Growth:
        if not series:
            return cls(0.0, 0.0, 0.0)
        tenth = max(1, len(series) // 10)
        first = statistics.median(value for _, value in series[:tenth])
        last = statistics.median(value for _, value in series[-tenth:])
        span = series[-1][0] - series[0][0]
        return cls(first, last, slope(series) * span / first if first else 0.0)


def quantile(values: Sequence[float], part: float) -> float:
    """Of values in any order; nan where there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


@dataclass(frozen=True)
class Drift:
    """Of a quantile over phases: its median in the first third of them, and in the last; and their ratio."""

    first: float
    last: float
    phases: int

    @property
    def ratio(self) -> float:
        return self.last / self.first if self.first else float("nan")

    @classmethod
    def of(cls, phases: Sequence[Sequence[float]], part: float = 0.99, *, fewest: int = 50) -> Drift | None:
        """None where fewer than three phases have `fewest` values: that says nothing."""
        told = [quantile(one, part) for one in phases if len(one) >= fewest]
        if len(told) < 3:
            return None
        third = len(told) // 3
        return cls(statistics.median(told[:third]), statistics.median(told[-third:]), len(told))


def more(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """By how much each kind is more than it was."""
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}
