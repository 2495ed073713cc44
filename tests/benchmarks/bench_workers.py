"""Two workers on two cores: their throughput over that of one, and how often a search goes to Redis.

`cds-broker serve --workers 1` and `--workers 2` take turns under the same load, each a program as an operator starts it, on
one Valkey, over the same canned managers. Two workloads: a search of small answers, and one in which the broker itself does
most of the work (13 managers × 10 circles, 577 KB).

With four cores and more, the workers have two of them to themselves and the load, the managers and Valkey run on the
others: the throughput that is measured is the figure. On fewer cores all of them share what the two workers would have
alone, so that nothing can reach twice the throughput. Then three figures are told: what was measured; what the CPU times
allow at most on this machine (`ceiling`: all cores busy all the time); and what they allow with the load elsewhere
(`accounted`: twice the CPU time of a request at one worker, over that at two). The last is what the workers cost each
other, and it is an estimate: it takes for granted that nothing but CPU limits them.

Run with `python -m tests.benchmarks workers`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import process_time

from rich.console import Console

from tests.benchmarks import spread
from tests.benchmarks.bench_search import Stage, _port, _search, stage
from tests.benchmarks.canned_managers import MANAGERS
from tests.benchmarks.comparing import Effort, OnCase
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Target, closed_loop
from tests.benchmarks.processes import cpu_seconds, placed
from tests.benchmarks.served import Served, served
from tests.benchmarks.tables import table

LIMIT = 1.7
"""Times the throughput of one worker, at least."""

EXCHANGES = 1.0
"""Round trips to Redis for one search, at most."""

_ENOUGH = 4  # cores for two workers, and a machine beside them
_CLIENTS, _SMOKE_CLIENTS = 32, 4
_COUNTED = 20  # searches, over which round trips are counted


@dataclass(frozen=True, slots=True)
class Throughput:
    """`cpu_ms`: of the workers for one request; `others_ms`: of the load, the managers, and what is beside the workers."""

    workers: int
    per_second: float
    cpu_ms: float
    others_ms: float


@dataclass(frozen=True, slots=True)
class Scaling:
    """`ratio`: of throughput, two workers over one, the median of the rounds' own, `ratios`. `ceiling`, `accounted`: see
    above. `apart`: the workers had two cores to themselves. `less_busy`: the part of the two workers' CPU time that the
    less busy one used."""

    case: str
    cores: int
    apart: bool
    one: Throughput
    two: Throughput
    ratio: float
    ratios: tuple[float, ...]
    ceiling: float
    accounted: float
    accounts: tuple[float, ...]
    less_busy: float


@dataclass(frozen=True, slots=True)
class Workers:
    """`exchanges`: round trips to Redis for one request, by its kind."""

    scaling: list[Scaling]
    exchanges: dict[str, float]

    def figures(self) -> Iterator[Figure]:
        for one in self.scaling:
            yield Figure(
                f"{one.case}: throughput of two workers over one",
                one.ratio,
                "×",
                one.ratios,
                more_is_better=True,
            )
            yield Figure(
                f"{one.case}: by CPU times, load elsewhere",
                one.accounted,
                "×",
                one.accounts,
                more_is_better=True,
            )
        for name, count in self.exchanges.items():
            yield Figure(f"{name}: round trips to Redis", count, "")


async def run(effort: Effort, on_case: OnCase) -> Workers:
    """Every case. `on_case` hears its name as it begins."""
    scaling: list[Scaling] = []
    exchanges: dict[str, float] = {}
    cores = sorted(os.sched_getaffinity(0))
    apart = len(cores) >= _ENOUGH
    theirs, ours = (cores[2:], cores[:2]) if apart else (None, None)
    cases = ((1, 1.0), (10, 0.5))
    for circles, share in effort.some(cases):
        name = f"search, {MANAGERS} managers × {circles} circle{'s' if circles > 1 else ''}"
        on_case(f"{name}: one worker and two in turns")
        with placed(theirs), stage(circles=circles) as on:
            if not exchanges:
                exchanges = await _exchanges(on)
            scaling.append(await _scaling(name, on, effort, share, ours))
    return Workers(scaling, exchanges)


async def _scaling(
    name: str, on: Stage, effort: Effort, share: float, cores: Sequence[int] | None
) -> Scaling:
    clients = _SMOKE_CLIENTS if effort.smoke else _CLIENTS
    requests = effort.scaled(share * 2, clients * 4)
    async with AsyncExitStack() as stack:
        brokers: dict[int, Served] = {}
        for workers in (1, 2):
            brokers[workers] = await stack.enter_async_context(
                served(
                    on.redis,
                    Path(on.directory),
                    f"w{workers}",
                    on.bases,
                    workers=workers,
                    cores=cores,
                    locator="false",
                    sync="false",
                    audit="none",
                    **({"background": "worker"} if effort.smoke and workers == 1 else {}),
                )
            )
        for one in brokers.values():
            await closed_loop(
                _target(one, on.circles), connections=clients, requests=effort.warming(requests)
            )
        rounds: dict[int, list[_Round]] = {1: [], 2: []}
        for number in range(effort.rounds):
            for workers in (1, 2) if number % 2 else (2, 1):
                rounds[workers].append(await _round(on, brokers[workers], clients, requests))
    return _scaled(name, rounds, apart=cores is not None)


@dataclass(frozen=True, slots=True)
class _Round:
    """Seconds of CPU for one request. `shares`: of each worker's."""

    per_second: float
    cpu: float
    others: float
    shares: Sequence[float]


