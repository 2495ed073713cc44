"""`make bench`: every benchmark, its tables, and its figures as JSON.

    python -m tests.benchmarks [PART]… [--quick] [--json FILE] [--compare FILE]

It measures and does not judge: it fails only where something could not be measured. Without Java and Maven's jars there is
no Kafka: `sync` is then left out by name unless it is asked for, and `agent` works on Valkey.
"""

from __future__ import annotations

import argparse
import datetime as dt
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from broker.commands.terminal import run
from tests.benchmarks import (
    bench_access,
    bench_agent,
    bench_crawl,
    bench_located,
    bench_locator_memory,
    bench_merge,
    bench_search,
    bench_sync,
    bench_write,
)
from tests.benchmarks.report import Report, load, machine, save, show
from tests.support.kafka_server import KafkaUnavailable

OnCase = Callable[[str], None]
Part = Callable[[bool, OnCase], Any]


def _merge(quick: bool, _: OnCase) -> dict[str, float]:
    return bench_merge.run(60 if quick else 200)


def _search(quick: bool, on_case: OnCase) -> list[bench_search.Outcome]:
    return run(bench_search.run(bench_search.QUICK if quick else bench_search.FULL, on_case))


def _located(quick: bool, on_case: OnCase) -> bench_located.Located:
    return run(bench_located.run(bench_search.QUICK if quick else bench_search.FULL, on_case))


def _write(quick: bool, on_case: OnCase) -> bench_write.Written:
    return run(bench_write.run(bench_search.QUICK if quick else bench_search.FULL, on_case))


def _memory(quick: bool, _: OnCase) -> dict[str, float]:
    return bench_locator_memory.run(bench_locator_memory.CIRCLES // (10 if quick else 1))


def _crawl(quick: bool, _: OnCase) -> dict[str, float]:
    return bench_crawl.run(bench_crawl.CIRCLES // (5 if quick else 1))


def _agent(quick: bool, on_case: OnCase) -> dict[str, float]:
    circles = bench_agent.CIRCLES // (5 if quick else 1)
    try:
        return bench_agent.run(circles, kafka=True)
    except KafkaUnavailable as error:
        on_case(f"agent, on Valkey: {error}")
        return bench_agent.run(circles)


def _sync(quick: bool, on_case: OnCase) -> bench_sync.Synchronised:
    return run(bench_sync.run(bench_sync.QUICK if quick else bench_sync.FULL, on_case))


def _access(quick: bool, on_case: OnCase) -> bench_access.Guarded:
    return run(bench_access.run(bench_search.QUICK if quick else bench_search.FULL, on_case))


PARTS: Mapping[str, Part] = {
    "merge": _merge,
    "search": _search,
    "located": _located,
    "write": _write,
    "locator-memory": _memory,
    "crawl": _crawl,
    "agent": _agent,
    "sync": _sync,
    "access": _access,
}
"""By the name of their field in the report, with `-` for `_`."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description="Benchmarks of the broker.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a rough picture")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; none: all")
    parser.add_argument("--only", action="append", choices=PARTS, default=[], help="the same, for scripts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: bench-results/INSTANT.json")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="show the change since an earlier run")
    chosen = parser.parse_args()
    chosen.parts += chosen.only
    if unknown := {*chosen.parts} - {*PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return chosen


def main() -> None:
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that the store started here ends too
    before = load(chosen.compare) if chosen.compare else None
    console = Console()
    now = dt.datetime.now(dt.UTC)
    measured = {}
    for name, part in PARTS.items():
        if chosen.parts and name not in chosen.parts:
            continue
        with console.status(f"{name} …") as status:
            try:
                measured[name.replace("-", "_")] = part(chosen.quick, status.update)
            except KafkaUnavailable as error:
                if name in chosen.parts:
                    raise SystemExit(f"{name}: {error}") from error
                console.print(f"{name}: left out, {error}")
    report = Report(now.isoformat(timespec="seconds"), chosen.quick, machine(), **measured)
    path = chosen.json or Path("bench-results") / f"{now:%Y%m%dT%H%M%SZ}.json"
    save(report, path)
    show(report, before, console)
    console.print(f"{path}", style="dim")


if __name__ == "__main__":
    main()
