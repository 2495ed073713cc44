"""The agent on a topic that is already full: changes a second, its CPU for each, and whether its memory stays flat.

Everything is real and on its own: the log (Kafka, or Valkey as without one), a canned manager, the agent, each a process.
Two rounds on one topic: new circles, each with a person and a relative of its own and a practice that others have too; then
changes of these circles, before the first of which the agent knows nothing of them. Seconds run from the first event that is
settled to the last. In turns with it the bare agent: it reads the same events from a topic of its own, with aiokafka
(redis-py without a Kafka), and writes each circle to a manager of the same kind, without anything else; changes before the
agent and after it.

Run with `python -m tests.benchmarks.bench_agent [--quick] [--kafka]`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adapters.embedded_valkey import EmbeddedValkey
from broker.settings import Settings
from broker.sync.change_log import Outgoing, Topic
from broker.wiring_sync import open_log
from tests.benchmarks.children import Child, child
from tests.benchmarks.watchdog import Watched
from tests.support.kafka_server import KafkaServer
from tests.support.replication import Home

CIRCLES = 10_000
CHANGES = 3
GOAL = 500
"""Changes a second, on two cores, with the log on the same machine."""

_LOOK = 0.1
_PRACTICES = 100
_MANY = 200


@dataclass(frozen=True, slots=True)
class Round:
    changes: int
    seconds: float
    cpu: float  # seconds
    requests: int
    resident: tuple[int, ...]  # bytes
    watched: Watched


@contextmanager
def engine(directory: Path, kafka: bool) -> Iterator[dict[str, Any]]:
    """The settings of a log."""
    if kafka:
        server = KafkaServer(directory / "kafka")
        server.start()
        try:
            yield {"kafka_bootstrap": server.bootstrap, "data_dir": str(directory)}
        finally:
            server.stop()
        return
    valkey = EmbeddedValkey(directory)
    try:
        yield {"redis_url": valkey.start(), "data_dir": str(directory)}
    finally:
        valkey.stop()


async def _publish(settings: Settings, records: Sequence[Outgoing]) -> None:
    async with open_log(settings) as log:
        await log.ensure_topic(Topic(records[0].topic))
        for start in range(0, len(records), _MANY):
            await log.publish_many(records[start : start + _MANY])


def _round(manager: Child, given: dict[str, Any], records: Sequence[Outgoing]) -> Round:
    asyncio.run(_publish(Settings.load(**given), records))
    before = manager.ask("counted")["requests"]
    with child(
        "tests.benchmarks.agent_worker", {"settings": given, "base": manager.started["base"]}
    ) as agent:
        agent.watch()
        samples: list[tuple[float, int, int, float]] = []
        while not samples or samples[-1][1] < len(records):
            figures = agent.ask("figures")
            assert figures["dead"] == 0, figures
            done = sum(count for name, count in figures.items() if name != "retries")
            samples.append((time.monotonic(), done, agent.resident(), agent.cpu()))
            time.sleep(min(_LOOK, len(records) / 20_000))
        watched = agent.watched()
    first = next(one for one in samples if one[1])
    last = samples[-1]
    if first[1] == last[1]:  # so few that all were settled between two looks
        first = (samples[0][0] - _LOOK, 0, 0, 0.0)
    return Round(
        last[1] - first[1],
        last[0] - first[0],
        last[3] - first[3],
        manager.ask("counted")["requests"] - before,
        tuple(one[2] for one in samples if one[1] >= len(records) * 0.4),
        watched,
    )


def _bare_round(bare: Child, what: str) -> float:
    """Seconds of CPU for one event, of those that are there already."""
    count = int(bare.ask("prepare", what))
    before = bare.cpu()
    bare.ask("work")
    return (bare.cpu() - before) / count


def measure(circles: int, *, kafka: bool = False) -> dict[str, float]:
    home = Home(shared=_PRACTICES)
    with (
        tempfile.TemporaryDirectory(prefix="cds-bench-") as name,
        child("tests.benchmarks.canned_region", {}) as manager,
        child("tests.benchmarks.canned_region", {}) as another,
        engine(Path(name), kafka) as given,
        child(
            "tests.benchmarks.bare_agent",
            {"settings": given, "base": another.started["base"], "circles": circles, "shared": _PRACTICES},
        ) as bare,
    ):
        new = _round(manager, given, [home.created(number) for number in range(circles)])
        bare_new = _bare_round(bare, "new")
        bare_changes = [_bare_round(bare, "changed")]
        records = [home.changed(number) for _ in range(CHANGES) for number in range(circles)]
        changed = _round(manager, given, records)
        bare_changes.append(_bare_round(bare, "changed"))
    each = changed.cpu / changed.changes
    return {
        "kafka": float(kafka),
        "circles": circles,
        "event_bytes": sum(len(one.value or b"") for one in records) / len(records),
        "new_per_second": new.changes / new.seconds,
        "changes_per_second": changed.changes / changed.seconds,
        "new_cpu_us": new.cpu / new.changes * 1e6,
        "change_cpu_us": each * 1e6,
        "bare_new_cpu_us": bare_new * 1e6,
        "bare_change_cpu_us": statistics.mean(bare_changes) * 1e6,
        "ratio_new": new.cpu / new.changes / bare_new,
        "ratio_change": each / statistics.mean(bare_changes),
        "ratio_change_min": each / max(bare_changes),
        "ratio_change_max": each / min(bare_changes),
        "new_requests": new.requests / circles,
        "change_requests": changed.requests / len(records),
        "longest_step_ms": max(new.watched.step_ms, changed.watched.step_ms),
        "resident_first_mb": changed.resident[0] / 1e6,
        "resident_last_mb": changed.resident[-1] / 1e6,
        "resident_most_mb": max(*new.resident, *changed.resident) / 1e6,
    }


def run(circles: int = CIRCLES, *, kafka: bool = False) -> dict[str, float]:
    """Figures, for `make bench`. `ratio_…`: CPU of the agent over that of the bare one."""
    return measure(circles, kafka=kafka)


def show(figures: dict[str, float], console: Console) -> None:
    log = "Kafka" if figures["kafka"] else "Valkey"
    table = Table("", "", title=f"The agent on a full topic ({log})", title_justify="left", show_header=False)
    table.add_row("changes a second", f"{figures['changes_per_second']:,.0f} (goal: {GOAL} at least)")
    table.add_row("new circles a second", f"{figures['new_per_second']:,.0f}")
    table.add_row(
        "the agent's CPU: a change, a new circle",
        f"{figures['change_cpu_us']:,.0f} µs, {figures['new_cpu_us']:,.0f} µs",
    )
    table.add_row(
        "over the bare agent's: a change, a new circle",
        f"{figures['ratio_change']:.2f} ({figures['ratio_change_min']:.2f}–{figures['ratio_change_max']:.2f}), "
        f"{figures['ratio_new']:.2f}",
    )
    table.add_row("the longest step of its loop", f"{figures['longest_step_ms']:.1f} ms")
    table.add_row(
        "requests to the manager: a change, a new circle",
        f"{figures['change_requests']:.2f}, {figures['new_requests']:.2f}",
    )
    table.add_row("an event's size", f"{figures['event_bytes'] / 1000:.1f} kB")
    table.add_row(
        "the agent's memory under changes: at four tenths, at the end; at most",
        f"{figures['resident_first_mb']:.1f}, {figures['resident_last_mb']:.1f}; {figures['resident_most_mb']:.1f} MB",
    )
    console.print(table)


if __name__ == "__main__":
    show(run(CIRCLES // 5 if "--quick" in sys.argv else CIRCLES, kafka="--kafka" in sys.argv), Console())
