"""The agent, a process of its own, under faults: killed in the middle, its manager or its log away, answers lost.

After each, the replicas equal their homes, every change was applied once, and nothing is stuck.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.sandbox.app import RunningSandbox, running_sandbox
from tests.support.agent_process import Rig, held_at, sequences
from tests.support.broker_process import sandbox_program
from tests.support.faulty_proxy import Fault, faulty_proxy
from tests.support.kafka_server import KafkaServer
from tests.support.logs import World
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

KAFKA = pytest.param("kafka", marks=pytest.mark.kafka)
SECONDS = 40.0


@pytest.fixture(params=["valkey", KAFKA])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A log whose server may be killed."""
    server: ValkeyServer | KafkaServer
    if request.param == "kafka":
        server = request.getfixturevalue("kafka_server")
        address = server.bootstrap
    else:
        server = request.getfixturevalue("own_valkey")
        address = server.url
    made = Rig(World(request.param, address, server), tmp_path)
    await made.open()
    yield made
    await made.close()


async def in_step(rig: Rig, box: RunningSandbox) -> None:
    """Wait for it; then see that each change was applied once, and nothing was given up."""
    await until(lambda: rig.home.differences(box.store) == [], seconds=SECONDS)
    await until(rig.settled, seconds=SECONDS)
    assert list(await rig.dead()) == []
    for numbers in sequences(box.store).values():
        assert numbers == sorted(set(numbers))


async def test_killed_again_and_again_in_the_middle(rig: Rig) -> None:
    dice = random.Random(5)
    records = [rig.home.created(n) for n in range(60)]
    records += [rig.home.changed(n) for _ in range(3) for n in range(60)]
    async with running_sandbox() as box:
        await rig.publish(records)
        agent = rig.agent(box.base_url)
        for _ in range(3):
            before = len(box.store.changes("CareTeam"))
            await agent.start()
            wanted = min(before + dice.randrange(1, 45), len(records))
            await until(lambda wanted=wanted: len(box.store.changes("CareTeam")) >= wanted, seconds=SECONDS)
            agent.kill()
            await agent.gone()
        await agent.start()
        await in_step(rig, box)
        assert await agent.stopped() == 0
        assert all(numbers == [1, 2, 3, 4] for numbers in sequences(box.store).values())


async def test_delivered_twice_and_out_of_order_with_restarts(rig: Rig) -> None:
    dice = random.Random(6)
    records = [rig.home.created(n) for n in range(30)]
    records += [rig.home.changed(n) for _ in range(3) for n in range(30)]
    shuffled = records * 2
    dice.shuffle(shuffled)
    async with running_sandbox() as box:
        agent = rig.agent(box.base_url)
        await agent.start()
        for start in range(0, len(shuffled), 120):
            await rig.publish(shuffled[start : start + 120])
            await until(lambda: len(box.store.changes("CareTeam")) > 0, seconds=SECONDS)
            agent.kill()
            await agent.gone()
            await agent.start()
        await in_step(rig, box)
        assert await agent.stopped() == 0


async def test_a_manager_that_hangs_is_waited_for(rig: Rig) -> None:
    manager = sandbox_program("76")
    await manager.start()
    base = manager.base_url
    try:
        agent = rig.agent(base, timeout=0.5)
        await agent.start()
        await rig.publish([rig.home.created(n) for n in range(20)])
        await until(rig.settled, seconds=SECONDS)
        manager.send_signal(signal.SIGSTOP)
        await rig.publish([rig.home.changed(n) for n in range(20)])
        await until(lambda: any("waiting for it" in line for line in agent.stderr), seconds=SECONDS)
        left = await rig.left()
        assert left is not None
        assert left.events == 20
        manager.send_signal(signal.SIGCONT)
        await until(rig.settled, seconds=SECONDS)
        assert any("is back" in line for line in agent.stderr)
        assert rig.home.differences(await held_at(base)) == []
        assert list(await rig.dead()) == []
        assert await agent.stopped() == 0
    finally:
        await manager.gone()


async def test_a_manager_that_is_down_is_waited_for_also_across_a_restart(rig: Rig) -> None:
    async with running_sandbox() as box, faulty_proxy(box.base_url) as proxy:
        agent = rig.agent(proxy.base_url)
        await agent.start()
        await rig.publish([rig.home.created(n) for n in range(20)])
        await until(rig.settled, seconds=SECONDS)
        await proxy.refuse()
        await rig.publish([rig.home.changed(n) for n in range(20)])
        await until(lambda: any("waiting for it" in line for line in agent.stderr), seconds=SECONDS)
        assert await agent.stopped() == 0  # it does not insist on finishing what cannot be finished
        await agent.start()
        await rig.publish([rig.home.changed(n) for n in range(20)])
        await proxy.accept()
        await in_step(rig, box)
        assert await agent.stopped() == 0


async def test_answers_that_are_lost_are_found_out(rig: Rig) -> None:
    """Every fault, at the creation of a circle, at an update, and at the creation of an actor."""
    every = list(Fault)
    async with running_sandbox() as box, faulty_proxy(box.base_url, hold=0.2) as proxy:
        for number, fault in enumerate(every):
            proxy.faults[f'"Cercle c{number}"'] = fault
            proxy.faults[f"Cercle {number}, état 2"] = fault
            proxy.faults[f'"rp-rp{number}"'] = fault
        agent = rig.agent(proxy.base_url, timeout=5.0)
        await agent.start()
        numbers = range(len(every))
        await rig.publish([rig.home.created(n) for n in numbers] + [rig.home.changed(n) for n in numbers])
        await in_step(rig, box)
        assert proxy.faults == {}
        proxy.release.set()
        await proxy.quiet()
        await in_step(rig, box)
        assert await agent.stopped() == 0


async def test_the_log_is_killed_and_comes_back(rig: Rig) -> None:
    server = rig.world.server
    assert server is not None
    async with running_sandbox() as box:
        agent = rig.agent(box.base_url)
        await agent.start()
        await rig.publish([rig.home.created(n) for n in range(40)])
        await until(lambda: len(box.store.changes("CareTeam")) >= 5, seconds=SECONDS)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.restart)
        await rig.publish([rig.home.changed(n) for n in range(40)])
        await in_step(rig, box)
        assert await agent.stopped() == 0
