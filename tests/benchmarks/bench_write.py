"""What a write costs: a circle created and one updated, against a bare proxy of the same request; a read beside them.

Real parts, as in `bench_located`: 13 canned managers that all are covered by the index, so that for the rule of one circle
per person Redis and the home alone are asked; a worker of the broker on an embedded Valkey; the bare proxy of the home.
Every creation is of a person of its own, every update changes the circle.

Run with `python -m tests.benchmarks.bench_write` (`--quick`: fewer rounds; `--profile`: of 500 creations, to stderr).
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from adapters.embedded_valkey import EmbeddedValkey
from broker.commands.terminal import run as run_loop
from tests.benchmarks.bench_search import FULL, QUICK, Case, Effort, OnCase, Outcome, Side, _port, measure
from tests.benchmarks.canned_managers import MANAGERS
from tests.benchmarks.canned_writes import circle
from tests.benchmarks.children import Child, child
from tests.benchmarks.load import Target, closed_loop, request, written
from tests.support.waiting import until

LIMIT = 6.0
"""Times the CPU of a bare proxy of the same request, at most."""

HOME = 4
"""The manager of everything that is written."""

_BENCH = "tests.benchmarks"
_JSON = "application/fhir+json"
_COUNTED = 50  # writes, over which requests to managers are counted
_PARTED = 400  # writes, over which CPU is told by part

ORDER = (
    "server", "validation", "pre-read", "claim", "look-up", "references", "intent", "upstream", "answer",
    "index", "finish", "rendering", "rest",
)  # fmt: skip
MEANING: Mapping[str, str] = {
    "server": "HTTP server and router; the index's feed",
    "validation": "body read, FHIR structure, the guide's rules",
    "pre-read": "the Patient; of an update the circle too",
    "claim": "the person's names in Redis",
    "look-up": "one circle per person: one look at the index",
    "references": "to the home's terms",
    "intent": "recorded in Redis before it is sent",
    "upstream": "the write at the home",
    "answer": "the home's answer, in public terms",
    "index": "the locator learns",
    "finish": "claim and intent cleared",
    "rendering": "the client's answer",
    "rest": "",
}


@dataclass(frozen=True, slots=True)
class Written:
    """By kind of write, of one: `parts`, milliseconds of CPU by part; `exchanges` with Redis by part; `upstream`, requests
    to managers."""

    outcomes: list[Outcome]
    parts: dict[str, dict[str, float]]
    exchanges: dict[str, dict[str, float]]
    upstream: dict[str, float]


@dataclass(frozen=True, slots=True)
class Stage:
    managers: Child
    broker: Child
    bare: Child
    numbers: itertools.count[int]

    async def is_covered(self) -> bool:
        address = f"http://127.0.0.1:{_port(self.broker)}/registry/locator"
        async with aiohttp.ClientSession() as http, http.get(address) as response:
            states = [one["state"] for one in (await response.json())["managers"]]
        return states == ["complete"] * MANAGERS

    def creation(self, port: int, prefix: str) -> Target:
        """Of another person each time."""

        def fresh() -> bytes:
            body = orjson.dumps(circle(next(self.numbers), prefix))
            return written("POST", "/fhir/CareTeam", port, body=body, content_type=_JSON)

        return Target(port, fresh=fresh)

    def update(self, port: int, prefix: str) -> Target:
        """Of one circle, with another name each time."""
        held = circle(1, prefix) | {"id": f"{prefix}u1"}

        def fresh() -> bytes:
            body = orjson.dumps(held | {"name": f"Cercle de soins {next(self.numbers)}"})
            return written("PUT", f"/fhir/CareTeam/{prefix}u1", port, body=body, content_type=_JSON)

        return Target(port, fresh=fresh)


def _stage(stack: ExitStack) -> Stage:
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-"))
    valkey = EmbeddedValkey(Path(directory))
    stack.callback(valkey.stop)
    redis = valkey.start()
    managers = stack.enter_context(child(f"{_BENCH}.canned_writes", {}))
    bases = managers.started["bases"]
    argument = {
        "redis": redis,
        "prefix": "w",
        "bases": bases,
        "data_dir": directory,
        "locator": True,
        "sync": False,
    }
    return Stage(
        managers,
        stack.enter_context(child(f"{_BENCH}.broker_worker", argument)),
        stack.enter_context(child(f"{_BENCH}.bare_proxy", {"base": bases[HOME]})),
        itertools.count(1000),
    )


async def run(effort: Effort, on_case: OnCase, *, profile: bool = False) -> Written:
    """Every case. `on_case` hears its name as it begins."""
    on_case("crawling 13 managers of one circle each")
    with ExitStack() as stack:
        on = _stage(stack)
        await until(on.is_covered, seconds=60.0)
        upstream = {name: await _upstream(on, target) for name, target in _writes(on).items()}
        outcomes = [await measure(case, effort, on_case) for case in effort.some(_cases(on))]
        if profile:
            on.broker.ask("profile")
            await closed_loop(_writes(on)["creation"], connections=1, requests=500)
            on.broker.ask("report", "45")
        parts, exchanges = {}, {}
        parted = 10 if effort.smoke else _PARTED
        on.broker.ask("parts")
        for name, target in _writes(on).items():
            on_case(f"the parts of one {name}")
            on.broker.ask("parts-so-far")
            await closed_loop(target, connections=1, requests=parted)
            told = on.broker.ask("parts-so-far")
            assert told["writes"] == parted, told
            parts[name] = {part: told["milliseconds"].get(part, 0.0) / parted for part in ORDER}
            exchanges[name] = {part: told["exchanges"].get(part, 0) / parted for part in ORDER}
    return Written(outcomes, parts, exchanges, upstream)


def _writes(on: Stage) -> dict[str, Target]:
    port, prefix = _port(on.broker), f"reg{HOME:02}."
    return {"creation": on.creation(port, prefix), "update": on.update(port, prefix)}


async def _upstream(on: Stage, target: Target) -> float:
    before = int(on.managers.ask("requests")) + int(on.managers.ask("searches"))
    await closed_loop(target, connections=1, requests=_COUNTED)
    return (int(on.managers.ask("requests")) + int(on.managers.ask("searches")) - before) / _COUNTED


def _cases(on: Stage) -> list[Case]:
    port, bare, prefix = _port(on.broker), int(on.bare.started["port"]), f"reg{HOME:02}."

    def case(name: str, make: Callable[[int, str], Target], share: float) -> Case:
        ours, theirs = make(port, prefix), make(bare, "")
        return Case(name, Side("broker", on.broker, ours), Side("bare proxy", on.bare, theirs), 1, share)

    def read(to: int, prefix: str) -> Target:
        return request("GET", f"/fhir/CareTeam/{prefix}u7", to)

    creation = case(f"CareTeam created, {MANAGERS} managers covered", on.creation, 2.0)
    return [
        creation,
        replace(creation, connections=16),
        case("CareTeam updated", on.update, 2.0),
        case("CareTeam read", read, 4.0),
    ]


def parts_table(measured: Written) -> Table:
    """CPU of one write by part, and how many exchanges with Redis are in it."""
    table = Table(
        title="\nWhere the broker's CPU for one write goes, ms",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("part")
    for name in measured.parts:
        table.add_column(name, justify="right")
        table.add_column("Redis", justify="right")
    table.add_column("")
    for part in ORDER:
        figures = []
        for name, one in measured.parts.items():
            count = measured.exchanges[name][part]
            figures += [f"{one[part]:.2f}", f"{count:.1f}" if count >= 0.05 else ""]
        table.add_row(part, *figures, MEANING[part])
    sums = []
    for name, one in measured.parts.items():
        sums += [f"{sum(one.values()):.2f}", f"{sum(measured.exchanges[name].values()):.1f}"]
    table.add_row("sum", *sums, "with the clocks' own")
    return table


def note(measured: Written) -> str:
    """What the tables do not say."""
    asked = ", ".join(f"{count:.1f} for one {name}" for name, count in measured.upstream.items())
    return (
        f"Requests to managers: {asked}; the bare proxy makes one. "
        f"Goal: at most {LIMIT:.0f} times the CPU of a bare proxy of the same request."
    )


def main() -> None:
    from tests.benchmarks.report import search_tables

    console = Console()
    effort = QUICK if "--quick" in sys.argv else FULL
    profile = "--profile" in sys.argv
    measured = run_loop(run(effort, lambda name: console.print(f"{name} …", style="dim"), profile=profile))
    for table in [*search_tables(measured.outcomes), parts_table(measured)]:
        console.print(table)
    console.print(note(measured))


if __name__ == "__main__":
    main()
