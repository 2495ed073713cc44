"""The index when its store, its managers or its feeders fail: everything real, HTTP and Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from adapters.clock import SystemClock
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store
from registry.redis_keys import RedisKeys
from tests.support.federation import Broker, federation
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.locator_broker import QUICK, fill, fresh, line, located, write
from tests.support.locator_world import Shifted
from tests.support.recorded_sandbox import Asked, RecordedSandbox, recorded_sandbox
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until

PAGE = 20
"""The largest page that the managers here give."""


@asynccontextmanager
async def managed(count: int, *, ahead: float = 0.0) -> AsyncIterator[RecordedSandbox]:
    """One manager with so many circles, whose clock is so many seconds ahead."""
    store = Store(Shifted(SystemClock(), ahead), SandboxOptions(max_page=PAGE, allow_delete=True))
    fill(store, range(count))
    async with recorded_sandbox(store) as manager:
        yield manager


async def not_asked(broker: Broker, count: int) -> list[int]:
    return [number for number in range(count) if await located(broker, number) != ["bre"]]


async def nobody_is_asked(broker: Broker) -> bool:
    return await located(broker, "nobody") == []


async def test_an_emptied_store_is_filled_again(own_valkey: ValkeyServer) -> None:
    valkey = Valkey(own_valkey.url, RedisKeys())
    async with managed(30) as manager, federation(valkey, manager.gestionnaire(), **QUICK) as broker:
        await fresh(broker)
        redis = Redis.from_url(own_valkey.url)
        keys = [key async for key in redis.scan_iter() if b"registry" not in key]
        assert keys, "the index has keys of its own"
        await redis.delete(*keys)
        assert await located(broker, "nobody") == ["bre"], "nothing is known: everybody is asked"
        await fresh(broker)
        assert await located(broker, "nobody") == []
        assert await not_asked(broker, 30) == []
        await redis.aclose()


async def test_a_store_that_is_restarted(own_valkey: ValkeyServer) -> None:
    valkey = Valkey(own_valkey.url, RedisKeys())
    async with managed(30) as manager, federation(valkey, manager.gestionnaire(), **QUICK) as broker:
        await fresh(broker)
        await asyncio.to_thread(own_valkey.kill)
        write(manager.store, patient("new", ins="insnew"), care_team("new", subject="Patient/new"))
        assert await located(broker, 3) == ["bre"]
        assert await located(broker, "nobody") == ["bre"], "the index is out: everybody is asked"
        await asyncio.to_thread(own_valkey.restart)
        await fresh(broker, seconds=30.0)
        await until(lambda: nobody_is_asked(broker))
        assert await located(broker, "new") == ["bre"]


async def test_a_crawl_that_is_killed_goes_on_without_gap_or_repetition(valkey: Valkey) -> None:
    async with managed(400) as manager:
        manager.status = lambda asked: None if len(manager.pages()) < 8 else 503
        async with federation(valkey, manager.gestionnaire(), **QUICK) as broker:
            await until(lambda: len(manager.pages()) > 8, seconds=20.0)
            assert (await line(broker))["state"] == "crawling"
        first = manager.pages()
        manager.status = lambda _: None
        async with federation(valkey, manager.gestionnaire(), **QUICK) as broker:
            await fresh(broker)
            after = await line(broker)
            assert (after["circles"], after["total"]) == (400, 400)
            assert await not_asked(broker, 400) == []
        again = manager.pages()[len(first) :]
        answered = set(first[:7])
        assert None not in again, "it did not begin at the beginning"
        assert len(answered & set(again)) <= 1, "at most the page that was asked for and not learnt yet"


async def test_two_nodes_never_crawl_the_same_page(valkey: Valkey) -> None:
    async with (
        managed(300) as manager,
        federation(valkey, manager.gestionnaire(), **QUICK) as one,
        federation(valkey, manager.gestionnaire(), **QUICK) as other,
    ):
        await fresh(one)
        await fresh(other)
        crawled = manager.pages()
        assert len(crawled) == len(set(crawled)) > 300 / PAGE
        write(manager.store, patient("new", ins="insnew"), care_team("new", subject="Patient/new"))
        await fresh(other)
        assert await located(one, "new") == await located(other, "new") == ["bre"]


async def test_the_other_node_takes_over(valkey: Valkey) -> None:
    async with managed(30) as manager, federation(valkey, manager.gestionnaire(), **QUICK) as other:
        async with federation(valkey, manager.gestionnaire(), **QUICK) as one:
            await fresh(one)
        write(manager.store, patient("new", ins="insnew"), care_team("new", subject="Patient/new"))
        await fresh(other)
        assert await located(other, "new") == ["bre"]


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
async def test_a_manager_whose_clock_is_wrong_by_an_hour(valkey: Valkey, ahead: float) -> None:
    async with (
        managed(10, ahead=ahead) as manager,
        federation(valkey, manager.gestionnaire(), **QUICK) as broker,
    ):
        await fresh(broker)
        for turn in range(3):
            write(
                manager.store,
                patient(f"n{turn}", ins=f"insn{turn}"),
                care_team(f"n{turn}", subject=f"Patient/n{turn}"),
            )
            manager.store.delete("CareTeam", f"c{turn}")
            await fresh(broker)
            assert await located(broker, f"n{turn}") == ["bre"]
            assert await located(broker, turn) == []


async def test_deleted_and_created_again_over_http(valkey: Valkey) -> None:
    async with managed(3) as manager, federation(valkey, manager.gestionnaire(), **QUICK) as broker:
        await fresh(broker)
        url = f"{manager.base_url}/CareTeam/c1"
        for _ in range(2):
            async with broker.http.delete(url) as response:
                assert response.status == 204
            await fresh(broker)
            assert await located(broker, 1) == []
            circle = care_team("c1", subject="Patient/p1")
            async with broker.http.put(url, json=circle) as response:
                assert response.status in (200, 201)
            await fresh(broker)
            assert await located(broker, 1) == ["bre"]


async def test_a_manager_that_fails_in_the_middle_of_its_crawl(valkey: Valkey) -> None:
    async with managed(200) as manager:
        answers = iter([None] * 6 + [500, 503, 500] + [None] * 4 + [503, 500])

        def status(asked: Asked) -> int | None:
            return next(answers, None) if asked[1].get("_sort") == "_lastUpdated" else None

        manager.status = status
        async with federation(valkey, manager.gestionnaire(), **QUICK) as broker:
            await fresh(broker, seconds=30.0)
            after = await line(broker)
            assert (after["circles"], after["problem"]) == (200, None)
            assert await not_asked(broker, 200) == []
            found = await broker.post("CareTeam/_search", {"patient.identifier": f"{INS_TEST}|ins7"})
            assert found.json["total"] == 1, "a failing crawl opens nobody's breaker"
