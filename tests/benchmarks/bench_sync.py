"""What synchronisation costs a write, and how long a change takes from one region to another.

Real parts: an Apache Kafka of its own (Java 17 or newer and Maven's jars, or `CDS_TEST_KAFKA`), Valkey, brokers, the agent
and the regions' managers, each a process. See `sync_cost` and `sync_journey`; how fast an agent works off a full topic is
`bench_agent`.

Run with `python -m tests.benchmarks.bench_sync [--quick] [--cost] [--journey]`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from broker.commands.terminal import run as run_loop
from tests.benchmarks import sync_cost, sync_journey
from tests.benchmarks.bench_search import OnCase
from tests.benchmarks.sync_cost import PER_SECOND, Pace, Share
from tests.benchmarks.sync_journey import Journey
from tests.support.kafka_server import KafkaServer

MORE = 1.0
"""Milliseconds that publishing adds to the p50 of a write, at most."""

JOURNEY = 250.0
"""Milliseconds at p50 from a write at the broker to the replica at another region, less than."""


@dataclass(frozen=True, slots=True)
class Effort:
    """`seconds` of changes that are followed to the other region."""

    paces: Sequence[Pace]
    seconds: float


def _effort(rounds: int, requests: int, seconds: float) -> Effort:
    return Effort(
        (
            Pace(f"{PER_SECOND:.0f} a second", PER_SECOND, requests, rounds),
            Pace("as fast as it goes", None, requests, rounds),
        ),
        seconds,
    )


FULL = _effort(10, 200, 40.0)
QUICK = _effort(4, 80, 10.0)
SMOKE = _effort(1, 10, 1.0)


@dataclass(frozen=True, slots=True)
class Synchronised:
    """`load`: the machine's, before."""

    load: float
    shares: list[Share]
    journey: Journey | None = None


@contextmanager
def _kafka() -> Iterator[tuple[Path, KafkaServer]]:
    """A directory, and a Kafka that runs. Raises `KafkaUnavailable`."""
    with tempfile.TemporaryDirectory(prefix="cds-bench-") as name:
        directory = Path(name)
        server = KafkaServer(directory / "kafka", existing=os.environ.get("CDS_TEST_KAFKA"))
        if server.existing is None:
            server.start()
        try:
            yield directory, server
        finally:
            server.stop()


async def run(effort: Effort, on_case: OnCase, *, cost: bool = True, journey: bool = True) -> Synchronised:
    """Both parts. `on_case` hears of each as it begins. Raises `KafkaUnavailable`."""
    load = os.getloadavg()[0]
    on_case("starting Kafka")
    with _kafka() as (directory, kafka):
        shares, followed = [], None
        if cost:
            shares = await sync_cost.run(directory, kafka.bootstrap, effort.paces, on_case)
        if journey:
            pid = None if kafka.existing else kafka.pid
            followed = await sync_journey.run(directory, kafka.bootstrap, pid, effort.seconds, on_case)
    return Synchronised(load, shares, followed)


def show(measured: Synchronised, before: Synchronised | None, console: Console) -> None:
    if measured.shares:
        console.print(_cost_table(measured.shares))
    if measured.journey:
        console.print(_journey_table(measured.journey, before.journey if before else None))
        console.print(sync_journey.note(measured.journey), style="dim")


def _cost_table(shares: Sequence[Share]) -> Table:
    table = _table("Writes with publishing to Kafka on and off, ms")
    for heading in ("write", "pace", "CDS_SYNC"):
        table.add_column(heading, no_wrap=True)
    for heading in ("p50", "more at p50", "rounds", "p95", "p99", "CPU", "background"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in shares:
        spread = f"{one.more_min_ms:+.2f} … {one.more_max_ms:+.2f}"
        for name, side, more, rounds in (
            ("on", one.on, f"{one.more_ms:+.2f}", spread),
            ("off", one.off, "", ""),
        ):
            first = name == "on"
            table.add_row(
                one.write if first else "",
                one.pace if first else "",
                name,
                f"{side.p50_ms:.2f}",
                more,
                rounds,
                f"{side.p95_ms:.2f}",
                f"{side.p99_ms:.2f}",
                f"{side.cpu_ms:.2f}",
                f"{side.background_ms:.2f}",
                end_section=not first,
            )
    table.caption = (
        f"Goal: at most {MORE:.0f} ms more at p50. CPU for one write: of the process that serves, and of the "
        "other."
    )
    table.caption_justify = "left"
    return table


def _journey_table(journey: Journey, before: Journey | None) -> Table:
    title = (
        f"From a write to the other region: {journey.changes} changes, {journey.per_second:.0f} a second, ms"
    )
    table = _table(title)
    table.add_column("from the request to")
    for heading in ("p50", "p95", "p99", "most"):
        table.add_column(heading, justify="right")
    known = before.stages if before else {}
    for name, cuts in journey.stages.items():
        change = f" ({(cuts.p50_ms / known[name].p50_ms - 1) * 100:+.0f} %)" if name in known else ""
        table.add_row(
            name,
            f"{cuts.p50_ms:.0f}{change}",
            f"{cuts.p95_ms:.0f}",
            f"{cuts.p99_ms:.0f}",
            f"{cuts.most_ms:.0f}",
        )
    table.caption = f"Goal: less than {JOURNEY:.0f} ms at p50, applied."
    table.caption_justify = "left"
    return table


def _table(title: str) -> Table:
    return Table(
        title=f"\n{title}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )


def main() -> None:
    console = Console()
    effort = QUICK if "--quick" in sys.argv else FULL
    chosen = [name in sys.argv for name in ("--cost", "--journey")]
    cost, journey = chosen if any(chosen) else (True, True)
    told = run(effort, lambda name: console.print(f"{name} …", style="dim"), cost=cost, journey=journey)
    measured = run_loop(told)
    console.print(f"load before: {measured.load:.2f}", style="dim")
    show(measured, None, console)


if __name__ == "__main__":
    main()
