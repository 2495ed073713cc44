"""Many managers: what asking one of them costs where 13, 50 and 100 are asked, and whether the deadline holds.

Each manager has one circle with its Patient, and all of them are on the page. The sizes take turns, each with a worker of
the broker and a bare fan-out over the same managers; the CPU of one search is divided by the managers asked. A bare fan-out
tells how much of a growth is the machine's: caches that no longer hold, a page that is longer to send.

Deadline: the same sizes with one manager that answers every second time, and the other times not before the deadline is
over (so that its breaker does not open). `CDS_SEARCH_DEADLINE` is one second. An answer is late by what it took beyond it.

Run with `python -m tests.benchmarks managers`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
from rich.console import Console

from tests.benchmarks import spread
from tests.benchmarks.bench_search import Stage, _port, _search, stage
from tests.benchmarks.comparing import Cost, Effort, OnCase, Round, Rounds, Side, cost, in_turns, watch
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Target, closed_loop
from tests.benchmarks.tables import table

LIMIT = 1.1
"""Times the CPU per manager asked with 13 of them, with 100."""

LATE_MS = 100.0
"""Milliseconds after the deadline by which an answer has come."""

DEADLINE = 1.0
SIZES, SMOKE_SIZES = (13, 50, 100), (13, 30)

_SEARCHES, _SMOKE_SEARCHES = 12, 2  # of which half meet the deadline
_SLOW = {"usual": 0.0, "slow": 5_000.0, "first": 1, "every": 2}


@dataclass(frozen=True, slots=True)
class Size:
    """`each_us`: CPU for one manager asked, microseconds; `ratio`: over that with the fewest managers, the median of the
    rounds' own, `ratios`. `bare_ratio`: the same of the bare fan-out."""

    managers: int
    ours: Cost
    theirs: Cost
    each_us: float
    bare_each_us: float
    ratio: float
    ratios: tuple[float, ...]
    bare_ratio: float


@dataclass(frozen=True, slots=True)
class Deadline:
    """Milliseconds. `longest_ms`: of the searches in which one manager was slow; `late_ms`: by how much it came after the
    deadline (negative: before). `named`: the answers that named the manager, of `met`."""

    managers: int
    deadline_ms: float
    longest_ms: float
    late_ms: float
    met: int
    named: int


@dataclass(frozen=True, slots=True)
class Many:
    sizes: list[Size]
    deadlines: list[Deadline]

    def figures(self) -> Iterator[Figure]:
        for size in self.sizes:
            name = f"{size.managers} managers"
            if size.ratio != 1.0:
                yield Figure(f"{name}: CPU per manager, over that at 13", size.ratio, "×", size.ratios)
            yield Figure(f"{name}: CPU per manager", size.each_us, "µs")
        for one in self.deadlines:
            yield Figure(f"{one.managers} managers: after the deadline", one.late_ms, "ms")


async def run(effort: Effort, on_case: OnCase) -> Many:
    """Both parts. `on_case` hears of each as it begins."""
    sizes = SMOKE_SIZES if effort.smoke else SIZES
    with stage(circles=1, managers=sizes[-1]) as on:
        measured = await _sizes(on, sizes, effort, on_case)
        late = [await _deadline(on, size, effort, on_case) for size in effort.some(sizes)]
    return Many(measured, late)


