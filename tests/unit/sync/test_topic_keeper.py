"""Topics that the broker publishes on: made, checked, made again; and the log tidied by one worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest

from adapters.clock import SystemClock
from broker.errors import BrokerError, ConfigurationError, StoreError
from broker.sync.change_log import ChangeLog, Topic
from broker.sync.tasks import end
from broker.sync.topic_keeper import TopicKeeper
from tests.support.waiting import until

OTHERWISE = ConfigurationError("config.log-topic", topic="t", setting="partitions", expected="6", found="3")
REFUSED = ConfigurationError("config.log-topic-refused", topic="t", reason="x")


@dataclass
class Log:
    """`faults`: what the next attempts to make a topic come to."""

    faults: list[BrokerError] = field(default_factory=list)
    made: dict[str, Topic] = field(default_factory=dict)
    tidied: int = 0

    async def ensure_topic(self, topic: Topic) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.made[topic.name] = topic

    async def topics(self) -> Sequence[str]:
        return list(self.made)

    async def tidy(self) -> None:
        self.tidied += 1


@dataclass
class OneLease:
    taken: bool = False

    async def take(self, name: str, *, seconds: int) -> bool:
        taken, self.taken = self.taken, True
        return not taken

    async def give_back(self, name: str) -> None: ...


def keeper(log: Log, leases: OneLease | None = None, *wanted: str) -> TopicKeeper:
    return TopicKeeper(
        cast("ChangeLog", log), leases or OneLease(), SystemClock(), "cds", 3, 86_400, wanted=lambda: wanted
    )


@asynccontextmanager
async def running(*keepers: TopicKeeper) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one.run()) for one in keepers]
    try:
        yield
    finally:
        await end(tasks)


async def test_the_notification_topic_is_compacted() -> None:
    log = Log()
    one = keeper(log)
    async with running(one):
        await asyncio.wait_for(one.ready(), 5)
    topic = log.made["cds.notifications"]
    assert (topic.partitions, topic.compacted, topic.retention_seconds) == (3, True, 7 * 86_400)


@pytest.mark.parametrize("fault", [StoreError("federation.log"), REFUSED])
async def test_nobody_publishes_before_it_is_there(fault: BrokerError) -> None:
    log = Log([fault, fault])
    one = keeper(log)
    async with running(one):
        await until(lambda: len(log.faults) < 2)
        assert not one._ready.is_set()
        await asyncio.wait_for(one.ready(), 5)
    assert "cds.notifications" in log.made


async def test_one_that_is_otherwise_is_said_and_published_on(caplog: pytest.LogCaptureFixture) -> None:
    one = keeper(Log([OTHERWISE]))
    async with running(one):
        await asyncio.wait_for(one.ready(), 5)
    assert "partitions" in caplog.text


async def test_a_topic_that_is_gone_is_made_again() -> None:
    log = Log()
    async with running(keeper(log, None, "occ")):
        await until(lambda: "cds.replication.occ" in log.made)
    assert log.made["cds.replication.occ"].retention_seconds == 86_400
    assert not log.made["cds.replication.occ"].compacted


async def test_one_worker_tidies() -> None:
    log, leases = Log(), OneLease()
    first, second = keeper(log, leases), keeper(log, leases)
    async with running(first, second):
        await asyncio.gather(first.ready(), second.ready())
        await until(lambda: leases.taken)
        await asyncio.sleep(0.05)  # for the second one to come to it too
    assert log.tidied == 1
