"""The figures of one run of the benchmarks: as tables for people, as JSON for comparing runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    bench_access,
    bench_agent,
    bench_crawl,
    bench_idle,
    bench_located,
    bench_locator_memory,
    bench_managers,
    bench_merge,
    bench_publish,
    bench_read,
    bench_search,
    bench_steps,
    bench_sync,
    bench_tails,
    bench_workers,
    bench_write,
)
from tests.benchmarks.bench_access import Guarded
from tests.benchmarks.bench_idle import Idle
from tests.benchmarks.bench_located import Located
from tests.benchmarks.bench_managers import Many
from tests.benchmarks.bench_publish import Published
from tests.benchmarks.bench_steps import Steps
from tests.benchmarks.bench_sync import Synchronised
from tests.benchmarks.bench_tails import Tails
from tests.benchmarks.bench_workers import Workers
from tests.benchmarks.bench_write import Written
from tests.benchmarks.comparing import Cost, Outcome
from tests.benchmarks.figures import Change, Figure, Verdict, changes, of_report
from tests.benchmarks.tables import table

_TIMES = (
    "Times in ms. CPU: of the serving process for one request, user and system, the median of rounds in turns; "
    "ratio: the median of the rounds' own, “rounds” their extremes. Synchronisation and audit are off (CDS_SYNC, "
    "CDS_AUDIT): what they cost is measured by the parts sync and access."
)

_LIBRARIES = ("aiohttp", "msgspec", "orjson", "uvloop")


class Report(msgspec.Struct, frozen=True):
    """What was measured; a part that was not chosen is empty. `machine`: what the figures depend on. `seconds`: that each
    part took.

    `merge`, `locator_memory`, `crawl`, `agent`: see `run` of those benchmarks.
    """

    made_at: str
    quick: bool
    machine: dict[str, str]
    smoke: bool = False
    seconds: dict[str, float] = {}
    merge: dict[str, float] = {}
    search: list[Outcome] = []
    located: Located | None = None
    read: list[Outcome] = []
    write: Written | None = None
    managers: Many | None = None
    workers: Workers | None = None
    tails: Tails | None = None
    idle: Idle | None = None
    steps: Steps | None = None
    locator_memory: dict[str, float] = {}
    crawl: dict[str, float] = {}
    publish: Published | None = None
    agent: dict[str, float] = {}
    sync: Synchronised | None = None
    access: Guarded | None = None


_ABOUT = ("made_at", "quick", "machine", "smoke", "seconds")


def parts_of(report: Report) -> dict[str, Any]:
    """What was measured, by its field."""
    fields = (name for name in report.__struct_fields__ if name not in _ABOUT)
    return {name: part for name in fields if (part := getattr(report, name))}


def figures_of(report: Report) -> list[Figure]:
    return list(of_report(parts_of(report)))


def together(reports: Sequence[Report]) -> Report:
    """One of several runs: each part as the last run that has it found it. The machine is that of the last."""
    latest = max(reports, key=lambda one: one.made_at)
    parts: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for one in sorted(reports, key=lambda one: one.made_at):
        parts |= parts_of(one)
        seconds |= one.seconds
    quick = any(one.quick for one in reports)
    return Report(latest.made_at, quick, latest.machine, any(one.smoke for one in reports), seconds, **parts)


def machine() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "?"
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "?")


def save(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def load(path: Path) -> Report:
    """Raises `ValueError` where it is no result that this version reads."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error


def newest(directory: Path, *, like: Report) -> Path | None:
    """The last result of the same kind, of a machine with as many cores; None where there is none."""
    for path in sorted(directory.glob("2*.json"), reverse=True):
        try:
            found = load(path)
        except (ValueError, OSError):
            continue  # of an older version, or half written
        same = (found.quick, found.smoke, found.machine.get("cpus"))
        if same == (like.quick, like.smoke, like.machine.get("cpus")) and {*parts_of(found)} & {
            *parts_of(like)
        }:
            return path
    return None


def show(report: Report, console: Console) -> None:
    """Print everything."""
    console.print(" · ".join(f"{name} {value}" for name, value in report.machine.items()), style="dim")
    if report.merge:
        console.print(_merge_table(report.merge))
    _show_outcomes(report, console)
    if report.managers:
        bench_managers.show(report.managers, console)
    if report.workers:
        bench_workers.show(report.workers, console)
    if report.tails:
        bench_tails.show(report.tails, console)
    if report.idle:
        bench_idle.show(report.idle, console)
    if report.steps:
        bench_steps.show(report.steps, console)
    if report.locator_memory:
        console.print(_memory_table(report.locator_memory))
    if report.crawl:
        bench_crawl.show(report.crawl, console)
    if report.publish:
        bench_publish.show(report.publish, console)
    if report.agent:
        bench_agent.show(report.agent, console)
    if report.sync:
        bench_sync.show(report.sync, None, console)