async def _sizes(on: Stage, sizes: Sequence[int], effort: Effort, on_case: OnCase) -> list[Size]:
    on_case(f"{', '.join(map(str, sizes))} managers in turns")
    sides: dict[str, Side] = {}
    brokers = {size: on.broker(f"m{size}", on.bases[:size]) for size in sizes}
    bares = {size: on.bare(on.bases[:size]) for size in sizes}
    for size in sizes:
        port, bare = _port(brokers[size]), int(bares[size].started["port"])
        sides[f"ours {size}"] = Side("broker", brokers[size], _whole(port))
        sides[f"theirs {size}"] = Side("bare fan-out", bares[size], _search(bare, 1))
        await _complete(sides[f"ours {size}"].target, size)
    requests = effort.scaled(0.5)
    rounds = await in_turns(sides, effort, connections=1, requests=requests)
    found = []
    for size in sizes:
        ours, theirs = f"ours {size}", f"theirs {size}"
        watched = await watch(sides[ours], connections=1, requests=requests)
        ratios = _ratios(rounds, ours, f"ours {sizes[0]}", size / sizes[0])
        bare_ratios = _ratios(rounds, theirs, f"theirs {sizes[0]}", size / sizes[0])
        our_cost, their_cost = cost("broker", rounds[ours], watched), cost("bare fan-out", rounds[theirs])
        found.append(
            Size(
                size,
                our_cost,
                their_cost,
                our_cost.cpu_ms / size * 1e3,
                their_cost.cpu_ms / size * 1e3,
                statistics.median(ratios),
                ratios,
                statistics.median(bare_ratios),
            )
        )
    return found


def _ratios(rounds: Rounds, many: str, few: str, times: float) -> tuple[float, ...]:
    def each(one: Round) -> float:
        return one.cpu

    pairs = zip(rounds[many], rounds[few], strict=True)
    return tuple(each(more) / times / each(less) for more, less in pairs)


def _whole(port: int) -> Target:
    return _search(port, 1, ("_count", "200"))


async def _complete(target: Target, size: int) -> None:
    run = await closed_loop(target, connections=1, requests=1)
    modes = [entry["search"]["mode"] for entry in orjson.loads(run.body)["entry"]]
    assert (modes.count("match"), modes.count("outcome")) == (size, 0), (size, modes.count("match"))


async def _deadline(on: Stage, size: int, effort: Effort, on_case: OnCase) -> Deadline:
    on_case(f"{size} managers, one of which is too slow")
    managers = on.canned(circles=1, managers=size, pace=_SLOW)
    broker = on.broker(
        f"d{size}",
        managers.started["bases"],
        patience=DEADLINE * 4,
        settings={"search_deadline": DEADLINE},
    )
    met: list[float] = []
    named = 0
    for _ in range(_SMOKE_SEARCHES if effort.smoke else _SEARCHES):
        run = await closed_loop(_whole(_port(broker)), connections=1, requests=1)
        if b'"mode":"outcome"' in run.body or run.latencies[0] > DEADLINE / 2:
            met.append(run.latencies[0] * 1e3)
            named += b"reg00" in run.body
    assert met, "nobody was slow"
    return Deadline(size, DEADLINE * 1e3, max(met), max(met) - DEADLINE * 1e3, len(met), named)


def show(many: Many, console: Console) -> None:
    sizes = table(
        "Managers asked, one circle each",
        "managers",
        "CPU, ms",
        "each, µs",
        "over 13",
        "",
        "bare",
        "over 13",
        "p50",
        "p99",
    )
    for one in many.sizes:
        low, high = spread.of_median(one.ratios)
        sizes.add_row(
            str(one.managers),
            f"{one.ours.cpu_ms:.2f}",
            f"{one.each_us:.0f}",
            f"{one.ratio:.2f}",
            f"{low:.2f}–{high:.2f}",
            f"{one.bare_each_us:.0f}",
            f"{one.bare_ratio:.2f}",
            f"{one.ours.p50_ms:.1f}",
            f"{one.ours.p99_ms:.1f}",
        )
    sizes.caption = f"Goal: at most {LIMIT} times the CPU per manager asked at 13."
    console.print(sizes)
    late = table(
        "One manager too slow for the deadline",
        "managers",
        "deadline, ms",
        "longest, ms",
        "late, ms",
        "named",
    )
    for two in many.deadlines:
        late.add_row(
            str(two.managers),
            f"{two.deadline_ms:.0f}",
            f"{two.longest_ms:.0f}",
            f"{two.late_ms:+.0f}",
            f"{two.named} of {two.met}",
        )
    late.caption = f"Goal: at most {LATE_MS:.0f} ms late."
    console.print(late)
