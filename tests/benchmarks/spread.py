"""Statistics of rounds taken in turns: what is a figure, and how far it can be trusted.

Rounds of one run are few and not normally distributed (a busy machine only ever slows), so intervals come from resampling
them (the bootstrap, percentiles), with dice that fall the same way each time.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence

RESAMPLED = 400
_COVERED = 0.95
_ROUNDING = 1e-9  # 0.29 of a hundred are 28.999…

Statistic = Callable[[Sequence[float]], float]
Bounds = tuple[float, float]


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least `part` of them do not exceed. Raises `ValueError` where there is none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = math.ceil(part * len(ordered) - _ROUNDING) - 1
    return ordered[min(len(ordered) - 1, max(0, place))]


def p99(values: Sequence[float]) -> float:
    return quantile(values, 0.99)


def of_median(values: Sequence[float]) -> Bounds:
    """Between what the median lies, as far as these values can tell."""
    return _bounds([statistics.median(_again(values, dice)) for dice in _dice()])


def of_ratio(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], what: Statistic) -> Bounds:
    """Of `what` over ours to `what` over theirs. Both are given round by round, and drawn as whole pairs of rounds: what
    disturbed one round disturbed all of it."""
    ratios = []
    for dice in _dice():
        drawn = [dice.randrange(len(ours)) for _ in ours]
        our = [one for number in drawn for one in ours[number]]
        their = [one for number in drawn for one in theirs[number]]
        ratios.append(what(our) / what(their))
    return _bounds(ratios)


def of_change(before: Sequence[float], now: Sequence[float]) -> Bounds:
    """Of the median's change, as a part of what it was (0.1: a tenth more)."""
    return _bounds(
        [
            statistics.median(_again(now, dice)) / statistics.median(_again(before, dice)) - 1
            for dice in _dice()
        ]
    )


def _dice() -> Sequence[random.Random]:
    return [random.Random(number) for number in range(RESAMPLED)]


def _again(values: Sequence[float], dice: random.Random) -> Sequence[float]:
    return dice.choices(values, k=len(values))


def _bounds(values: Sequence[float]) -> Bounds:
    beside = (1 - _COVERED) / 2
    return quantile(values, beside), quantile(values, 1 - beside)
