"""The figures of one run of the benchmarks: as tables for people, as JSON for comparing runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    bench_access,
    bench_agent,
    bench_crawl,
    bench_located,
    bench_locator_memory,
    bench_sync,
    bench_write,
)
from tests.benchmarks.bench_access import Guarded
from tests.benchmarks.bench_located import Located
from tests.benchmarks.bench_search import Cost, Outcome
from tests.benchmarks.bench_sync import Synchronised
from tests.benchmarks.bench_write import Written

MERGE_LIMIT = 1.5
"""Times `orjson.loads` + `orjson.dumps` of the same bytes."""

SEARCH_LIMIT = 1.6
"""Times the CPU of a bare fan-out, for a search of 13 managers with one circle each."""

_TIMES = (
    "Times in ms. CPU: of the serving process for one request, user and system, the median of rounds in turns; "
    "“rounds”: the ratios of single ones. Synchronisation and audit are off "
    "(CDS_SYNC, CDS_AUDIT): what they cost is measured by the parts sync and access."
)

_LIBRARIES = ("aiohttp", "msgspec", "orjson", "uvloop")


class Report(msgspec.Struct, frozen=True):
    """What was measured; a part that was not chosen is empty. `machine`: what the figures depend on.

    `merge`, `locator_memory`, `crawl`, `agent`: see `run` of those benchmarks.
    """

    made_at: str
    quick: bool
    machine: dict[str, str]
    merge: dict[str, float] = {}
    search: list[Outcome] = []
    located: Located | None = None
    write: Written | None = None
    locator_memory: dict[str, float] = {}
    crawl: dict[str, float] = {}
    agent: dict[str, float] = {}
    sync: Synchronised | None = None
    access: Guarded | None = None


def machine() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def save(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def load(path: Path) -> Report:
    return msgspec.json.decode(path.read_bytes(), type=Report)


def show(report: Report, before: Report | None, console: Console) -> None:
    """Print everything; beside each figure its change since `before`."""
    console.print(" · ".join(f"{name} {value}" for name, value in report.machine.items()), style="dim")
    if report.merge:
        console.print(_merge_table(report.merge, before.merge if before else {}))
    _show_outcomes(report, before, console)
    if report.locator_memory:
        console.print(_memory_table(report.locator_memory, before.locator_memory if before else {}))
    if report.crawl:
        bench_crawl.show(report.crawl, console)
    if report.agent:
        bench_agent.show(report.agent, console)
    if report.sync:
        bench_sync.show(report.sync, before.sync if before else None, console)


def _show_outcomes(report: Report, before: Report | None, console: Console) -> None:
    """Of the parts that compare two servers."""
    parts = (
        (
            report.search,
            before and before.search,
            f"Goal: at most {SEARCH_LIMIT} for 13 managers × 1 circle.",
        ),
        (*_outcomes(report, before, "located"), report.located and bench_located.note(report.located)),
        (*_outcomes(report, before, "write"), report.write and bench_write.note(report.write)),
        (*_outcomes(report, before, "access"), report.access and bench_access.note(report.access)),
    )
    for outcomes, earlier, note in parts:
        if not outcomes:
            continue
        for table in search_tables(outcomes, earlier or ()):
            console.print(table)
        if report.write and outcomes is report.write.outcomes:
            console.print(bench_write.parts_table(report.write))
        console.print(f"{_TIMES} {note}", style="dim")


def _outcomes(
    report: Report, before: Report | None, part: str
) -> tuple[Sequence[Outcome], Sequence[Outcome] | None]:
    now, then = getattr(report, part), getattr(before, part, None)
    return (now.outcomes if now else ()), (then.outcomes if then else None)


def _table(title: str) -> Table:
    """Narrow enough for a terminal of 80 columns."""
    return Table(
        title=f"\n{title}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )


def _merge_table(merge: Mapping[str, float], before: Mapping[str, float]) -> Table:
    title = f"Merging 13 Bundles × 10 circles × 4 resources, {merge['bytes'] / 1000:.0f} KB"
    table = _table(title)
    for heading in ("", "orjson loads + dumps, ms", "merge, ms", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in ("median", "min"):
        ratio = f"ratio_{row}"
        table.add_row(
            row,
            f"{merge[f'orjson_{row}_ms']:.2f}",
            f"{merge[f'merge_{row}_ms']:.2f}",
            f"{merge[ratio]:.2f}{_change(merge[ratio], before.get(ratio))}",
        )
    table.caption = f"Goal: at most {MERGE_LIMIT}."
    table.caption_justify = "left"
    return table


def _memory_table(memory: Mapping[str, float], before: Mapping[str, float]) -> Table:
    title = f"The locator's index: {memory['circles']:,.0f} circles, {bench_locator_memory.MANAGERS} managers"
    table = _table(title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in memory.items():
        table.add_row(name, f"{value:,.1f}{_change(value, before.get(name))}")
    table.caption = (
        f"Goal: at most {bench_locator_memory.BUDGET:.0f} bytes_per_circle, for a million of them."
    )
    table.caption_justify = "left"
    return table


def search_tables(outcomes: Sequence[Outcome], before: Iterable[Outcome]) -> Iterator[Table]:
    known = {(one.case, one.connections): one for one in before}
    for case, group in groupby(outcomes, attrgetter("case")):
        table = _table(case)
        table.add_column("server", no_wrap=True)
        for heading in ("clients", "CPU", "ratio", "rounds", "p50", "p95", "p99", "req/s"):
            table.add_column(heading, justify="right", no_wrap=True)
        for outcome in group:
            earlier = known.get((case, outcome.connections))
            change = _change(outcome.ratio, earlier.ratio if earlier else None)
            spread = f"{outcome.ratio_min:.2f}–{outcome.ratio_max:.2f}{change}"
            clients = str(outcome.connections)
            table.add_row(*_cells(outcome.ours, clients, f"{outcome.ratio:.2f}", spread))
            table.add_row(*_cells(outcome.theirs, "", "", ""), end_section=True)
        yield table


def _cells(cost: Cost, clients: str, ratio: str, spread: str) -> Iterator[str]:
    yield from (cost.name, clients, f"{cost.cpu_ms:.2f}", ratio, spread)
    yield from (f"{cost.p50_ms:.1f}", f"{cost.p95_ms:.1f}", f"{cost.p99_ms:.1f}", f"{cost.per_second:.0f}")


def _change(now: float, before: float | None) -> str:
    return "" if not before else f" ({(now / before - 1) * 100:+.0f} %)"
