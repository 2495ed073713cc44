"""What a located search costs: 13 managers, one of which holds the person's circle, against a bare proxy of one request.

Real parts, as in `bench_search`: the canned managers, a worker of the broker with the locator and one without, on one
embedded Valkey, and the bare proxy, each a process. The index is filled by the worker's own crawl and kept fresh by its
own feed, at the settings' defaults: what that costs is in the worker's CPU time, and is measured alone too.

Run with `python -m tests.benchmarks.bench_located` (`--quick`: fewer rounds).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import orjson
from rich.console import Console

from adapters.embedded_valkey import EmbeddedValkey
from broker.commands.terminal import run as run_loop
from tests.benchmarks.bench_search import FULL, QUICK, Case, Effort, OnCase, Outcome, Side, _port, measure
from tests.benchmarks.canned_located import person
from tests.benchmarks.canned_managers import MANAGERS
from tests.benchmarks.children import Child, child
from tests.benchmarks.load import Target, closed_loop, request
from tests.support.waiting import until

LIMIT = 1.6
"""Times the CPU of a bare proxy of one request, at most."""

HOLDER = 4
"""The manager that holds the person's circle."""

_BENCH = "tests.benchmarks"
_COUNTED = 50  # searches, over which requests to managers are counted
_IDLE = 4.0  # seconds


@dataclass(frozen=True, slots=True)
class Located:
    """`upstream`: requests to managers for one search, with the locator and without. `exchanges`: with Redis.

    `feeding_ms`: CPU that keeping the index fresh costs the worker in a second, in milliseconds.
    """

    outcomes: list[Outcome]
    upstream: float
    upstream_without: float
    feeding_ms: float
    exchanges: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    managers: Child
    located: Child
    everybody: Child
    bare: Child
    reading: Child  # the bare proxy that reads Redis first

    async def upstream(self, broker: Child) -> float:
        """Requests to managers for one search, and the right answer to it."""
        before = int(self.managers.ask("searches"))
        run = await closed_loop(_search(_port(broker)), connections=1, requests=_COUNTED)
        (entry,) = orjson.loads(run.body)["entry"]
        assert entry["resource"]["id"].startswith(f"reg{HOLDER:02}."), entry
        return (int(self.managers.ask("searches")) - before) / _COUNTED

    async def is_covered(self) -> bool:
        """Every manager crawled; the search asks one of them."""
        address = f"http://127.0.0.1:{_port(self.located)}/registry/locator"
        async with aiohttp.ClientSession() as http, http.get(address) as response:
            states = [one["state"] for one in (await response.json())["managers"]]
        return states == ["complete"] * MANAGERS

    async def exchanges(self) -> float:
        """Round trips to Redis for one search. Counting them costs: to be asked last."""
        self.located.ask("exchanges")
        await closed_loop(_search(_port(self.located)), connections=1, requests=_COUNTED)
        return int(self.located.ask("exchanges-so-far")) / _COUNTED

    async def feeding(self, seconds: float) -> float:
        before = self.located.cpu()
        await asyncio.sleep(seconds)
        return (self.located.cpu() - before) / seconds * 1e3


def _search(port: int, *more: tuple[str, str]) -> Target:
    body = urlencode([("patient.identifier", person(HOLDER)), *more]).encode()
    return request("POST", "/fhir/CareTeam/_search", port, body=body)


def _stage(stack: ExitStack) -> Stage:
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-"))
    valkey = EmbeddedValkey(Path(directory))
    stack.callback(valkey.stop)
    redis = valkey.start()
    managers = stack.enter_context(child(f"{_BENCH}.canned_located", {}))
    bases = managers.started["bases"]

    def broker(name: str, *, locator: bool) -> Child:
        argument = {
            "redis": redis,
            "prefix": name,
            "bases": bases,
            "data_dir": directory,
            "locator": locator,
            "sync": False,
        }
        return stack.enter_context(child(f"{_BENCH}.broker_worker", argument))

    return Stage(
        managers,
        broker("located", locator=True),
        broker("everybody", locator=False),
        stack.enter_context(child(f"{_BENCH}.bare_proxy", {"base": bases[HOLDER]})),
        stack.enter_context(child(f"{_BENCH}.bare_proxy", {"base": bases[HOLDER], "redis": redis})),
    )


async def run(effort: Effort, on_case: OnCase) -> Located:
    """Every case. `on_case` hears its name as it begins."""
    on_case("crawling 13 managers of one circle each")
    with ExitStack() as stack:
        on = _stage(stack)
        await until(on.is_covered, seconds=60.0)
        upstream, without = await on.upstream(on.located), await on.upstream(on.everybody)
        feeding = await on.feeding(0.1 if effort.smoke else _IDLE)
        outcomes = [await measure(case, effort, on_case) for case in effort.some(_cases(on))]
        exchanges = await on.exchanges()
    return Located(outcomes, upstream, without, feeding, exchanges)


def _cases(on: Stage) -> list[Case]:
    def side(name: str, server: Child, *more: tuple[str, str]) -> Side:
        port = server.started["port"] if "port" in server.started else _port(server)
        return Side(name, server, _search(port, *more))

    include = ("_include", "CareTeam:subject")
    name = f"located search, one holder among {MANAGERS}"
    search = Case(name, side("broker", on.located), side("bare proxy", on.bare), 1, share=4.0)
    return [
        search,
        replace(search, connections=16),
        replace(
            search, name="against a proxy that reads Redis once too", theirs=side("proxy, Redis", on.reading)
        ),
        Case(
            "with its Patient, learnt in passing",
            side("broker", on.located, include),
            side("bare proxy", on.bare, include),
            connections=1,
            share=4.0,
        ),
        Case(
            f"without the locator, {MANAGERS} asked",
            side("broker", on.everybody),
            side("bare proxy", on.bare),
            connections=1,
        ),
    ]


def note(located: Located) -> str:
    """What the tables do not say."""
    return (
        f"Requests to managers for one search: {located.upstream:.2f} with the locator, {located.upstream_without:.2f} "
        f"without. Keeping the index of {MANAGERS} managers fresh: {located.feeding_ms:.0f} ms of CPU a second, in the "
        f"figures of the broker. Goal: at most {LIMIT} times the CPU of a bare proxy of one request."
    )


def main() -> None:
    from tests.benchmarks.report import search_tables

    console = Console()
    effort = QUICK if "--quick" in sys.argv else FULL
    located = run_loop(run(effort, lambda name: console.print(f"{name} …", style="dim")))
    for table in search_tables(located.outcomes):
        console.print(table)
    console.print(note(located))


if __name__ == "__main__":
    main()
