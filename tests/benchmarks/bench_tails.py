"""Tails: what the slowest hundredth of searches waits for when some answers of managers are slow, or one manager hangs.

Canned managers answer in 20 ms, give or take a quarter; where some are slow, in 200 ms, 1 % or 10 % of the answers of each:
with 13 managers that is one search in eight, or three in four. The brokers over them take turns with the one over healthy
managers, and a bare fan-out over the same managers shows what waiting for everybody would give. Then one of 13 hangs, with
its breaker open; and of a federation that the locator knows, one manager hangs that does not hold the person's circle.

An answer is *partial* where somebody is left out, which an OperationOutcome in it says. Times are the client's.

Run with `python -m tests.benchmarks tails`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from adapters.embedded_valkey import EmbeddedValkey
from tests.benchmarks import bench_located, spread
from tests.benchmarks.bench_search import Stage, _port, _search, is_covered, one_hung, stage
from tests.benchmarks.children import Child, child
from tests.benchmarks.comparing import Effort, OnCase, Rounds, Side, in_turns
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import closed_loop
from tests.benchmarks.tables import table
from tests.support.waiting import until

LIMIT = 1.2
"""Times the p99 with all managers healthy, with one of 13 hung and its breaker open."""

HUNG = 7
"""The manager that hangs, and holds nothing of the person."""

_USUAL, _SLOW = 20.0, 200.0
_CLIENTS, _SHARE = 4, 1.0
_OUTCOME = b'"mode":"outcome"'
_BENCH = "tests.benchmarks"


@dataclass(frozen=True, slots=True)
class Tail:
    """Milliseconds, over all rounds. `ratio`: of p99 over that of `over`, in the same run, between `low` and `high` as far
    as the rounds can tell; `ratios`: of single rounds. `partial`: the part of the answers that left somebody out.
    `bare_p99_ms`: of the bare fan-out over the same managers, where there is one."""

    case: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    partial: float
    over: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    ratios: tuple[float, ...] = ()
    bare_p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Tails:
    """`upstream`: requests to managers for one located search while one hangs."""

    tails: list[Tail]
    upstream: dict[str, float]

    def figures(self) -> Iterator[Figure]:
        for one in self.tails:
            if one.ratio is not None:
                yield Figure(f"{one.case}: p99 over {one.over}", one.ratio, "×", one.ratios)
            yield Figure(f"{one.case}: p99", one.p99_ms, "ms")
            yield Figure(f"{one.case}: partial", one.partial * 100, "%")

    def named(self, case: str) -> Tail | None:
        return next((one for one in self.tails if one.case == case), None)


HEALTHY, ONE_HUNG = "all healthy", "one hung, breaker open"
LOCATED, LOCATED_HUNG, LAPSED = (
    "located, all healthy",
    "located, another hung",
    "located, another hung and lapsed",
)


async def run(effort: Effort, on_case: OnCase) -> Tails:
    """Both parts. `on_case` hears of each as it begins."""
    searched = await _searched(effort, on_case)
    located, upstream = await _located(effort, on_case)
    return Tails([*searched, *located], upstream)


# --- searches of everybody


async def _searched(effort: Effort, on_case: OnCase) -> list[Tail]:
    on_case("13 managers: healthy, slow at times, one hung")
    shares = {"1 % slow": 0.01, "10 % slow": 0.1}
    if effort.smoke:
        del shares["10 % slow"]
    with stage(circles=1, pace={"usual": _USUAL}) as on:
        paced = {
            name: on.canned(circles=1, pace={"usual": _USUAL, "slow": _SLOW, "share": share})
            for name, share in shares.items()
        }
        sides = {HEALTHY: _ours(on, "healthy", on.bases), f"bare: {HEALTHY}": _theirs(on, on.bases)}
        for number, (name, managers) in enumerate(paced.items()):
            bases = list(managers.started["bases"])
            sides |= {name: _ours(on, f"slow{number}", bases), f"bare: {name}": _theirs(on, bases)}
        sides[ONE_HUNG] = await one_hung(on, 0.2 if effort.smoke else 1.0)
        rounds, partial = await _rounds(sides, effort)
    return [_tail(name, HEALTHY, rounds, partial) for name in sides if not name.startswith("bare: ")]


def _ours(on: Stage, name: str, bases: Sequence[str]) -> Side:
    broker = on.broker(name, bases)
    return Side("broker", broker, _search(_port(broker), on.circles))


def _theirs(on: Stage, bases: Sequence[str]) -> Side:
    bare = on.bare(bases)
    return Side("bare fan-out", bare, _search(int(bare.started["port"]), on.circles))


async def _rounds(sides: Mapping[str, Side], effort: Effort) -> tuple[Rounds, Mapping[str, float]]:
    """And which part of the answers was partial."""
    partial: Counter[str] = Counter()

    def heard(name: str, body: bytes) -> None:
        partial[name] += _OUTCOME in body

    requests = effort.scaled(_SHARE, _CLIENTS)
    rounds = await in_turns(sides, effort, connections=_CLIENTS, requests=requests, on_body=heard)
    return rounds, {name: partial[name] / (requests * effort.rounds) for name in sides}


def _tail(name: str, over: str, rounds: Rounds, partial: Mapping[str, float]) -> Tail:
    mine = [one.latencies for one in rounds[name]]
    pooled = [one for latencies in mine for one in latencies]
    bare = rounds.get(f"bare: {name}")
    bare_p99 = None if bare is None else spread.p99([one for a in bare for one in a.latencies])
    p50, p95, p99 = (spread.quantile(pooled, part) for part in (0.5, 0.95, 0.99))
    tail = Tail(name, p50, p95, p99, partial[name], bare_p99_ms=bare_p99)
    if name == over:
        return tail
    healthy = [one.latencies for one in rounds[over]]
    low, high = spread.of_ratio(mine, healthy, spread.p99)
    ratios = tuple(spread.p99(ours) / spread.p99(theirs) for ours, theirs in zip(mine, healthy, strict=True))
    whole = spread.p99([one for latencies in healthy for one in latencies])
    return replace(tail, over=over, ratio=p99 / whole, low=low, high=high, ratios=ratios)


# --- located searches


async def _located(effort: Effort, on_case: OnCase) -> tuple[list[Tail], dict[str, float]]:
    on_case("located searches while another manager hangs")
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="cds-bench-"))
        managers = {
            name: stack.enter_context(child(f"{_BENCH}.canned_located", {})) for name in _kinds(effort)
        }
        valkey = EmbeddedValkey(Path(directory))
        redis = valkey.start()
        stack.callback(valkey.stop)
        brokers = {
            name: stack.enter_context(
                child(
                    f"{_BENCH}.broker_worker",
                    {
                        "redis": redis,
                        "prefix": f"tails{number}",
                        "bases": managers[name].started["bases"],
                        "data_dir": directory,
                        "locator": True,
                        "sync": False,
                        # What the index knows stays good while it is measured; or is good no more at once.
                        "settings": _lapsing() if name == LAPSED else {"locator_freshness": 3_600.0},
                    },
                )
            )
            for number, name in enumerate(managers)
        }
        for one in brokers.values():
            await until(functools.partial(is_covered, _port(one)), seconds=60.0)
        for name, one in managers.items():
            if name != LOCATED:
                one.ask("hang", str(HUNG))
        if LAPSED in brokers:
            await until(functools.partial(_has_lapsed, brokers[LAPSED]), seconds=60.0)
        sides = {
            name: Side("broker", one, bench_located._search(_port(one))) for name, one in brokers.items()
        }
        before = {name: int(managers[name].ask("searches")) for name in sides}
        rounds, partial = await _rounds(sides, effort)
        requests = effort.scaled(_SHARE, _CLIENTS)
        sent = effort.warming(requests) + requests * effort.rounds
        upstream = {name: (int(managers[name].ask("searches")) - before[name]) / sent for name in sides}
    return [_tail(name, LOCATED, rounds, partial) for name in sides], upstream


def _kinds(effort: Effort) -> Sequence[str]:
    return (LOCATED, LOCATED_HUNG) if effort.smoke else (LOCATED, LOCATED_HUNG, LAPSED)


def _lapsing() -> dict[str, Any]:
    return {"locator_poll": 0.5, "locator_freshness": 2.0}


async def _has_lapsed(broker: Child) -> bool:
    """The index says nothing of the manager any more, and nobody waits for it: the answer names it at once."""
    target = bench_located._search(_port(broker))
    run = await closed_loop(target, connections=1, requests=1)
    return b"manager.breaker-open" in run.body


def show(tails: Tails, console: Console) -> None:
    shown = table(
        "Slow and hung managers, ms", "", "p50", "p95", "p99", "over healthy", "", "partial", "bare p99"
    )
    for one in tails.tails:
        shown.add_row(
            one.case,
            f"{one.p50_ms:.1f}",
            f"{one.p95_ms:.1f}",
            f"{one.p99_ms:.1f}",
            "" if one.ratio is None else f"{one.ratio:.2f}",
            "" if one.low is None else f"{one.low:.2f}–{one.high:.2f}",
            f"{one.partial:.1%}",
            "" if one.bare_p99_ms is None else f"{one.bare_p99_ms:.1f}",
            end_section=one.case == ONE_HUNG,
        )
    asked = ", ".join(f"{name}: {count:.2f}" for name, count in tails.upstream.items())
    shown.caption = (
        f"Goal: at most {LIMIT} times the healthy p99 with one hung and its breaker open. Slow: {_SLOW:.0f} ms in "
        f"place of {_USUAL:.0f}. Requests to managers for one located search: {asked}."
    )
    console.print(shown)
