"""What a publisher works with, in memory, with the faults that tests ask for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from adapters.clock import SystemClock
from broker.core.change_event import Change, Operation
from broker.core.entry import Entry
from broker.core.event_content import ChangeEvent, read_event
from broker.core.subscription import ContentLevel
from broker.errors import BrokerError, FailureKind, ManagerError, StoreError
from broker.sync.change_log import ChangeLog, Outgoing, Position
from broker.sync.event_records import Content, EventRecords
from broker.sync.homes import Absence, StaleError
from broker.sync.publisher import Publisher
from broker.sync.publisher_options import PublisherOptions
from broker.sync.routing import Destinations
from broker.sync.tasks import end
from registry.outbox_model import CircleChange, Waiting
from registry.ports import Outbox
from tests.support.fake_outbox import FakeOutbox
from tests.support.waiting import until

PUBLIC = "https://broker.example/fhir"
NOTIFICATIONS, TO_OCC = "cds.notifications", "cds.replication.occ"
QUICK = PublisherOptions(lease=3.0, margin=1.0, tick=0.01, quiet=0.05)


def circle(number: int | str, manager: str = "bre", version: str = "1", *tags: tuple[str, str]) -> Entry:
    public = f"{manager}.{number}"
    raw = orjson.dumps({"resourceType": "CareTeam", "id": public, "meta": {"versionId": version}})
    return Entry("match", "CareTeam", str(number), public, version, None, None, tags, raw)


def change(
    number: int | str,
    version: str | None = "1",
    manager: str = "bre",
    operation: Operation = Operation.UPDATED,
    at: str | None = None,
) -> CircleChange:
    return CircleChange(manager, str(number), version, at, operation)


def down(kind: FailureKind = FailureKind.UNREACHABLE) -> ManagerError:
    return ManagerError(kind, slug="bre", name="Bretagne", region="53")


@dataclass
class FakeLog:
    """The publishing half of `ChangeLog`. `down`: nothing gets in. `missing`: topics that are not there.

    `answer_lost`: what is published gets in, and the publisher does not hear of it.
    """

    records: list[Outgoing] = field(default_factory=list)
    down: bool = False
    answer_lost: bool = False
    missing: set[str] = field(default_factory=set)
    gate: asyncio.Event | None = None
    attempts: int = 0

    async def publish_many(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        self.attempts += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise StoreError("federation.log")
        for record in records:
            if record.topic in self.missing:
                raise StoreError("federation.log-topic", topic=record.topic)
        self.records += records
        if self.answer_lost:
            raise StoreError("federation.log")
        return tuple(Position(0, str(number)) for number in range(len(records)))

    def events(self, topic: str) -> list[ChangeEvent]:
        return [read_event(one.key, one.value, one.headers) for one in self.records if one.topic == topic]

    def told(self, topic: str, public_id: str | None = None) -> list[tuple[str, int]]:
        """(id, number) of the events of a topic, in order, each once."""
        found = [(one.change.event_id, one.change.sequence) for one in self.events(topic)]
        wanted = None if public_id is None else re.compile(rf"{public_id.replace('.', '/CareTeam/')}/")
        return list(dict.fromkeys(one for one in found if wanted is None or wanted.match(one[0])))


@dataclass
class FakeHomes:
    """`faults`: by manager, or by (manager, id): what looking there comes to. `seconds`: for each look."""

    faults: dict[Any, BrokerError | Absence | StaleError] = field(default_factory=dict)
    versions: dict[tuple[str, str], str] = field(default_factory=dict)
    seconds: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0

    def stated(self, waiting: Waiting) -> Change:
        one = waiting.change
        public = f"{one.manager}.{one.circle_id}"
        return Change(
            one.manager, "53", one.circle_id, public, one.version, one.at, one.operation, waiting.sequence
        )

    async def remember(self) -> None:
        pass

    def managers(self) -> Sequence[str]:
        return ("bre", "occ")

    async def fetch(self, change: Change) -> Content | Absence:
        where = (change.manager, change.local_id)
        self.asked.append(where)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(self.seconds)
        self._now -= 1
        fault = self.faults.get(where, self.faults.get(change.manager))
        if isinstance(fault, Absence):
            return fault
        if fault is not None:
            raise fault
        version = self.versions.get(where, change.version or "1")
        return Content(circle(change.local_id, change.manager, version))


@dataclass
class FakeRouting:
    """Everything to `occ`, in full."""

    destinations: Destinations = field(default_factory=lambda: Destinations({"occ": ContentLevel.FULL}))
    down: bool = False
    awaited: bool = True
    settled: list[str] = field(default_factory=list)
    handed: list[str] = field(default_factory=list)

    async def is_awaited(self) -> bool:
        return self.awaited

    async def route(self, change: Change, circle: Entry | None, actors: Sequence[Entry] = ()) -> Destinations:
        if self.down:
            raise StoreError("federation.store")
        assert (circle is None) is (change.operation is Operation.DELETED)
        return self.destinations

    async def hand_over(
        self, change: Change, circle: Entry | None, actors: Sequence[Entry], destinations: Destinations
    ) -> None:
        self.handed.append(change.event_id)

    async def settle(self, change: Change, destinations: Destinations) -> None:
        self.settled.append(change.event_id)


@dataclass
class Press:
    """One outbox and one log; publishers as many as a test starts."""

    outbox: Outbox = field(default_factory=lambda: FakeOutbox(SystemClock()))
    log: FakeLog = field(default_factory=FakeLog)
    homes: FakeHomes = field(default_factory=FakeHomes)
    routing: FakeRouting = field(default_factory=FakeRouting)
    options: PublisherOptions = QUICK
    latencies: list[float] = field(default_factory=list)
    nodes: int = 0

    def publisher(self, **others: Any) -> Publisher:
        self.nodes += 1
        made = Publisher(
            f"node{self.nodes}",
            self.outbox,
            cast("ChangeLog", self.log),
            self.homes,
            self.routing,
            EventRecords(PUBLIC),
            SystemClock(),
            self.options,
            self.latencies.append,
        )
        return replace(made, **others)

    @asynccontextmanager
    async def running(self, publisher: Publisher | None = None) -> AsyncIterator[Publisher]:
        publisher = publisher or self.publisher()
        task = asyncio.ensure_future(publisher.run())
        try:
            yield publisher
        finally:
            await end([task])

    async def empty(self, seconds: float = 5.0) -> None:
        """Wait until nothing is left to be published."""

        async def drained() -> bool:
            return (await self.outbox.state()).depth == 0

        await until(drained, seconds=seconds)
