"""What each size of federation needs, as tables.

python -m deploy.sizing                      # by measured.json and assumptions.json
python -m deploy.sizing --simulate           # beside what a simulation of the same load makes of it
python -m deploy.sizing --take FILE…         # figures out of `make bench`'s and `make soak`'s JSON into measured.json
python -m deploy.sizing --markdown           # the tables as ../sizing.md has them
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.sizing import inputs, taking
from deploy.sizing.model import Sized, sized
from deploy.sizing.simulation import Simulation

DOCUMENT = inputs.HERE.parent / "sizing.md"
TABLE, SIMULATED = "sizes", "simulation"
"""Names of the parts of the document that are made here."""

FACTORS = (1.0, 10.0)
"""Times the assumed activity."""

BUSIEST, SECONDS = 10, 40.0
"""The hour of Paris that is played, and how much of it."""

ROWS: Sequence[tuple[str, Callable[[Sized], str]]] = (
    ("circles, millions", lambda one: f"{one.circles / 1e6:.1f}"),
    ("requests a second", lambda one: f"{one.peak.requests:.0f}"),
    ("of them searches by the index", lambda one: f"{one.peak.located:.0f}"),
    ("of them searches of all managers", lambda one: f"{one.peak.fan_outs:.1f}"),
    ("changes a second", lambda one: f"{one.peak.changes:.1f}"),
    ("processors busy with requests", lambda one: f"{one.processors:.2f}"),
    ("workers, on nodes", lambda one: f"{one.workers}, {one.nodes}"),
    ("memory of the workers, GB", lambda one: f"{one.workers_gb:.1f}"),
    ("Redis: memory, GiB", lambda one: f"{one.redis_gib:.1f}"),
    ("Redis: commands a second", lambda one: f"{one.redis_per_second:.0f}"),
    ("Kafka: events a second", lambda one: f"{one.kafka_per_second:.1f}"),
    ("Kafka: partitions of a topic", lambda one: f"{one.partitions}"),
    ("Kafka: disk of all copies, GB", lambda one: f"{one.kafka_gb:.0f}"),
    ("network of all brokers, Mbit/s", lambda one: f"{one.network_mbit:.0f}"),
    ("trail of accesses, GB a day", lambda one: f"{one.traces_gb_a_day:.1f}"),
    ("search by the index, p99: the broker's own, ms", lambda one: f"{one.own_p99_ms:.1f}"),
    ("the same with the manager, ms", lambda one: f"{one.p99_ms:.0f}"),
    ("bottleneck", lambda one: f"{one.first.part}: at × {one.first.headroom:.1f}"),
    ("the federation's own", lambda one: f"{one.first_own.part}: at × {one.first_own.headroom:.1f}"),
)


def table(given: inputs.Assumptions, of: inputs.Measured) -> list[list[str]]:
    """Rows of cells, the headings first."""
    columns = [
        (f"{size}, × {factor:.0f}", sized(given.of(size), of, given, factor))
        for factor in FACTORS
        for size in given.sizes
    ]
    rows = [["", *(name for name, _ in columns)]]
    return rows + [[name, *(shown(one) for _, one in columns)] for name, shown in ROWS]


def simulated(given: inputs.Assumptions, of: inputs.Measured) -> list[list[str]]:
    """For each size the model's figure, then the simulation's."""
    rows = [["", "requests/s", "workers busy", "Redis busy", "publishing busy", "own p99, ms"]]
    for size in given.sizes:
        regions = given.of(size)
        told: Sized = sized(regions, of, given)
        seen = Simulation(regions, of, given, told.workers).play(BUSIEST, SECONDS)
        busy = {"workers": told.processors / told.workers} | {one.part: one.busy for one in told.limits}
        pairs = [f"{busy[part]:.4f} · {seen.busy[part]:.4f}" for part in ("workers", "Redis", "publishing")]
        requests = f"{told.peak.requests:.1f} · {seen.requests / seen.seconds:.1f}"
        rows.append([size, requests, *pairs, f"{told.own_p99_ms:.1f} · {seen.p99_ms(seen.own):.1f}"])
    return rows


def plain(rows: list[list[str]]) -> str:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: list[list[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: made by python -m deploy.sizing --document -->", f"<!-- end of {name} -->"


def put(document: str, name: str, rows: list[list[str]]) -> str:
    """The document with another table in that place. Raises `ValueError` where it has none."""
    begin, end = marks(name)
    before, found, rest = document.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"no place for {name}")
    return f"{before}{begin}\n\n{markdown(rows)}\n\n{end}{after}"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.sizing", description="How many of what.")
    parser.add_argument("--measured", type=Path, default=inputs.MEASURED, metavar="FILE")
    parser.add_argument("--assumptions", type=Path, default=inputs.ASSUMPTIONS, metavar="FILE")
    parser.add_argument("--take", type=Path, nargs="+", metavar="FILE", default=[])
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--document", action="store_true")
    chosen = parser.parse_args(words)
    if chosen.take:
        for line in taking.take(chosen.measured, chosen.take):
            print(line)  # noqa: T201
    given, of = inputs.assumptions(chosen.assumptions), inputs.measured(chosen.measured)
    if chosen.document:
        text = DOCUMENT.read_text(encoding="utf-8")
        text = put(put(text, TABLE, table(given, of)), SIMULATED, simulated(given, of))
        DOCUMENT.write_text(text, encoding="utf-8")
        return 0
    print(plain(simulated(given, of) if chosen.simulate else table(given, of)))  # noqa: T201
    if doubtful := inputs.placeholders(chosen.measured):
        told = ", ".join(f"{name} ({status})" for name, status in doubtful.items())
        print(f"\nNot measured on a quiet machine: {told}.")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
