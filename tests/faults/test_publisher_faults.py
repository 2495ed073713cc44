"""Publishing under faults, on real servers: killed, restarted, twice at once. Nothing is lost, nothing out of order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from adapters.clock import SystemClock
from adapters.redis_streams_log import LogKeys, RedisStreamsLog
from broker.core.event_content import ChangeEvent, read_event
from broker.errors import StoreError
from broker.sync.change_log import Topic
from broker.sync.event_records import EventRecords
from broker.sync.publisher import Publisher
from broker.sync.publisher_options import PublisherOptions
from broker.sync.tasks import end
from registry.outbox import RedisOutbox
from registry.outbox_model import CircleChange
from registry.redis_connection import connect
from tests.support.publishing import (
    NOTIFICATIONS,
    PUBLIC,
    TO_OCC,
    FakeHomes,
    FakeRouting,
    change,
    down,
)
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

OPTIONS = PublisherOptions(lease=1.5, margin=0.5, tick=0.01)


@dataclass
class Site:
    """An outbox and a log on servers of their own."""

    store: ValkeyServer
    engine: ValkeyServer
    homes: FakeHomes = field(default_factory=FakeHomes)
    latencies: list[float] = field(default_factory=list)
    told: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    _clients: list[Any] = field(default_factory=list)

    def client(self, server: ValkeyServer) -> Any:
        self._clients.append(connect(server.url))
        return self._clients[-1]

    def log(self) -> RedisStreamsLog:
        return RedisStreamsLog(self.client(self.engine), SystemClock(), keys=LogKeys("log"), publish=1.0)

    def box(self) -> RedisOutbox:
        return RedisOutbox(self.client(self.store))

    def publisher(self, node: str, box: RedisOutbox | None = None) -> Publisher:
        return Publisher(
            node,
            box or self.box(),
            self.log(),
            self.homes,
            FakeRouting(),
            EventRecords(PUBLIC),
            SystemClock(),
            OPTIONS,
            self.latencies.append,
        )

    async def make(self, box: RedisOutbox, one: CircleChange) -> None:
        """As a write does: until the store has it."""
        while True:
            try:
                number = await box.enqueue(one)
                break
            except StoreError:
                await asyncio.sleep(0.02)
        if number is not None:
            self.told.setdefault(one.circle, []).append(number)

    async def events(self, topic: str = TO_OCC) -> list[ChangeEvent]:
        found = []
        async for batch in self.log().read(topic):
            found += [read_event(one.key, one.value, one.headers) for one in batch.records]
        return found

    async def check(self, circles: int, versions: int, *, restarts: int = 0) -> list[ChangeEvent]:
        """Every change is in the log, those of one circle in order, duplicates left aside. All events, as they lie there.

        `restarts` of the store: after each a circle's numbers begin anew, above all before them.
        """
        events = await self.events()
        for topic in (TO_OCC, NOTIFICATIONS):
            by_circle: dict[str, list[int]] = {}
            by_id: dict[str, int] = {}
            for event in await self.events(topic):
                numbers = by_circle.setdefault(event.change.local_id, [])
                assert by_id.setdefault(event.change.event_id, event.change.sequence) == event.change.sequence
                if event.change.sequence not in numbers:
                    numbers.append(event.change.sequence)
            assert len(by_circle) == circles
            for numbers in by_circle.values():
                assert len(numbers) == versions
                assert numbers == sorted(numbers)
                assert sum(later - earlier != 1 for earlier, later in pairwise(numbers)) <= restarts
        return events

    async def drained(self, seconds: float = 20.0) -> None:
        box = self.box()

        async def empty() -> bool:
            try:
                return (await box.state()).depth == 0
            except StoreError:
                return False

        await until(empty, seconds=seconds)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(ValkeyServer(tmp_path / "store"), ValkeyServer(tmp_path / "engine"))
    for topic in (Topic(NOTIFICATIONS, 3, compacted=False), Topic(TO_OCC, 3)):
        await made.log().ensure_topic(topic)
    yield made
    await made.close()
    made.store.stop()
    made.engine.stop()


class Hesitant(RedisOutbox):
    """Never gets to removing what is published."""

    tried = 0

    async def remove(self, token: int, places: Sequence[str]) -> bool:
        self.tried += 1
        await asyncio.Event().wait()
        return False

    async def lead(self, node: str, *, seconds: float) -> int | None:
        return await super().lead(node, seconds=seconds) if seconds else None  # killed: gives nothing back


async def test_killed_between_publishing_and_removing(site: Site) -> None:
    box = site.box()
    for version in (1, 2, 3):
        for number in range(10):
            await site.make(box, change(number, str(version)))
    hesitant = Hesitant(site.client(site.store))
    task = asyncio.ensure_future(site.publisher("one", hesitant).run())
    await until(lambda: hesitant.tried > 0)
    await end([task])
    before = await site.events()
    assert before
    assert (await box.state()).depth == 30
    task = asyncio.ensure_future(site.publisher("two").run())
    await site.drained()
    await end([task])
    events = await site.check(10, 3)
    assert len(events) > 30, "some twice, under the same id"


async def test_the_store_is_killed_and_restarted_under_changes(site: Site) -> None:
    box = site.box()
    tasks = [asyncio.ensure_future(site.publisher(node).run()) for node in ("one", "two")]

    async def changing() -> None:
        for version in range(1, 21):
            for number in range(10):
                await site.make(box, change(number, str(version)))
            await asyncio.sleep(0.02)

    changes = asyncio.ensure_future(changing())
    for _ in range(2):
        await asyncio.sleep(0.15)
        await asyncio.to_thread(site.store.kill)
        await asyncio.to_thread(site.store.restart)
    await changes
    await site.drained()
    await end(tasks)
    await site.check(10, 20, restarts=2)


async def test_the_log_is_away_for_a_while(site: Site) -> None:
    box = site.box()
    task = asyncio.ensure_future(site.publisher("one").run())
    await site.make(box, change(0))
    await site.drained()
    await asyncio.to_thread(site.engine.kill)
    for number in range(1, 100):
        await site.make(box, change(number))  # writes go on
    depth = (await box.state()).depth
    assert depth == 99
    await asyncio.to_thread(site.engine.restart)
    await site.drained()
    await end([task])
    await site.check(100, 1)


async def test_leaders_that_change_all_the_time(site: Site) -> None:
    """Publishers come and are killed while circles change and a home is down now and then."""
    box = site.box()

    async def changing() -> None:
        for version in range(1, 31):
            for number in range(12):
                await site.make(box, change(number, str(version), manager="bre"))
            site.homes.faults = {} if version % 10 else {("bre", str(version % 12)): down()}
            await asyncio.sleep(0.03)
        site.homes.faults = {}

    changes = asyncio.ensure_future(changing())
    for node in range(5):
        tasks = [asyncio.ensure_future(site.publisher(f"{name}{node}").run()) for name in "ab"]
        await asyncio.sleep(0.3)
        await end(tasks)
    await changes
    last = asyncio.ensure_future(site.publisher("last").run())
    await site.drained()
    await end([last])
    await site.check(12, 30)


async def test_hundreds_a_second_and_quickly(site: Site) -> None:
    site.homes.seconds = 0.003
    box = site.box()
    task = asyncio.ensure_future(site.publisher("one").run())
    await site.make(box, change("first"))
    await site.drained()
    begin = time.monotonic()
    for start in range(0, 2000, 100):
        await box.enqueue_many(
            [change(number, manager=f"m{number % 8}") for number in range(start, start + 100)], since=None
        )
    await site.drained()
    rate = 2000 / (time.monotonic() - begin)
    site.latencies.clear()
    for number in range(100):
        await box.enqueue(change(f"slow{number}", manager=f"m{number % 8}"))
        await asyncio.sleep(0.01)
    await site.drained()
    await end([task])
    latencies = sorted(site.latencies)
    print(
        f"{rate:.0f} changes a second; p50 {latencies[50] * 1000:.1f} ms, p95 {latencies[95] * 1000:.1f} ms"
    )
    assert rate > 300, "three times that where nothing else runs"
    assert latencies[50] < 0.1
