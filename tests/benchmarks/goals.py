"""What is asked of the broker's speed, and where in the results each figure is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import (
    bench_idle,
    bench_located,
    bench_managers,
    bench_merge,
    bench_read,
    bench_search,
    bench_tails,
    bench_workers,
    spread,
    watchdog,
)
from tests.benchmarks.canned_managers import MANAGERS
from tests.benchmarks.comparing import Outcome
from tests.benchmarks.report import Report


@dataclass(frozen=True, slots=True)
class Measured:
    """`low` and `high`: between what the value lies, as far as the rounds can tell. `of`: what it is made of."""

    value: float
    of: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """`key` names it in the report. `part`: of the suite. `at_least`: else at most."""

    key: str
    part: str
    text: str
    limit: float
    unit: str
    find: Callable[[Report], Measured | None]
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def _outcome(found: list[Outcome], prefix: str) -> Measured | None:
    one = next((one for one in found if one.case.startswith(prefix) and one.connections == 1), None)
    if one is None:
        return None
    low, high = spread.of_median(one.ratios) if one.ratios else (one.ratio_min, one.ratio_max)
    many = next((more for more in found if more.case == one.case and more.connections > 1), None)
    beside = "" if many is None else f"; {many.connections} clients: {many.ratio:.2f}"
    return Measured(one.ratio, f"{one.ours.cpu_ms:.2f} ms over {one.theirs.cpu_ms:.2f} ms{beside}", low, high)


def _merge(report: Report) -> Measured | None:
    merge = report.merge
    if not merge:
        return None
    trees = f"; the same on trees: {merge['trees_ratio']:.2f}" if "trees_ratio" in merge else ""
    of = f"{merge['merge_median_ms']:.2f} ms over {merge['orjson_median_ms']:.2f} ms{trees}"
    return Measured(merge["ratio_median"], of, merge.get("ratio_low"), merge.get("ratio_high"))


def _search(report: Report) -> Measured | None:
    return _outcome(report.search, f"search, {MANAGERS} managers × 1 circle")


def _located(report: Report) -> Measured | None:
    return None if report.located is None else _outcome(report.located.outcomes, "located search")


def _read(report: Report) -> Measured | None:
    return _outcome(report.read, "read by id")


def _managers(report: Report) -> Measured | None:
    if report.managers is None or len(report.managers.sizes) < 2:
        return None
    few, *_, many = report.managers.sizes
    low, high = spread.of_median(many.ratios)
    of = (
        f"{many.each_us:.0f} µs with {many.managers}, {few.each_us:.0f} µs with {few.managers}; bare fan-out: "
        f"{many.bare_ratio:.2f}"
    )
    return Measured(many.ratio, of, low, high)


def _deadline(report: Report) -> Measured | None:
    if report.managers is None or not report.managers.deadlines:
        return None
    worst = max(report.managers.deadlines, key=lambda one: one.late_ms)
    of = f"{worst.longest_ms:.0f} ms with {worst.managers} managers and a deadline of {worst.deadline_ms:.0f}"
    return Measured(worst.late_ms, of)


def _workers(report: Report) -> Measured | None:
    """What was measured where the workers had cores of their own, else what the CPU times allow."""
    if report.workers is None or not report.workers.scaling:
        return None
    worst = min(report.workers.scaling, key=lambda one: one.ratio if one.apart else one.accounted)
    value, values = (worst.ratio, worst.ratios) if worst.apart else (worst.accounted, worst.accounts)
    low, high = spread.of_median(values)
    of = (
        "measured, load on other cores"
        if worst.apart
        else f"estimated from CPU times; measured with the load on the same {worst.cores} cores: {worst.ratio:.2f}, of "
        f"{worst.ceiling:.2f} that these leave"
    )
    return Measured(value, f"{worst.case}: {of}", low, high)


def _exchanges(report: Report) -> Measured | None:
    if report.workers is None or not report.workers.exchanges:
        return None
    found = dict(report.workers.exchanges)
    if report.located is not None and report.located.exchanges is not None:
        found["located search"] = report.located.exchanges
    return Measured(max(found.values()), ", ".join(f"{name} {count:.2f}" for name, count in found.items()))


def _tail(name: str) -> Callable[[Report], Measured | None]:
    def find(report: Report) -> Measured | None:
        one = None if report.tails is None else report.tails.named(name)
        if one is None or one.ratio is None or report.tails is None:
            return None
        healthy = report.tails.named(one.over)
        of = f"p99 {one.p99_ms:.1f} ms over {healthy.p99_ms:.1f} ms" if healthy else ""
        return Measured(one.ratio, of, one.low, one.high)

    return find


def _idle(report: Report) -> Measured | None:
    if report.idle is None:
        return None
    found = report.idle.worker(bench_idle.SEARCHED)
    if found is None:
        return None
    return Measured(
        found.resident / 1e6,
        f"resident, after a first search; proportional {found.proportional / 1e6:.0f}, own {found.own / 1e6:.0f}; "
        f"beside it {report.idle.beside(bench_idle.SEARCHED):.0f} resident in other processes; "
        f"bare proxy: {report.idle.bare.resident / 1e6:.0f} resident",
    )


def _steps(report: Report) -> Measured | None:
    if report.steps is None or not report.steps.stretches:
        return None
    worst = report.steps.longest
    return Measured(worst.ours.step_ms, f"{worst.case}: {worst.ours.told}")


GOALS = (
    Goal(
        "merge",
        "merge",
        "merge, 577 KB in 13 Bundles, over `orjson` loads + dumps",
        bench_merge.LIMIT,
        "×",
        _merge,
    ),
    Goal(
        "search",
        "search",
        "search over 13 managers, one circle each, broker CPU over bare aiohttp fan-out",
        bench_search.LIMIT,
        "×",
        _search,
    ),
    Goal(
        "located",
        "located",
        "located search, broker CPU over a bare aiohttp proxy of one request",
        bench_located.LIMIT,
        "×",
        _located,
    ),
    Goal("read", "read", "read by id, same", bench_read.LIMIT, "×", _read),
    Goal(
        "managers",
        "managers",
        "100 managers, CPU per manager asked, over that at 13",
        bench_managers.LIMIT,
        "×",
        _managers,
    ),
    Goal(
        "workers",
        "workers",
        "two workers on two cores with load elsewhere, throughput over one",
        bench_workers.LIMIT,
        "×",
        _workers,
        at_least=True,
    ),
    Goal(
        "hung",
        "tails",
        "one of 13 hung, breaker open, p99 over healthy p99",
        bench_tails.LIMIT,
        "×",
        _tail(bench_tails.ONE_HUNG),
    ),
    Goal("idle", "idle", "memory of one idle worker", bench_idle.LIMIT_MB, "MB", _idle),
)
"""The table of numbers."""

BESIDE = (
    Goal(
        "steps",
        "steps",
        "longest single step of the loop, with large answers",
        watchdog.LIMIT_MS,
        "ms",
        _steps,
    ),
    Goal(
        "deadline",
        "managers",
        "one manager too slow: answer after the deadline",
        bench_managers.LATE_MS,
        "ms",
        _deadline,
    ),
    Goal(
        "exchanges", "workers", "round trips to Redis for one search", bench_workers.EXCHANGES, "", _exchanges
    ),
    Goal(
        "hung-elsewhere",
        "tails",
        "located search, another manager hung, p99 over healthy p99",
        bench_tails.LIMIT,
        "×",
        _tail(bench_tails.LOCATED_HUNG),
    ),
)
"""What is asked in words."""
