"""What a whole search costs the broker's process, against bare servers that do nothing but pass bytes on.

Every part is a process of its own on the loopback interface: 13 canned managers, a real worker of the broker on its
embedded Valkey, a bare aiohttp server, and the load, which this process makes. How they are compared: see `comparing`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson

from adapters.embedded_valkey import EmbeddedValkey
from tests.benchmarks.canned_managers import FORMS, MANAGERS
from tests.benchmarks.children import Child, child
from tests.benchmarks.comparing import (
    FULL,
    QUICK,
    Case,
    Cost,
    Effort,
    OnCase,
    Outcome,
    Side,
    measure,
)
from tests.benchmarks.load import Target, closed_loop, request
from tests.support.waiting import until

__all__ = ["FULL", "QUICK", "Case", "Cost", "Effort", "OnCase", "Outcome", "Side", "measure"]

LIMIT = 1.3
"""Times the CPU of a bare fan-out, for a search of 13 managers with one circle each."""

_BENCH = "tests.benchmarks"


@dataclass(frozen=True, slots=True)
class Stage:
    """Canned managers, and what can be started before them."""

    stack: ExitStack
    managers: Child
    circles: int
    redis: str
    directory: str

    @property
    def bases(self) -> list[str]:
        return list(self.managers.started["bases"])

    def canned(self, **argument: Any) -> Child:
        """More managers."""
        return self.stack.enter_context(child(f"{_BENCH}.canned_managers", argument))

    def broker(self, name: str, bases: Sequence[str], **argument: Any) -> Child:
        given = {
            "redis": self.redis,
            "prefix": name,
            "bases": bases,
            "data_dir": self.directory,
            "sync": False,
        }
        return self.stack.enter_context(child(f"{_BENCH}.broker_worker", given | argument))

    def bare(self, bases: Sequence[str] | None = None) -> Child:
        argument = {"bases": self.bases if bases is None else bases, "circles": min(self.circles, max(FORMS))}
        return self.stack.enter_context(child(f"{_BENCH}.bare_fan_out", argument))


@contextmanager
def stage(*, circles: int, **more: Any) -> Iterator[Stage]:
    """`more`: of the managers; see `canned_managers`."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-"))
        managers = stack.enter_context(child(f"{_BENCH}.canned_managers", {"circles": circles} | more))
        valkey = EmbeddedValkey(Path(directory))
        redis = valkey.start()
        stack.callback(valkey.stop)
        yield Stage(stack, managers, circles, redis, directory)


def _search(port: int, circles: int, *more: tuple[str, str]) -> Target:
    body = urlencode([*FORMS[circles], *more]).encode()
    return request("POST", "/fhir/CareTeam/_search", port, body=body)


def _port(broker: Child) -> int:
    return int(urlsplit(broker.started["base"]).port or 80)


async def is_covered(port: int, managers: int = MANAGERS) -> bool:
    """Whether the broker's index covers all of its managers."""
    address = f"http://127.0.0.1:{port}/registry/locator"
    async with aiohttp.ClientSession() as http, http.get(address) as response:
        states = [one["state"] for one in (await response.json())["managers"]]
    return states == ["complete"] * managers


async def _checked(target: Target, *, matches: int, includes: int) -> None:
    """The answer is what it should be, before anything is measured: every circle, and no outcome."""
    run = await closed_loop(target, connections=1, requests=1)
    modes = [entry["search"]["mode"] for entry in orjson.loads(run.body)["entry"]]
    found = {mode: modes.count(mode) for mode in ("match", "include", "outcome")}
    assert found == {"match": matches, "include": includes, "outcome": 0}, found


async def one_circle(effort: Effort, on_case: OnCase) -> list[Outcome]:
    """13 managers with one circle each: a search, and the same with one manager hung."""
    with stage(circles=1) as on:
        broker, bare = on.broker("healthy", on.bases), on.bare()
        ours = Side("broker", broker, _search(_port(broker), on.circles))
        theirs = Side("bare fan-out", bare, _search(bare.started["port"], on.circles))
        await _checked(ours.target, matches=MANAGERS, includes=MANAGERS)
        search = Case(f"search, {MANAGERS} managers × 1 circle", ours, theirs, connections=1)
        cases = [search, replace(search, connections=16)]
        if not effort.smoke:
            hung = Case(
                f"search, one of {MANAGERS} hung, breaker open",
                await one_hung(on),
                replace(ours, name="all healthy"),
                connections=1,
            )
            cases += [hung, replace(hung, connections=16)]
        return [await measure(case, effort, on_case) for case in effort.some(cases)]


async def ten_circles(effort: Effort, on_case: OnCase) -> list[Outcome]:
    """The same with ten circles each, 577 KB in all: on one page, and as a first page of many."""
    circles = 10 * MANAGERS
    with stage(circles=10) as on:
        broker, bare = on.broker("healthy", on.bases), on.bare()
        whole = Side("broker", broker, _search(_port(broker), on.circles, ("_count", "200")))
        first = Side("broker", broker, _search(_port(broker), on.circles, ("_count", "20")))
        theirs = Side("bare fan-out", bare, _search(bare.started["port"], on.circles))
        await _checked(whole.target, matches=circles, includes=3 * circles)
        cases = (
            Case(f"search, {MANAGERS} managers × 10 circles", whole, theirs, 1, share=0.5),
            Case("the same, its first page of 20", first, theirs, 1, share=0.5),
        )
        return [await measure(case, effort, on_case) for case in effort.some(cases)]


async def one_hung(on: Stage, patience: float = 1.0) -> Side:
    """A second broker over twelve of the managers and one that never answers, after its breaker has opened. `patience`:
    seconds that it waits for a manager."""
    broker = on.broker("hung", [*on.bases[:-1], on.managers.started["hung"]], patience=patience)
    side = Side("one hung", broker, _search(_port(broker), on.circles))

    async def breaker_is_open() -> bool:
        run = await closed_loop(side.target, connections=1, requests=1)
        return b"manager.breaker-open" in run.body

    await until(breaker_is_open, seconds=15.0)
    return side


async def run(effort: Effort, on_case: OnCase) -> list[Outcome]:
    """Every case. `on_case` hears its name as it begins."""
    return [*await one_circle(effort, on_case), *await ten_circles(effort, on_case)]
