"""What publishing costs whoever writes: the same writes at a broker that publishes and at one that does not, in turns.

Both brokers are a worker and a process for the background each, as `cds-broker serve` starts them, over the same canned
managers, on one Valkey. One has `CDS_SYNC` off; the other publishes to a real Kafka, to every reader of notifications and to
a manager that subscribed to all circles, in full. Each round ends when all its changes are in the log, so that the other
side's next one has the machine to itself; the CPU time counts up to there.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from adapters.embedded_valkey import EmbeddedValkey
from broker.core import topics
from broker.settings import Settings
from broker.wiring_sync import open_log
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from tests.benchmarks.bench_search import OnCase, _port
from tests.benchmarks.bench_write import HOME, Stage
from tests.benchmarks.canned_writes import circle
from tests.benchmarks.children import Child, child
from tests.benchmarks.load import Target, closed_loop, paced, written
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.watchdog import Watched
from tests.support.sync_world import subscription
from tests.support.waiting import until
from tests.support.write_federation import FHIR_JSON

PER_SECOND = 50.0
"""Changes that regions make together, as the goal has it."""

SUBSCRIBER = "reg09"

_BENCH = "tests.benchmarks"
_PREFIX = f"reg{HOME:02}."
_CIRCLES = 200
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_second`: None, one client that writes as fast as it is answered. `requests` in a round."""

    name: str
    per_second: float | None
    requests: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Side:
    """Over all rounds; milliseconds. `cpu_ms`: of the process that serves, for one write; `background_ms`: of the one that
    publishes. Medians of the rounds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    background_ms: float


@dataclass(frozen=True, slots=True)
class Share:
    """`more_ms`: at p50, with publishing on; the others are the extremes of single rounds. `watched`: of the process that
    serves, with publishing on, in a round of its own."""

    write: str
    pace: str
    on: Side
    off: Side
    more_ms: float
    more_min_ms: float
    more_max_ms: float
    watched: Watched | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One of the two brokers. `process` serves, `background` (its id) does the rest. `outbox`: its key in the store."""

    process: Child
    redis: str
    outbox: str

    @property
    def background(self) -> int:
        return int(self.process.started["background"])

    async def drained(self) -> None:
        client: Any = connect(self.redis)
        try:

            async def is_empty() -> bool:
                return int(await client.xlen(self.outbox)) == 0

            await until(is_empty, seconds=_PATIENCE)
        finally:
            await client.aclose()


@dataclass(frozen=True, slots=True)
class Pair:
    """`log`: settings by which the log is opened."""

    stage: Stage
    on: Node
    off: Node
    log: Settings

    async def in_the_log(self) -> int:
        """Events for the subscriber so far."""
        async with open_log(self.log) as log:
            topic = topics.replication(SUBSCRIBER, self.log.topic_prefix)
            return sum([len(batch.records) async for batch in log.read(topic)])


@asynccontextmanager
async def _pair(directory: Path, kafka: str) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        valkey = EmbeddedValkey(directory)
        stack.callback(valkey.stop)
        redis = await asyncio.to_thread(valkey.start)
        managers = stack.enter_context(child(f"{_BENCH}.canned_writes", {}))
        settings = {"kafka_bootstrap": kafka, "topic_prefix": "cost"}

        def node(prefix: str, *, sync: bool) -> Node:
            argument = {
                "redis": redis,
                "prefix": prefix,
                "bases": managers.started["bases"],
                "data_dir": str(directory),
                "locator": True,
                "sync": sync,
                "apart": True,
                # A bootstrap of what is there waits for it, for every four managers anew.
                "settings": {"locator_overlap": 1.0, **(settings if sync else {})},
            }
            process = stack.enter_context(child(f"{_BENCH}.broker_worker", argument))
            return Node(process, redis, RedisKeys(prefix).outbox)

        on, off = node("on", sync=True), node("off", sync=False)
        stage = Stage(managers, on.process, managers, itertools.count(1000))
        for one in (on, off):
            await until(replace(stage, broker=one.process).is_covered, seconds=_PATIENCE)
        await _subscribed(_port(on.process))
        yield Pair(stage, on, off, Settings.load(**settings))


