"""What the load has seen: how long each exchange took and in which phase, and every answer that was not true."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.long_run.figures import Drift, quantile

OTHERS = 0.15
_SHOWN = 40


@dataclass
class Book:
    """`calm`: the number of the calm phase under way; None while something is wrong or has just been.

    `calm_times`: seconds, by kind, by calm phase. `others`: the part of the machine's processors that was used by nothing of
    this run, by calm phase. `answers`: by kind and status; None: no answer. `partial`: searches that
    said what was missing, and by it `calm_partial`, those in calm phases. `wrong`: what was answered that is not so.
    """

    calm: int | None = None
    calm_times: dict[str, dict[int, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    others: dict[int, float] = field(default_factory=dict)
    answers: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    refused_in_calm: Counter[str] = field(default_factory=Counter)
    calm_count: int = 0
    partial: int = 0
    calm_partial: int = 0
    checked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)

    def begun(self) -> tuple[float, int | None]:
        return time.monotonic(), self.calm

    def ended(self, kind: str, begun: tuple[float, int | None], status: int | None) -> bool:
        """Whether the exchange lay within a calm phase."""
        taken = time.monotonic() - begun[0]
        self.answers[kind, status] += 1
        self.recent.append(taken)
        if begun[1] is None or begun[1] != self.calm:
            return False
        self.calm_count += 1
        self.calm_times[kind][begun[1]].append(taken)
        if status is None or status >= 400:
            self.refused_in_calm[f"{kind} {status}"] += 1
        return True

    def untrue(self, what: str) -> None:
        if len(self.wrong) < _SHOWN:
            self.wrong.append(what)

    def lately(self) -> Sequence[float]:
        """Seconds of the exchanges since this was asked last."""
        recent, self.recent = self.recent, []
        return recent

    @property
    def count(self) -> int:
        return sum(self.answers.values())

    @property
    def quiet(self) -> list[int]:
        """Calm phases in which the machine was this run's own: what took long then took the broker long."""
        return [number for number, part in sorted(self.others.items()) if part < OTHERS]

    def drifts(self) -> dict[str, Drift]:
        """Of the p99 of each kind of which there is enough, over the quiet phases."""
        found = {
            kind: Drift.of([phases[number] for number in self.quiet if number in phases])
            for kind, phases in self.calm_times.items()
        }
        return {kind: one for kind, one in sorted(found.items()) if one is not None}

    def p99(self, kind: str) -> float:
        return quantile([one for phase in self.calm_times[kind].values() for one in phase], 0.99)
