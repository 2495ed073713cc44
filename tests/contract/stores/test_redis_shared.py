"""Readers that share one connection to a real server: each has its own answer, and none takes another's along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.errors import StoreError
from registry.redis_connection import connect
from registry.redis_shared import SharedConnection
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url)
    yield client
    await client.aclose()


async def calls(client: Any, command: str = "mget") -> int:
    stats = await client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_each_has_its_own_values_in_the_order_of_its_keys(client: Any, valkey: Valkey) -> None:
    name = valkey.keys.prefix
    await client.mset({f"{name}{number}": str(number) for number in range(40)})
    reader = SharedConnection(client)
    asked = [[f"{name}{number}", f"{name}0", f"{name}none", f"{name}{number}"] for number in range(40)]
    before = await calls(client)
    answers = await asyncio.gather(*(reader.read(keys) for keys in asked))
    assert answers == [[str(number).encode(), b"0", None, str(number).encode()] for number in range(40)]
    assert await calls(client) - before <= 2  # what was asked in the meantime went together


async def test_whoever_leaves_takes_nobody_along(client: Any, valkey: Valkey) -> None:
    key = valkey.keys.prefix
    await client.set(key, "here")
    reader = SharedConnection(client)
    impatient = asyncio.create_task(reader.read([key]))
    await asyncio.sleep(0)
    patient = asyncio.create_task(reader.read([key]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == [b"here"]
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await reader.read([key]) == [b"here"]


async def test_a_connection_that_the_server_closed_costs_no_failure(client: Any, valkey: Valkey) -> None:
    key = valkey.keys.prefix
    await client.set(key, "here")
    reader = SharedConnection(client)
    assert await reader.read([key]) == [b"here"]
    await client.client_kill_filter(_type="normal", skipme=True)
    assert await reader.read([key]) == [b"here"]


async def test_a_server_that_is_gone_is_said_to_everybody_and_found_again(own_valkey: ValkeyServer) -> None:
    client: Any = connect(own_valkey.url, timeout=0.5)
    reader = SharedConnection(client)
    await client.set("key", "here")
    assert await reader.read(["key"]) == [b"here"]
    own_valkey.kill()
    told = await asyncio.gather(*(reader.read(["key"]) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [StoreError] * 3
    own_valkey.restart()
    await client.set("key", "back")
    assert await reader.read(["key"]) == [b"back"]
    await client.aclose()


async def test_a_server_that_does_not_answer_holds_nobody_for_good(own_valkey: ValkeyServer) -> None:
    client: Any = connect(own_valkey.url, timeout=0.3)
    reader = SharedConnection(client)
    await reader.read(["key"])
    other: Any = connect(own_valkey.url)
    await other.client_pause(1000, all=True)
    with pytest.raises(StoreError):
        await reader.read(["key"])
    await other.client_unpause()
    assert await reader.read(["key"]) == [None]
    await other.aclose()
    await client.aclose()


async def test_nothing_stays_open_where_all_left_and_the_client_was_closed(
    client: Any, valkey: Valkey
) -> None:
    async def connections() -> int:
        return len(await client.client_list())

    before = await connections()
    closed = connect(valkey.url)
    reader = SharedConnection(closed)
    leaving = asyncio.create_task(reader.read([valkey.keys.prefix]))
    await asyncio.sleep(0)  # it asks; its connection is not open yet
    await asyncio.sleep(0)
    leaving.cancel()
    await closed.aclose()

    async def as_before() -> bool:
        return await connections() == before

    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.gather(*(one for one in asyncio.all_tasks() if one.get_name() == "shared connection"))
    await until(as_before)
