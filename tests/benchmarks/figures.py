"""The figures of a run as a flat list, and what changed between two runs.

Only ratios, and what is counted, can be compared between runs: milliseconds depend on what else the machine did. A ratio is
taken as changed where the interval of the change of its median, resampled from the rounds of both runs, leaves out zero, and
the change is more than what alternating rounds of one build differ by. Of few rounds, no round of one run may lie among
those of the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.benchmarks import spread

SMALL = 0.03
"""Changes below this part are called the same, whatever the rounds say: builds of one source differ by as much."""

_OF_ANOTHER = ("ratio_low", "ratio_high", "ratio_min", "bytes", "kafka", "circles")

FEW = 8
"""Rounds below which resampling tells too little: their extremes count."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`rounds`: of a ratio, one by one; or `bounds`, between what it lies. `more_is_better`: of throughput. With neither it
    is shown and not judged."""

    name: str
    value: float
    unit: str
    rounds: tuple[float, ...] = ()
    more_is_better: bool = False
    bounds: tuple[float, float] | None = None


class Verdict(StrEnum):
    SAME = "same"
    BETTER = "better"
    WORSE = "worse"
    UNSURE = "not judged"
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Change:
    """`change`: a part of what it was (0.1: a tenth more); `bounds`: between what that lies, where rounds tell."""

    name: str
    unit: str
    before: float | None
    now: float | None
    change: float | None
    bounds: tuple[float, float] | None
    verdict: Verdict


def changes(before: Iterable[Figure], now: Iterable[Figure]) -> list[Change]:
    """In the order of the later run; what is no longer there comes last."""
    known = {one.name: one for one in before}
    found = [_change(known.pop(one.name, None), one) for one in now]
    return found + [
        Change(one.name, one.unit, one.value, None, None, None, Verdict.GONE) for one in known.values()
    ]


def _change(before: Figure | None, now: Figure) -> Change:
    if before is None:
        return Change(now.name, now.unit, None, now.value, None, None, Verdict.NEW)
    if not before.value:
        return Change(now.name, now.unit, before.value, now.value, None, None, Verdict.UNSURE)
    change = now.value / before.value - 1
    bounds = _bounds(before, now)
    if bounds is None:
        return Change(now.name, now.unit, before.value, now.value, change, None, Verdict.UNSURE)
    low, high = bounds
    if low <= 0 <= high or abs(change) < SMALL:
        verdict = Verdict.SAME
    else:
        verdict = Verdict.BETTER if (change > 0) == now.more_is_better else Verdict.WORSE
    return Change(now.name, now.unit, before.value, now.value, change, (low, high), verdict)


def _bounds(before: Figure, now: Figure) -> tuple[float, float] | None:
    """Between what the change lies; None where the runs do not tell."""
    if before.bounds is not None and now.bounds is not None and before.bounds[0] > 0:
        return now.bounds[0] / before.bounds[1] - 1, now.bounds[1] / before.bounds[0] - 1
    rounds = min(len(before.rounds), len(now.rounds))
    if rounds < 2 or min(before.rounds) <= 0:
        return None
    if rounds < FEW:
        return min(now.rounds) / max(before.rounds) - 1, max(now.rounds) / min(before.rounds) - 1
    return spread.of_change(before.rounds, now.rounds)


def of_report(parts: Mapping[str, Any]) -> Iterator[Figure]:
    """By the name of the part. A part is a mapping of numbers, outcomes, or a record that has outcomes or says its own."""
    for name, part in parts.items():
        if part:
            for one in _of_part(part):
                yield dataclasses.replace(one, name=f"{name}: {one.name}")


def _of_part(part: Any) -> Iterator[Figure]:
    if isinstance(part, Mapping):
        for name, value in part.items():
            bounds = None
            if name == "ratio_median" and "ratio_low" in part:
                bounds = (part["ratio_low"], part["ratio_high"])
            if isinstance(value, int | float) and name not in _OF_ANOTHER:
                yield Figure(name, float(value), "×" if name.startswith("ratio") else "", bounds=bounds)
    elif isinstance(part, list):
        for one in part:
            yield from of_outcome(one)
    else:
        for one in getattr(part, "outcomes", ()):
            yield from of_outcome(one)
        if hasattr(part, "figures"):
            yield from part.figures()


def of_outcome(one: Any) -> Iterator[Figure]:
    """The ratio, which is judged; and what it is made of."""
    name = f"{one.case}, {one.connections} client{'s' if one.connections > 1 else ''}"
    yield Figure(f"{name}: CPU over {one.theirs.name}", one.ratio, "×", tuple(one.ratios))
    yield Figure(f"{name}: CPU", one.ours.cpu_ms, "ms")
    yield Figure(f"{name}: p99", one.ours.p99_ms, "ms")
    if one.ours.watched is not None:
        yield Figure(f"{name}: longest step", one.ours.watched.step_ms, "ms")
