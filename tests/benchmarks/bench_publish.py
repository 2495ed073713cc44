"""What it costs to publish a change: from the outbox to the log, over asking the home and publishing without anything else.

Changes of circles are put into the outbox of a worker that synchronises; it asks their home for each circle with its actors,
makes the event, and publishes it for every reader of notifications (ids only) and for a manager that subscribed (whole). The
bare publisher asks the same manager for the same circles, with the same search, as many at a time, and publishes two records
of the same sizes by aiokafka (by redis-py without a Kafka) alone. Both take turns; CPU is that of the publishing process for
one change, until the last is in the log.

Run with `python -m tests.benchmarks publish`.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from adapters.embedded_valkey import EmbeddedValkey
from broker.core import topics
from broker.core.change_event import Operation
from broker.settings import Settings
from broker.wiring_sync import open_log
from registry.outbox import RedisOutbox
from registry.outbox_model import CircleChange
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from tests.benchmarks import spread
from tests.benchmarks.bench_agent import engine
from tests.benchmarks.bench_search import _port
from tests.benchmarks.children import Child, child
from tests.benchmarks.comparing import Effort, OnCase
from tests.benchmarks.figures import Figure
from tests.benchmarks.tables import table
from tests.benchmarks.watchdog import Watched
from tests.support.kafka_server import KafkaUnavailable
from tests.support.waiting import until

HOME, SUBSCRIBER = 4, "reg09"

_BENCH, _PREFIX = "tests.benchmarks", "publish"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Published:
    """Microseconds of CPU for one change. `ratio`: the median of the rounds' own, `ratios`. `event_bytes`: of the whole one.
    `per_second`: changes, from the outbox into the log."""

    kafka: bool
    changes: int
    event_bytes: float
    ours_us: float
    bare_us: float
    per_second: float
    bare_per_second: float
    ratio: float
    ratios: tuple[float, ...]
    watched: Watched

    def figures(self) -> Iterator[Figure]:
        yield Figure("CPU for one change, over bare", self.ratio, "×", self.ratios)
        yield Figure("CPU for one change", self.ours_us, "µs")
        yield Figure("longest step", self.watched.step_ms, "ms")


async def run(effort: Effort, on_case: OnCase) -> Published:
    """On Kafka where there is one. `on_case` hears its name as it begins."""
    if not effort.smoke:
        try:
            on_case("starting Kafka")
            return await _on(effort, on_case, kafka=True)
        except KafkaUnavailable as error:
            on_case(f"on Valkey: {error}")
    return await _on(effort, on_case, kafka=False)


async def _on(effort: Effort, on_case: OnCase, *, kafka: bool) -> Published:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-")))
        managers = stack.enter_context(child(f"{_BENCH}.canned_writes", {"empty": True}))
        given = stack.enter_context(engine(directory, kafka))
        redis = given.get("redis_url")
        if redis is None:
            valkey = EmbeddedValkey(directory)
            redis = valkey.start()
            stack.callback(valkey.stop)
        log = {"topic_prefix": _PREFIX} | ({"kafka_bootstrap": given["kafka_bootstrap"]} if kafka else {})
        broker = stack.enter_context(
            child(
                f"{_BENCH}.broker_worker",
                {
                    "redis": redis,
                    "prefix": _PREFIX,
                    "bases": managers.started["bases"],
                    "data_dir": str(directory),
                    "sync": True,
                    "settings": log | {"locator_overlap": 0.1},  # a bootstrap of nothing waits for it
                },
            )
        )
        await _subscribed(_port(broker))
        read = Settings.load(**log, redis_url=redis, redis_prefix=_PREFIX)
        rounds = _Rounds(broker, redis, itertools.count(1))
        count = effort.scaled(2.0)
        on_case(f"{count} changes a round, in turns")
        await rounds.ours(effort.warming(count))
        sizes = await _sizes(read)
        bare = stack.enter_context(
            child(
                f"{_BENCH}.bare_publisher",
                {
                    "base": managers.started["bases"][HOME],
                    "redis": redis,
                    "kafka": given.get("kafka_bootstrap"),
                    "sizes": sizes,
                },
            )
        )
        await _theirs(bare, effort.warming(count))
        ours, theirs = [], []
        for number in range(effort.rounds):
            if number % 2:
                ours.append(await rounds.ours(count))
            theirs.append(await _theirs(bare, count))
            if not number % 2:
                ours.append(await rounds.ours(count))
        broker.watch()
        await rounds.ours(count)
        watched = broker.watched()
    return _published(kafka, count, float(sizes[0]), ours, theirs, watched)


_Round = tuple[float, float]
"""Seconds of CPU and seconds, for one change."""


@dataclass(frozen=True, slots=True)
class _Rounds:
    broker: Child
    redis: str
    numbers: itertools.count[int]

    async def ours(self, count: int) -> _Round:
        """Each circle changes once; the first read of the clock is before the first change is put there."""
        client: Any = connect(self.redis)
        keys = RedisKeys(_PREFIX)
        outbox = RedisOutbox(client, keys=keys)
        loop = asyncio.get_running_loop()

        async def is_empty() -> bool:
            return int(await client.xlen(keys.outbox)) == 0

        try:
            changes = [
                CircleChange(f"reg{HOME:02}", f"u{number}", "1", None, Operation.UPDATED)
                for number in itertools.islice(self.numbers, count)
            ]
            before, begun = self.broker.cpu(), loop.time()
            await outbox.enqueue_many(changes, since=None)
            await until(is_empty, seconds=_PATIENCE)
            return (self.broker.cpu() - before) / count, (loop.time() - begun) / count
        finally:
            await client.aclose()


async def _theirs(bare: Child, count: int) -> _Round:
    before = bare.cpu()
    seconds = float(await asyncio.to_thread(bare.ask, "publish", str(count)))
    return (bare.cpu() - before) / count, seconds / count


async def _subscribed(port: int) -> None:
    """A manager wants all circles whole, and has been sent what there is."""
    base = f"http://127.0.0.1:{port}"
    wanted = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Tenir la région à jour",
        "criteria": "CareTeam",
        "channel": {"type": "message", "endpoint": f"kafka:{SUBSCRIBER}", "payload": "application/fhir+json"},
    }
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{base}/fhir/Subscription", json=wanted) as answer:
            made = await answer.json(content_type=None)
            assert made["status"] == "active", made

        async def is_sent() -> bool:
            async with http.get(f"{base}/registry/synchronisation") as answer:
                found = (await answer.json())["bootstraps"]
            return bool(found) and all(one["state"] == "done" for one in found)

        await until(is_sent, seconds=_PATIENCE)


async def _sizes(read: Settings) -> list[int]:
    """Of a whole event and of one by ids, as they are in the log."""
    found = []
    async with open_log(read) as log:
        for topic in (topics.replication(SUBSCRIBER, _PREFIX), topics.notifications(_PREFIX)):
            values = [len(one.value or b"") async for batch in log.read(topic) for one in batch.records]
            found.append(round(statistics.mean(values[-20:])))
    return found


def _published(
    kafka: bool,
    count: int,
    event_bytes: float,
    ours: Sequence[_Round],
    theirs: Sequence[_Round],
    watched: Watched,
) -> Published:
    ratios = tuple(our[0] / their[0] for our, their in zip(ours, theirs, strict=True))
    return Published(
        kafka,
        count,
        event_bytes,
        statistics.median(one[0] for one in ours) * 1e6,
        statistics.median(one[0] for one in theirs) * 1e6,
        1 / statistics.median(one[1] for one in ours),
        1 / statistics.median(one[1] for one in theirs),
        statistics.median(ratios),
        ratios,
        watched,
    )


def show(published: Published, console: Console) -> None:
    log = "Kafka" if published.kafka else "Redis Streams"
    shown = table(
        f"Publishing changes of circles ({log}, {published.event_bytes / 1e3:.1f} KB each)",
        "",
        "CPU for one, µs",
        "ratio",
        "",
        "a second",
    )
    low, high = spread.of_median(published.ratios)
    ratio = f"{published.ratio:.2f}"
    shown.add_row(
        "publisher", f"{published.ours_us:.0f}", ratio, f"{low:.2f}–{high:.2f}", f"{published.per_second:.0f}"
    )
    shown.add_row("bare", f"{published.bare_us:.0f}", "", "", f"{published.bare_per_second:.0f}")
    shown.caption = f"The longest step: {published.watched.step_ms:.1f} ms, {published.watched.told}."
    console.print(shown)
