"""Two servers under the same load, in turns: what one costs, over what the other does.

The sides of a comparison take turns, round by round, so that a busy machine slows both; each round gives one ratio, of which
the median counts. CPU time is that of the serving process alone, user and system, all threads; latencies are the client's.
After the rounds both sides are driven once more with their loops watched, which no other figure is taken from.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.benchmarks.children import Child
from tests.benchmarks.load import Run, Target, closed_loop
from tests.benchmarks.profiling import Profiles
from tests.benchmarks.watchdog import Watched

OnCase = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effort:
    """`rounds` of each side; `requests` in a round of a search of one circle a manager, the cheapest one.

    `smoke`: to see whether everything works, of each part a little. `profiles`: where they go, and what takes them.
    """

    rounds: int
    requests: int
    smoke: bool = False
    profiles: Profiles | None = None

    @property
    def is_full(self) -> bool:
        return not self.smoke and self.rounds >= FULL.rounds

    def some(self, what: Sequence[T]) -> Sequence[T]:
        """All of it; the first for a smoke."""
        return what[:1] if self.smoke else what

    def scaled(self, share: float, connections: int = 1) -> int:
        """Requests of a round."""
        return max(connections * 2, int(self.requests * share))

    def warming(self, requests: int) -> int:
        """Requests before the first round."""
        return 2 if self.smoke else max(20, requests // 4)


FULL = Effort(rounds=10, requests=160)
QUICK = Effort(rounds=4, requests=80)
SMOKE = Effort(rounds=2, requests=4, smoke=True)


@dataclass(frozen=True, slots=True)
class Side:
    """A server under load. `process` is the one whose CPU time counts."""

    name: str
    process: Child
    target: Target


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    ours: Side
    theirs: Side
    connections: int
    share: float = 1.0  # of the effort's requests


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one side over all rounds; milliseconds, `cpu_ms` for one request."""

    name: str
    cpu_ms: float
    cpu_min_ms: float
    cpu_max_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float
    answer_bytes: int
    watched: Watched | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`ratio`: the median of the rounds' own, `ratios`, of which `ratio_min` and `ratio_max` are the extremes."""

    case: str
    connections: int
    ours: Cost
    theirs: Cost
    ratio: float
    ratio_min: float
    ratio_max: float
    ratios: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """`cpu`: seconds of one request."""

    run: Run
    cpu: float

    @property
    def latencies(self) -> list[float]:
        """Milliseconds."""
        return [one * 1e3 for one in self.run.latencies]


Rounds = Mapping[str, Sequence[Round]]


async def in_turns(
    sides: Mapping[str, Side],
    effort: Effort,
    *,
    connections: int,
    requests: int,
    on_body: Callable[[str, bytes], None] | None = None,
) -> Rounds:
    """Rounds of each side. Each is warmed up first, so that connections are open and caches filled; then each round begins
    with another side. `on_body` hears the name of the side, and each answer of a round."""
    for side in sides.values():
        await closed_loop(side.target, connections=connections, requests=effort.warming(requests))
    rounds: dict[str, list[Round]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(effort.rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            heard = None if on_body is None else _hearing(on_body, name)
            before = sides[name].process.cpu()
            run = await closed_loop(
                sides[name].target, connections=connections, requests=requests, on_body=heard
            )
            rounds[name].append(Round(run, (sides[name].process.cpu() - before) / requests))
    return rounds


def _hearing(on_body: Callable[[str, bytes], None], name: str) -> Callable[[bytes], None]:
    return lambda body: on_body(name, body)


async def measure(case: Case, effort: Effort, on_case: OnCase) -> Outcome:
    on_case(f"{case.name}, {case.connections} client{'s' if case.connections > 1 else ''}")
    requests = effort.scaled(case.share, case.connections)
    sides = {"ours": case.ours, "theirs": case.theirs}
    rounds = await in_turns(sides, effort, connections=case.connections, requests=requests)
    watched = {
        name: await watch(side, connections=case.connections, requests=requests)
        for name, side in sides.items()
    }
    if effort.profiles is not None:
        await effort.profiles.take(
            f"{case.name}-{case.connections}",
            case.ours.process.pid,
            lambda: closed_loop(case.ours.target, connections=case.connections, requests=requests),
        )
    return outcome(case, rounds, watched)


def outcome(case: Case, rounds: Rounds, watched: Mapping[str, Watched]) -> Outcome:
    ratios = ratios_of(rounds["ours"], rounds["theirs"])
    return Outcome(
        case.name,
        case.connections,
        cost(case.ours.name, rounds["ours"], watched.get("ours")),
        cost(case.theirs.name, rounds["theirs"], watched.get("theirs")),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        ratios,
    )


def ratios_of(ours: Sequence[Round], theirs: Sequence[Round]) -> tuple[float, ...]:
    """Of CPU, round by round."""
    return tuple(our.cpu / their.cpu for our, their in zip(ours, theirs, strict=True))


async def watch(side: Side, *, connections: int, requests: int) -> Watched:
    """The side under the same load, and its loop watched."""
    side.process.watch()
    try:
        await closed_loop(side.target, connections=connections, requests=requests)
    finally:
        watched = side.process.watched()
    return watched


def cost(name: str, rounds: Sequence[Round], watched: Watched | None = None) -> Cost:
    cpu = [one.cpu * 1e3 for one in rounds]
    latencies = [latency for one in rounds for latency in one.latencies]
    cuts = statistics.quantiles(latencies, n=100)
    return Cost(
        name,
        statistics.median(cpu),
        min(cpu),
        max(cpu),
        cuts[49],
        cuts[94],
        cuts[98],
        len(latencies) / sum(one.run.seconds for one in rounds),
        len(rounds[-1].run.body),
        watched,
    )
