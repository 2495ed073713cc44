"""The figures of a long run: judged, as a table, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tests.support.long_run.figures import quantile
from tests.support.long_run.run import LongRun

_MB = 1e6
_FEW = 0.002
"""The part of all requests in calm phases that may be refused: a busy machine keeps somebody waiting now and then."""

FEWEST = 6
"""Quiet phases from which drift is told."""

DIRECT = "(direct)"


def name(run: LongRun, pid: int) -> str:
    """The first is the parent; those below are counted."""
    return "parent" if pid == min(run.watch.seen) else f"process {sorted(run.watch.seen).index(pid)}"


def figures(run: LongRun) -> dict[str, Any]:
    book = run.book
    return {
        "machine": {
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "seed": run.seed,
        "seconds": round(run.ended - run.began, 1),
        "others": {str(number): round(part, 3) for number, part in book.others.items()},
        "p99_judged": judges_time(run),
        "requests": book.count,
        "answers": {f"{kind} {status}": n for (kind, status), n in sorted(book.answers.items(), key=str)},
        "calm": {
            "requests": book.calm_count,
            "refused": dict(book.refused_in_calm),
            "partial": book.calm_partial,
            "p99_ms": {kind: round(1000 * book.p99(kind), 1) for kind in sorted(book.calm_times)},
        },
        "checked": dict(book.checked),
        "partial": book.partial,
        "faults": dict(run.faults),
        "recovered_s": [round(one, 2) for one in run.recovered],
        "memory": {
            name(run, pid): {
                "rss_mb": [round(one.first / _MB, 1), round(one.last / _MB, 1)],
                "rss_grown": round(one.grown, 4),
                "uss_grown": round(run.watch.growth("uss", run.warm)[pid].grown, 4),
            }
            for pid, one in sorted(run.watch.growth("rss", run.warm).items())
        },
        "at_rest": {"before": dict(run.before), "after": dict(run.after), "left": dict(run.left)},
        "p99_drift": {
            kind: {
                "first_ms": round(1000 * one.first, 1),
                "last_ms": round(1000 * one.last, 1),
                "phases": one.phases,
            }
            for kind, one in book.drifts().items()
        },
        "p99_by_phase_ms": {
            kind: {
                str(n): round(1000 * quantile(times, 0.99), 1)
                for n, times in sorted(book.calm_times[kind].items())
            }
            for kind in (DIRECT, "located", "fan-out", "read")
            if kind in book.calm_times
        },
        "console": {"streams": run.onlooker.streams, "events": run.onlooker.events},
        "rest_hook": {"events": run.site.hook.events, "circles": len(run.site.hook.heard)},
        "told": str(run.told),
        "overtaken": run.overtaken,
        "sizes": dict(run.sizes),
        "untrue": list(book.wrong),
    }


def failures(run: LongRun) -> list[str]:
    """What is not as it must be; nothing where all is well."""
    found = [f"not true: {one}" for one in run.book.wrong]
    found += [f"at rest {n} more: {kind}" for kind, n in run.plan.beyond(run.before, run.after).items()]
    found += [f"{n} left with managers that are gone: {kind}" for kind, n in run.left.items()]
    found += [f"process {pid} came or went meanwhile" for pid in run.watch.replaced(run.warm)]
    found += [
        f"{kind} was never asked"
        for kind in ("located", "page", "read", "history")
        if not run.book.checked[kind]
    ]
    if len(run.book.refused_in_calm) and sum(run.book.refused_in_calm.values()) > _FEW * run.book.calm_count:
        found.append(f"refused while nothing was wrong: {dict(run.book.refused_in_calm)}")
    if run.exit_code != 0:
        found.append(f"the broker ended with {run.exit_code}")
    if run.plan.most_growth is not None:
        for pid, one in run.watch.growth("rss", run.warm).items():
            if one.grown > run.plan.most_growth:
                found.append(f"{name(run, pid)} grew by {100 * one.grown:.1f} %")
    return found + _drifted(run)


def judges_time(run: LongRun) -> bool:
    """Where others have the machine, how long things take is theirs as much as the broker's."""
    return run.plan.most_drift is not None and len(run.book.quiet) >= FEWEST


def _drifted(run: LongRun) -> list[str]:
    """A machine that becomes slower for everybody is not the broker's doing: what is asked directly shows it."""
    if run.plan.most_drift is None or not judges_time(run):
        return []
    drifts = run.book.drifts()
    around = max(1.0, drifts[DIRECT].ratio) if DIRECT in drifts else 1.0
    return [
        f"p99 of {kind} went from {1000 * one.first:.0f} to {1000 * one.last:.0f} ms"
        for kind, one in drifts.items()
        if kind != DIRECT and one.ratio > run.plan.most_drift * around
    ]


def save(run: LongRun, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures(run), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def show(run: LongRun, console: Console) -> None:
    told = figures(run)
    memory = _table("Memory after the warm-up", "process", "RSS at first", "at the end", "grown", "USS grown")
    for process, one in told["memory"].items():
        first, last = one["rss_mb"]
        grown = (f"{100 * one[what]:+.1f} %" for what in ("rss_grown", "uss_grown"))
        memory.add_row(process, f"{first} MB", f"{last} MB", *grown)
    console.print(memory)
    held = _table("Held at rest, by all processes", "", "before", "after")
    for kind in sorted({*run.before, *run.after}):
        held.add_row(kind, str(run.before.get(kind, 0)), str(run.after.get(kind, 0)))
    console.print(held)
    drift = _table("p99 in calm phases, ms", "", "over all", "first third", "last third", "phases")
    for kind, all_of_it in told["calm"]["p99_ms"].items():
        one = told["p99_drift"].get(kind)
        drift.add_row(kind, f"{all_of_it}", *([str(each) for each in one.values()] if one else ("", "", "")))
    if run.plan.most_drift is not None and not judges_time(run):
        drift.caption = f"Not judged: others used the machine in all but {len(run.book.quiet)} phases."
    console.print(drift)
    console.print(
        f"{told['requests']} requests in {told['seconds']} s; {told['partial']} answers that said what was missing "
        f"({told['calm']['partial']} of {told['calm']['requests']} in calm phases); "
        f"faults: {told['faults']}; recovered in {max(told['recovered_s'], default=0)} s at most; {told['told']}; "
        f"rest-hook {told['rest_hook']}; console {told['console']}; untrue: {len(told['untrue'])}"
    )


def _table(title: str, *headings: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table
