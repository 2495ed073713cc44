"""What a whole search costs the broker's process, against bare servers that do nothing but pass bytes on.

Every part is a process of its own on the loopback interface: 13 canned managers, a real worker of the broker on its
embedded Valkey, a bare aiohttp server, and the load, which this process makes. The two sides of a comparison take
turns, round by round, so that a busy machine slows both. CPU time is that of the serving process alone, user and
system, all threads; latencies are the client's.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import orjson

from adapters.embedded_valkey import EmbeddedValkey
from tests.benchmarks.canned_managers import FORMS, MANAGERS
from tests.benchmarks.children import Child, child
from tests.benchmarks.load import Run, Target, closed_loop, request
from tests.support.waiting import until

OnCase = Callable[[str], None]

_BENCH = "tests.benchmarks"


@dataclass(frozen=True, slots=True)
class Effort:
    """`rounds` of each side; `requests` in a round of a search of one circle a manager, the cheapest one."""

    rounds: int
    requests: int


FULL = Effort(rounds=10, requests=160)
QUICK = Effort(rounds=4, requests=80)


@dataclass(frozen=True, slots=True)
class Side:
    """A server under load. `process` is the one whose CPU time counts."""

    name: str
    process: Child
    target: Target


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    ours: Side
    theirs: Side
    connections: int
    share: float = 1.0  # of the effort's requests


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one side over all rounds; milliseconds, `cpu_ms` for one request."""

    name: str
    cpu_ms: float
    cpu_min_ms: float
    cpu_max_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float
    answer_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`ratio` is that of the median CPU times; the others are the extremes of single rounds."""

    case: str
    connections: int
    ours: Cost
    theirs: Cost
    ratio: float
    ratio_min: float
    ratio_max: float


async def measure(case: Case, effort: Effort, on_case: OnCase) -> Outcome:
    """Both sides in turns. Each is warmed up first, so that connections are open and caches filled."""
    on_case(case.name)
    requests = max(case.connections * 2, int(effort.requests * case.share))
    for side in (case.ours, case.theirs):
        await closed_loop(side.target, connections=case.connections, requests=max(20, requests // 4))
    rounds: dict[str, list[tuple[Run, float]]] = {"ours": [], "theirs": []}
    for number in range(effort.rounds):
        order = (("ours", case.ours), ("theirs", case.theirs))
        for key, side in order if number % 2 else reversed(order):
            before = side.process.cpu()
            run = await closed_loop(side.target, connections=case.connections, requests=requests)
            rounds[key].append((run, (side.process.cpu() - before) / requests))
    ratios = [ours / theirs for (_, ours), (_, theirs) in zip(rounds["ours"], rounds["theirs"], strict=True)]
    ours, theirs = _cost(case.ours, rounds["ours"]), _cost(case.theirs, rounds["theirs"])
    return Outcome(
        case.name, case.connections, ours, theirs, ours.cpu_ms / theirs.cpu_ms, min(ratios), max(ratios)
    )


def _cost(side: Side, rounds: Sequence[tuple[Run, float]]) -> Cost:
    cpu = [seconds * 1e3 for _, seconds in rounds]
    latencies = sorted(latency * 1e3 for run, _ in rounds for latency in run.latencies)
    cuts = statistics.quantiles(latencies, n=100)
    seconds = sum(run.seconds for run, _ in rounds)
    return Cost(
        side.name,
        statistics.median(cpu),
        min(cpu),
        max(cpu),
        cuts[49],
        cuts[94],
        cuts[98],
        len(latencies) / seconds,
        len(rounds[-1][0].body),
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """Canned managers, and what can be started before them."""

    stack: ExitStack
    bases: list[str]
    managers: Child
    circles: int
    redis: str
    directory: str

    def broker(self, name: str, bases: Sequence[str]) -> Child:
        argument = {
            "redis": self.redis,
            "prefix": name,
            "bases": bases,
            "data_dir": self.directory,
            "sync": False,
        }
        return self.stack.enter_context(child(f"{_BENCH}.broker_worker", argument))

    def bare(self) -> Child:
        return self.stack.enter_context(
            child(f"{_BENCH}.bare_fan_out", {"bases": self.bases, "circles": self.circles})
        )


@contextmanager
def stage(*, circles: int) -> Iterator[Stage]:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-"))
        valkey = EmbeddedValkey(Path(directory))
        redis = valkey.start()
        stack.callback(valkey.stop)
        managers = stack.enter_context(child(f"{_BENCH}.canned_managers", {"circles": circles}))
        yield Stage(stack, managers.started["bases"], managers, circles, redis, directory)


def _search(port: int, circles: int, *more: tuple[str, str]) -> Target:
    body = urlencode([*FORMS[circles], *more]).encode()
    return request("POST", "/fhir/CareTeam/_search", port, body=body)


def _port(broker: Child) -> int:
    return int(urlsplit(broker.started["base"]).port or 80)


async def _checked(target: Target, *, matches: int, includes: int) -> None:
    """The answer is what it should be, before anything is measured: every circle, and no outcome."""
    run = await closed_loop(target, connections=1, requests=1)
    modes = [entry["search"]["mode"] for entry in orjson.loads(run.body)["entry"]]
    found = {mode: modes.count(mode) for mode in ("match", "include", "outcome")}
    assert found == {"match": matches, "include": includes, "outcome": 0}, found


async def one_circle(effort: Effort, on_case: OnCase) -> list[Outcome]:
    """13 managers with one circle each: a search, the same with one manager hung, and a read."""
    with stage(circles=1) as on:
        broker, bare = on.broker("healthy", on.bases), on.bare()
        ours = Side("broker", broker, _search(_port(broker), on.circles))
        theirs = Side("bare fan-out", bare, _search(bare.started["port"], on.circles))
        await _checked(ours.target, matches=MANAGERS, includes=MANAGERS)
        search = Case(f"search, {MANAGERS} managers × 1 circle", ours, theirs, connections=1)
        target = f"/fhir/CareTeam/{{}}{on.managers.started['circle']}"
        read = Case(
            "read by id",
            Side("broker", broker, request("GET", target.format("reg00."), _port(broker))),
            Side("bare proxy", bare, request("GET", target.format(""), bare.started["port"])),
            connections=1,
            share=4.0,
        )
        hung = Case(
            f"search, one of {MANAGERS} hung, breaker open",
            await _one_hung(on),
            replace(ours, name="all healthy"),
            1,
        )
        both = (replace(case, connections=number) for case in (search, hung, read) for number in (1, 16))
        return [await measure(case, effort, on_case) for case in both]


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
        return [await measure(case, effort, on_case) for case in cases]


async def _one_hung(on: Stage) -> Side:
    """A second broker over twelve of the managers and one that never answers, after its breaker has opened."""
    broker = on.broker("hung", [*on.bases[:-1], on.managers.started["hung"]])
    side = Side("one hung", broker, _search(_port(broker), on.circles))

    async def breaker_is_open() -> bool:
        run = await closed_loop(side.target, connections=1, requests=1)
        return b"manager.breaker-open" in run.body

    await until(breaker_is_open, seconds=15.0)
    return side


async def run(effort: Effort, on_case: OnCase) -> list[Outcome]:
    """Every case. `on_case` hears its name as it begins."""
    return [*await one_circle(effort, on_case), *await ten_circles(effort, on_case)]