async def _subscribed(port: int) -> None:
    """A manager wants all circles whole, and has been sent what there is."""
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{base}/fhir/Subscription", json=subscription(SUBSCRIBER)) as answer:
            made = await answer.json(content_type=None)
            assert made["status"] == "active", made

        async def is_sent() -> bool:
            async with http.get(f"{base}/registry/synchronisation") as answer:
                found = (await answer.json())["bootstraps"]
            return bool(found) and all(one["state"] == "done" for one in found)

        await until(is_sent, seconds=_PATIENCE)


async def run(directory: Path, kafka: str, paces: Sequence[Pace], on_case: OnCase) -> list[Share]:
    """`kafka`: `host:port`. Raises where an event is lacking in the log at the end."""
    on_case("two brokers, one of which publishes")
    async with _pair(directory, kafka) as pair:
        before = await pair.in_the_log()
        written, shares = 0, []
        for pace in paces:
            for write in ("created", "updated"):
                on_case(f"CareTeam {write}, {pace.name}")
                share, count = await _share(pair, write, pace)
                shares.append(share)
                written += count
        told = await pair.in_the_log() - before
        assert told == written, f"{written} changes, {told} events"
    return shares


async def _share(pair: Pair, write: str, pace: Pace) -> tuple[Share, int]:
    """Both sides in turns, and how many changes the one that publishes made."""
    sides: Mapping[str, Node] = {"on": pair.on, "off": pair.off}
    rounds: dict[str, list[Round]] = {"on": [], "off": []}
    for node in sides.values():  # a Kafka that has just started needs it as well
        await _round(pair, node, write, pace)
    for number in range(pace.rounds):
        for name in ("on", "off") if number % 2 else ("off", "on"):
            rounds[name].append(await _round(pair, sides[name], write, pace))
    more = [
        statistics.median(on.latencies) - statistics.median(off.latencies)
        for on, off in zip(rounds["on"], rounds["off"], strict=True)
    ]
    on, off = _side(rounds["on"]), _side(rounds["off"])
    pair.on.process.watch()
    await _round(pair, pair.on, write, pace)
    watched = pair.on.process.watched()
    extremes = min(more), max(more)
    share = Share(f"CareTeam {write}", pace.name, on, off, on.p50_ms - off.p50_ms, *extremes, watched)
    return share, (2 + pace.rounds) * pace.requests


@dataclass(frozen=True, slots=True)
class Round:
    """Latencies, and the CPU of both processes for one write; all in milliseconds."""

    latencies: list[float]
    cpu: float
    background: float


async def _round(pair: Pair, node: Node, write: str, pace: Pace) -> Round:
    port = _port(node.process)
    target = pair.stage.creation(port, _PREFIX) if write == "created" else _update(pair, port)
    before, aside = node.process.cpu(), cpu_seconds([node.background])
    if pace.per_second is None:
        run = await closed_loop(target, connections=1, requests=pace.requests)
        latencies = [one * 1e3 for one in run.latencies]
    else:
        assert target.fresh is not None
        requests = [target.fresh() for _ in range(pace.requests)]
        done = await paced(port, requests, per_second=pace.per_second)
        latencies = [(one.answered - one.sent) * 1e3 for one in done]
    await node.drained()
    cpu, background = node.process.cpu() - before, cpu_seconds([node.background]) - aside
    return Round(latencies, cpu / pace.requests * 1e3, background / pace.requests * 1e3)


def _update(pair: Pair, port: int) -> Target:
    """Of many circles in turn: two changes of one that are under way at once may become one event."""

    def fresh() -> bytes:
        number = next(pair.stage.numbers)
        own = f"{_PREFIX}u{number % _CIRCLES}"
        body = circle(number % _CIRCLES, _PREFIX) | {"id": own, "name": f"Cercle de soins {number}"}
        return written("PUT", f"/fhir/CareTeam/{own}", port, body=orjson.dumps(body), content_type=FHIR_JSON)

    return Target(port, fresh=fresh)


def _side(rounds: Sequence[Round]) -> Side:
    cuts = statistics.quantiles([latency for one in rounds for latency in one.latencies], n=100)
    return Side(
        cuts[49],
        cuts[94],
        cuts[98],
        statistics.median(one.cpu for one in rounds),
        statistics.median(one.background for one in rounds),
    )
