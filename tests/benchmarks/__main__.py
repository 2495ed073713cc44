"""`make bench`: every benchmark, its tables, and its figures as JSON.

    python -m tests.benchmarks [--quick] [--json FILE] [--compare FILE]

It measures and does not judge: it fails only where something could not be measured.
"""

from __future__ import annotations

import argparse
import datetime as dt
import signal
import sys
from pathlib import Path

from rich.console import Console

from broker.commands.terminal import run
from tests.benchmarks import bench_merge, bench_search
from tests.benchmarks.report import Report, load, machine, save, show


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description="Benchmarks of the broker.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a rough picture")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: bench-results/INSTANT.json")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="show the change since an earlier run")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that the store started here ends too
    before = load(chosen.compare) if chosen.compare else None
    console = Console()
    now = dt.datetime.now(dt.UTC)
    with console.status("merging …"):
        merge = bench_merge.run(60 if chosen.quick else 200)
    with console.status("searching …") as status:
        effort = bench_search.QUICK if chosen.quick else bench_search.FULL
        search = run(bench_search.run(effort, lambda name: status.update(f"{name} …")))
    report = Report(now.isoformat(timespec="seconds"), chosen.quick, machine(), merge, search)
    path = chosen.json or Path("bench-results") / f"{now:%Y%m%dT%H%M%SZ}.json"
    save(report, path)
    show(report, before, console)
    console.print(f"{path}", style="dim")


if __name__ == "__main__":
    main()
