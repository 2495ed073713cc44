"""How long a run is, how hard it is driven, and what it may find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.support.long_run.faults import FAULTS
from tests.support.long_run.figures import more

POOLED = frozenset({"manager established", "unix socket", "kafka established"})
"""What the broker keeps for the next one who needs it."""


@dataclass(frozen=True)
class Plan:
    """Seconds. `warm_up`, a rest, then rounds of a calm phase, a fault and what it takes to recover, until `seconds` more
    are over; or `rounds` of them.

    `together`: faults at a time. `most_growth`: of memory after the warm-up, as a part; None: not told from so short a run.
    `most_drift`: of p99, likewise. `slack`: descriptors, tasks or threads of each kind that there may be more than before
    when all rests; `pooled`: connections in pools, which a fault may make larger. `suspends`: managers are suspended at the
    end, so that their pools run out, which takes half a minute; else killed.
    """

    seconds: float
    warm_up: float
    calm: float
    fault: float
    together: int
    readers: int
    writers: int
    reader_pause: float
    writer_pause: float
    population: int
    still: int
    every: float
    told_every: float
    rest: float
    most_growth: float | None
    most_drift: float | None
    suspends: bool
    pooled: int
    slack: int = 4
    rounds: int | None = None

    def beyond(self, before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
        """What there is more of than there may be when all rests. Nobody leaves a connection half closed; pools keep as
        many as were ever needed at a time."""
        found = {}
        for kind, count in more(before, now).items():
            slack = 0 if "close-wait" in kind else self.pooled if kind in POOLED else self.slack
            if count > slack:
                found[kind] = count
        return found

    def schedule(self) -> Iterator[tuple[str, ...]]:
        """The faults of one round after the other, each as often as any other."""
        names = [*FAULTS]
        place = 0
        while True:
            yield tuple(names[(place + k) % len(names)] for k in range(self.together))
            place += self.together


def short() -> Plan:
    """Every fault once: leaks and truth, no figures of time."""
    together = 2
    return Plan(
        seconds=0.0,
        warm_up=2.0,
        calm=1.0,
        fault=1.2,
        together=together,
        readers=3,
        writers=3,
        reader_pause=0.05,
        writer_pause=0.1,
        population=40,
        still=24,
        every=0.5,
        told_every=5.0,
        rest=30.0,
        most_growth=None,
        most_drift=None,
        suspends=False,
        pooled=120,
        rounds=-(-len(FAULTS) // together),
    )


def long(minutes: float) -> Plan:
    """A quarter of it, ten minutes at most, warms up: caches of fixed size fill, pools reach theirs."""
    whole = 60.0 * minutes
    warm_up = min(600.0, whole / 4)
    return Plan(
        seconds=whole - warm_up,
        warm_up=warm_up,
        calm=min(60.0, whole / 15),
        fault=min(10.0, whole / 40),
        together=1,
        readers=6,
        writers=4,
        reader_pause=0.12,
        writer_pause=0.6,
        population=400,
        still=40,
        every=2.0,
        told_every=10.0,
        rest=90.0,
        most_growth=0.05,
        most_drift=1.25,
        suspends=True,
        pooled=24,
    )