async def _round(on: Stage, broker: Served, clients: int, requests: int) -> _Round:
    def others() -> float:
        return on.managers.cpu() + process_time() + cpu_seconds(broker.others)

    beside = others()
    each = [cpu_seconds([pid]) for pid in broker.workers]
    run = await closed_loop(_target(broker, on.circles), connections=clients, requests=requests)
    shares = [cpu_seconds([pid]) - first for pid, first in zip(broker.workers, each, strict=True)]
    # The kernel counts in hundredths of a second: what it did not see is taken for the least it counts.
    used = max(sum(shares), 0.01)
    return _Round(requests / run.seconds, used / requests, (others() - beside) / requests, shares)


def _target(broker: Served, circles: int) -> Target:
    return _search(broker.port, circles, *((("_count", "200"),) if circles > 1 else ()))


def _scaled(name: str, rounds: Mapping[int, Sequence[_Round]], *, apart: bool) -> Scaling:
    cores = len(os.sched_getaffinity(0))
    pairs = list(zip(rounds[1], rounds[2], strict=True))
    one, two = _throughput(1, rounds[1]), _throughput(2, rounds[2])
    ratios = tuple(b.per_second / a.per_second for a, b in pairs)
    accounts = tuple(2 * a.cpu / b.cpu for a, b in pairs)
    # Of one worker: it cannot do more than a core's, nor can all of them more than the cores'.
    alone = min(1e3 / one.cpu_ms, cores * 1e3 / (one.cpu_ms + one.others_ms))
    both = min(2e3 / two.cpu_ms, cores * 1e3 / (two.cpu_ms + two.others_ms))
    busy = [sum(round_.shares[number] for round_ in rounds[2]) for number in (0, 1)]
    return Scaling(
        name,
        cores,
        apart,
        one,
        two,
        statistics.median(ratios),
        ratios,
        both / alone,
        statistics.median(accounts),
        accounts,
        min(busy) / (sum(busy) or 1.0),
    )


def _throughput(workers: int, rounds: Sequence[_Round]) -> Throughput:
    return Throughput(
        workers,
        statistics.median(one.per_second for one in rounds),
        statistics.median(one.cpu for one in rounds) * 1e3,
        statistics.median(one.others for one in rounds) * 1e3,
    )


async def _exchanges(on: Stage) -> dict[str, float]:
    """Of a worker that is not one of those measured: counting costs."""
    broker = on.broker("counted", on.bases)
    port = _port(broker)
    searches = {
        "search on one page": _search(port, on.circles, ("_count", "200")),
        "first page of many": _search(port, on.circles, ("_count", "5")),
    }
    found = {}
    for target in searches.values():
        await closed_loop(target, connections=1, requests=2)
    broker.ask("exchanges")
    for name, target in searches.items():
        broker.ask("exchanges-so-far")
        await closed_loop(target, connections=1, requests=_COUNTED)
        found[name] = int(broker.ask("exchanges-so-far")) / _COUNTED
    return found


def show(workers: Workers, console: Console) -> None:
    shown = table("Two workers over one, requests a second", "", "one", "two", "measured", "at most", "apart")
    for one in workers.scaling:
        shown.add_row(
            one.case,
            f"{one.one.per_second:.0f}",
            f"{one.two.per_second:.0f}",
            _within(one.ratio, one.ratios),
            f"{one.ceiling:.2f}",
            _within(one.accounted, one.accounts),
        )
    shown.caption = note(workers)
    console.print(shown)


def _within(ratio: float, ratios: Sequence[float]) -> str:
    low, high = spread.of_median(ratios)
    return f"{ratio:.2f} ({low:.2f}–{high:.2f})"


def note(workers: Workers) -> str:
    """What the table does not say."""
    apart = all(one.apart for one in workers.scaling)
    where = (
        "The workers had two cores to themselves."
        if apart
        else "Load, managers and Valkey shared the cores with the workers: “at most” is what the CPU times leave them "
        "on this machine, “apart” what they would give with these on other machines."
    )
    asked = ", ".join(f"{name} {count:.1f}" for name, count in workers.exchanges.items())
    return f"Goal: at least {LIMIT}. {where} Round trips to Redis: {asked} (goal: at most {EXCHANGES:.0f} for a search)."
