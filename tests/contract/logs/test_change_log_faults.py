"""What a change log must do when its server is killed, frozen, or not there yet."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from broker.errors import StoreError
from tests.contract.logs.test_change_log import change, values
from tests.support.kafka_server import KafkaServer
from tests.support.logs import BOUND, World, all_of, take
from tests.support.valkey import ValkeyServer

SLACK = 2.0
"""Seconds that a busy machine may add to a bound."""


async def fails_within(seconds: float, world: World, topic: str, value: str) -> None:
    begun = time.monotonic()
    with pytest.raises(StoreError) as caught:
        await world.log.publish(change(topic, "k", value))
    assert caught.value.key == "federation.log"
    assert time.monotonic() - begun < seconds


async def test_killed_and_back(mortal: World) -> None:
    """Acknowledged means kept; nothing crashes while it is away; everything goes on by itself when it is back."""
    assert mortal.server is not None
    await mortal.open()
    try:
        topic = await mortal.topic()
        async with mortal.log.consumer(topic, "g") as consumer:
            await mortal.log.publish(change(topic, "k", "first"))
            assert values(await take(consumer, 1)) == ["first"]
            await mortal.log.publish_many([change(topic, "k", f"kept{number}") for number in range(20)])
            mortal.server.kill()
            waiting = asyncio.create_task(take(consumer, 20, commit=False, seconds=40))
            await fails_within(BOUND + SLACK, mortal, topic, "away")
            with pytest.raises(StoreError):
                await mortal.log.lag(topic, "g")
            late = await mortal.another()  # a node that starts while the log is away
            with pytest.raises(StoreError):
                await late.publish(change(topic, "k", "away"))
            await asyncio.to_thread(mortal.server.restart)
            kept = [f"kept{number}" for number in range(20)]
            assert values(await waiting)[:20] == kept

            async def published() -> None:
                try:
                    await late.publish(change(topic, "k", "back"))
                    await mortal.log.publish(change(topic, "k", "last"))
                except StoreError:
                    await published()

            async with asyncio.timeout(20):
                await published()
                seen: list[str] = []
                while "last" not in seen:
                    batch = await anext(consumer)
                    seen += values(list(batch.records))
            assert await consumer.commit(batch.ends)
        stored = values(await all_of(mortal.log.read(topic)))
        assert stored[:21] == ["first", *kept]
        # What failed may have come through later, and nothing else is twice.
        assert set(stored[21:]) <= {"away", "back", "last"}
    finally:
        await mortal.close()


async def test_frozen(mortal: World) -> None:
    """It holds its connections and says nothing: bounded all the same, also with records that wait to be sent."""
    assert isinstance(mortal.server, KafkaServer | ValkeyServer)
    await mortal.open()
    topic = await mortal.topic()
    await mortal.log.publish(change(topic, "k", "first"))
    process = (
        mortal.server.pid if isinstance(mortal.server, KafkaServer) else mortal.server.embedded.server_pid()
    )
    assert process is not None
    os.kill(process, signal.SIGSTOP)
    try:
        await fails_within(BOUND + SLACK, mortal, topic, "pending")
        begun = time.monotonic()
        await mortal.close()
        assert time.monotonic() - begun < 8
    finally:
        os.kill(process, signal.SIGCONT)
    again = World(mortal.kind, mortal.address, prefix=mortal.prefix)
    await again.open()
    async with asyncio.timeout(10):
        await again.log.publish(change(topic, "k", "second"))
    stored = values(await all_of(again.log.read(topic)))
    assert [one for one in stored if one != "pending"] == ["first", "second"]
    await again.close()


async def test_closing_twice_is_closing_once(mortal: World) -> None:
    await mortal.open()
    topic = await mortal.topic()
    await mortal.log.publish(change(topic, "k"))
    async with asyncio.timeout(5):
        await mortal.log.close()
        await mortal.log.close()
        await mortal.close()