def _show_outcomes(report: Report, console: Console) -> None:
    """Of the parts that compare two servers."""
    asked = f"Goal: at most {bench_search.LIMIT} for 13 managers × 1 circle."
    parts: tuple[tuple[Sequence[Outcome], str], ...] = (
        (report.search, asked),
        (report.located.outcomes, bench_located.note(report.located)) if report.located else ((), ""),
        (report.read, bench_read.note()),
        (report.write.outcomes, bench_write.note(report.write)) if report.write else ((), ""),
        (report.access.outcomes, bench_access.note(report.access)) if report.access else ((), ""),
    )
    for outcomes, note in parts:
        if not outcomes:
            continue
        for one in search_tables(outcomes):
            console.print(one)
        if report.write and outcomes is report.write.outcomes:
            console.print(bench_write.parts_table(report.write))
        console.print(f"{_TIMES} {note}{_longest(outcomes)}", style="dim")


def _longest(outcomes: Sequence[Outcome]) -> str:
    watched = [(one.ours.watched, one) for one in outcomes if one.ours.watched is not None]
    if not watched:
        return ""
    seen, one = max(watched, key=lambda pair: pair[0].step_ms)
    beside = one.theirs.watched
    bare = f"; of {one.theirs.name}: {beside.step_ms:.1f} ms" if beside is not None else ""
    return f" Longest step of the loop: {seen.step_ms:.1f} ms ({one.case}, {seen.told}){bare}."


def _merge_table(merge: Mapping[str, float]) -> Table:
    title = f"Merging 13 Bundles × 10 circles × 4 resources, {merge['bytes'] / 1000:.0f} KB"
    made = table(title, "", "orjson loads + dumps, ms", "merge, ms", "ratio")
    for row in ("median", "min"):
        made.add_row(
            row,
            f"{merge[f'orjson_{row}_ms']:.2f}",
            f"{merge[f'merge_{row}_ms']:.2f}",
            f"{merge[f'ratio_{row}']:.2f}",
        )
    made.caption = (
        f"Goal: at most {bench_merge.LIMIT}. The same on orjson's trees: {merge['trees_ratio']:.2f}."
    )
    return made


def _memory_table(memory: Mapping[str, float]) -> Table:
    title = f"The locator's index: {memory['circles']:,.0f} circles, {bench_locator_memory.MANAGERS} managers"
    made = table(title, "figure", "value")
    for name, value in memory.items():
        made.add_row(name, f"{value:,.1f}")
    made.caption = f"Goal: at most {bench_locator_memory.BUDGET:.0f} bytes_per_circle, for a million of them."
    return made


def search_tables(outcomes: Iterable[Outcome]) -> Iterator[Table]:
    for case, group in groupby(outcomes, attrgetter("case")):
        headings = ("clients", "CPU", "ratio", "rounds", "p50", "p95", "p99", "req/s")
        made = table(case, "server", *headings)
        for outcome in group:
            spread = f"{outcome.ratio_min:.2f}–{outcome.ratio_max:.2f}"
            clients = str(outcome.connections)
            made.add_row(*_cells(outcome.ours, clients, f"{outcome.ratio:.2f}", spread))
            made.add_row(*_cells(outcome.theirs, "", "", ""), end_section=True)
        yield made


def _cells(cost: Cost, clients: str, ratio: str, spread: str) -> Iterator[str]:
    yield from (cost.name, clients, f"{cost.cpu_ms:.2f}", ratio, spread)
    yield from (f"{cost.p50_ms:.1f}", f"{cost.p95_ms:.1f}", f"{cost.p99_ms:.1f}", f"{cost.per_second:.0f}")


# --- what changed

_STYLES = {Verdict.BETTER: "green", Verdict.WORSE: "red"}


def show_changes(report: Report, before: Report, console: Console) -> None:
    """Ratios first, which can be judged; of what depends on the machine's mood, changes without a judgement."""
    mine = parts_of(report)
    known = [one for one in figures_of(before) if one.name.partition(":")[0] in mine]
    found = changes(known, figures_of(report))
    console.print(
        _changes_table(f"What changed since {before.made_at}", [one for one in found if one.bounds])
    )
    others = [one for one in found if not one.bounds]
    if others:
        console.print(_changes_table("Not judged: one figure, or milliseconds of another hour", others))
    loads = f"load {before.machine.get('load', '?')} before, {report.machine['load']} now"
    told = {verdict: sum(one.verdict is verdict for one in found) for verdict in Verdict}
    counted = ", ".join(f"{count} {verdict}" for verdict, count in told.items() if count)
    console.print(f"{counted}; {loads}", style="dim")


def _changes_table(title: str, found: Iterable[Change]) -> Table:
    made = table(title, "figure", "before", "now", "change", "between", "")
    made.columns[0].overflow = "fold"
    for one in found:
        bounds = "" if one.bounds is None else f"{one.bounds[0]:+.0%} … {one.bounds[1]:+.0%}"
        made.add_row(
            one.name,
            _value(one.before, one.unit),
            _value(one.now, one.unit),
            "" if one.change is None else f"{one.change:+.0%}",
            bounds,
            str(one.verdict),
            style=_STYLES.get(one.verdict),
        )
    return made


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{f' {unit}' if unit else ''}"
