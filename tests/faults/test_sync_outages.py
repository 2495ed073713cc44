"""What synchronisation owes when a part of it is away for a while: Kafka, the store, the agent, the subscriber's manager.

Everything is a process of its own, and circles change all the while. After each: what `sync_rest` says.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from broker.sync.agent import backlog
from broker.sync.change_log import Outgoing
from tests.support.faulty_proxy import Stage
from tests.support.kafka_server import KafkaServer
from tests.support.sync_held import held_at
from tests.support.sync_processes import SUBSCRIBER, SyncSite, sync_site
from tests.support.sync_rest import at_rest
from tests.support.sync_told import verified
from tests.support.sync_traffic import Traffic
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180), pytest.mark.kafka]

SEED = os.environ.get("SOAK_SEED") or str(random.randrange(10**6))
ROUNDS = int(os.environ.get("SOAK_ROUNDS") or 20)


def rounds(usual: int) -> pytest.MarkDecorator:
    many = [pytest.mark.soak, pytest.mark.timeout(120 + 40 * ROUNDS)]
    return pytest.mark.parametrize(
        "count", [pytest.param(usual, id="some"), pytest.param(ROUNDS, id="many", marks=many)]
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    tmp_path_factory: pytest.TempPathFactory, kafka_server: KafkaServer
) -> AsyncIterator[SyncSite]:
    async with sync_site(tmp_path_factory.mktemp("outages"), kafka_server) as site:
        yield site
        said = [*site.broker.stderr, *site.agent.stderr]
    assert not [line for line in said if "Traceback" in line], "\n".join(said[-60:])


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: SyncSite) -> SyncSite:
    """The subscriber is in step with both homes."""
    await running.subscribe()
    await at_rest(running)
    return running


@asynccontextmanager
async def changing(site: SyncSite, traffic: Traffic, *, lanes: int = 3) -> AsyncIterator[None]:
    """Circles change all the while; the creations that were not answered come to their end."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(traffic.go_on(stop)) for _ in range(lanes)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
    await traffic.resume()


async def acknowledged(traffic: Traffic, more: int) -> None:
    """Wait until the broker has acknowledged so many more writes."""
    wanted = len(traffic.accepted) + more
    await until(lambda: len(traffic.accepted) >= wanted, seconds=30.0)


async def in_step(site: SyncSite, traffic: Traffic, began: float, *, lost: bool = False) -> None:
    changed = time.monotonic()
    await at_rest(site, seconds=60.0)
    found = await verified(site, traffic.accepted, lost=lost)
    print(
        f"seed {SEED}: {changed - began:.1f} s, at rest {time.monotonic() - changed:.1f} s later; {found}; "
        f"answers {traffic.answers}"
    )


def drawn(site: SyncSite, name: str) -> Traffic:
    return Traffic(site, random.Random(f"{SEED}/{name}"))


@rounds(1)
async def test_kafka_is_killed_and_comes_back(site: SyncSite, count: int) -> None:
    """Writes go on being acknowledged; events wait, then flow."""
    traffic, began = drawn(site, "kafka"), time.monotonic()
    for _ in range(count):
        async with changing(site, traffic):
            await acknowledged(traffic, 3)
            await asyncio.to_thread(site.kafka.kill)
            try:
                await acknowledged(traffic, 10)
                assert all(one is not None and one < 500 for one in traffic.answers), traffic.answers
                with site.redis() as redis:
                    assert redis.xlen(site.keys.outbox) >= 10
            finally:
                await asyncio.to_thread(site.kafka.restart)
    await in_step(site, traffic, began)


@rounds(2)
async def test_the_store_is_killed_and_comes_back(site: SyncSite, count: int) -> None:
    traffic, began = drawn(site, "store"), time.monotonic()
    for _ in range(count):
        async with changing(site, traffic):
            await asyncio.sleep(traffic.dice.uniform(0.2, 0.8))
            await site.restart_store()
            await acknowledged(traffic, 3)
    await in_step(site, traffic, began, lost=True)


@rounds(1)
async def test_a_store_that_lost_its_last_changes(site: SyncSite, count: int) -> None:
    """It was synced a moment ago, or its replica was behind. What was published since bears numbers that are not reused."""
    traffic, began = drawn(site, "lost"), time.monotonic()
    for _ in range(count):
        async with changing(site, traffic):
            await acknowledged(traffic, 10)
        await at_rest(site)
        await asyncio.to_thread(site.remember_store)
        for _ in range(4):
            await traffic.update()
        await at_rest(site)
        await site.lose_what_followed()
        async with changing(site, traffic, lanes=1):
            await acknowledged(traffic, 4)
    await in_step(site, traffic, began, lost=True)


@rounds(3)
async def test_the_agent_is_killed_in_mid_batch(site: SyncSite, count: int) -> None:
    """At an instant at which one of its writes is at its manager, or about to be, or just answered."""
    traffic, began = drawn(site, "agent"), time.monotonic()
    stages = [Stage.CAME, Stage.PASSED, Stage.ANSWERED]
    async with changing(site, traffic):
        for number in range(count):
            killed = site.when(
                stages[number % 3],
                lambda seen: seen.writes,
                site.agent.kill,
                after=traffic.dice.randrange(4),
                at=[SUBSCRIBER],
            )
            async with asyncio.timeout(40.0):
                await killed.wait()
            site.unwatched()
            await site.restart_agent()
    await in_step(site, traffic, began)


@rounds(1)
async def test_the_subscribers_manager_is_away_for_a_while(site: SyncSite, count: int) -> None:
    """It hangs, it is killed, it comes back: it is waited for, and nothing is skipped or put away."""
    traffic, began = drawn(site, "manager"), time.monotonic()
    for _ in range(count):
        async with changing(site, traffic):
            site.manager.send_signal(signal.SIGSTOP)
            await _behind(site, 5)
            site.manager.kill()
            await _behind(site, 15)
            await site.manager.gone()
            await site.manager.start()
    await in_step(site, traffic, began)


async def _behind(site: SyncSite, events: int) -> None:
    async def behind() -> bool:
        left = await backlog(site.log, SUBSCRIBER, site.prefix)
        return left is not None and left.events >= events

    await until(behind, seconds=30.0)


@pytest.mark.soak  # `test_agent_faults` has the same with one agent on both logs
@rounds(1)
async def test_delivered_again_and_out_of_order(site: SyncSite, count: int) -> None:
    """Whatever was told comes again, late, shuffled, across a restart of the agent: nothing is written."""
    traffic, began = drawn(site, "again"), time.monotonic()
    async with changing(site, traffic):
        await acknowledged(traffic, 10)
    await in_step(site, traffic, began)
    before = (await held_at(site, SUBSCRIBER)).versions
    for _ in range(count):
        records = await site.records(site.topic)
        again = [Outgoing(site.topic, one.key, one.value, one.headers) for one in records[-2000:]]
        traffic.dice.shuffle(again)
        await site.log.publish_many(again)
        await site.restart_agent()
        await at_rest(site, seconds=60.0)
        assert (await held_at(site, SUBSCRIBER)).versions == before
    # And among changes that are new.
    async with changing(site, traffic):
        for one in again[:100]:
            await site.log.publish(one)
    await in_step(site, traffic, began)
