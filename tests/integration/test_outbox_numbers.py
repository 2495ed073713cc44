"""Numbers of changes over a store that is started again, or goes on without its last moments: none is given twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest

from broker.core.change_event import Operation
from registry.outbox import RedisOutbox
from registry.outbox_model import CircleChange
from registry.redis_connection import connect
from registry.write_log import RedisWriteLog
from tests.support.valkey import ValkeyServer


@pytest.fixture
async def box(own_valkey: ValkeyServer) -> AsyncIterator[RedisOutbox]:
    client = connect(own_valkey.url)
    yield RedisOutbox(client)
    await client.aclose()


def change(version: int, circle: str = "12") -> CircleChange:
    return CircleChange("bre", circle, str(version), None, Operation.UPDATED)


async def number(box: RedisOutbox, version: int, circle: str = "12") -> int:
    found = await box.enqueue(change(version, circle))
    assert found is not None
    return found


async def test_numbers_begin_anew_where_the_store_was_started_again(
    box: RedisOutbox, own_valkey: ValkeyServer
) -> None:
    first = await number(box, 1)
    assert await number(box, 2) == first + 1
    await asyncio.to_thread(own_valkey.kill)
    await asyncio.to_thread(own_valkey.restart)
    third = await number(box, 3)
    assert third > first + 2
    assert await number(box, 4) == third + 1
    # A circle that it never heard of begins with no smaller one.
    assert await number(box, 1, "13") >= third


async def test_a_number_that_the_store_forgot_is_not_given_again(
    box: RedisOutbox, own_valkey: ValkeyServer
) -> None:
    """It was told: whoever has it would pass over another change of that number."""
    await number(box, 1)
    file = own_valkey.directory / "valkey" / "appendonlydir"
    await asyncio.to_thread(shutil.copytree, file, file.with_name("before"))
    told = [await number(box, version) for version in (2, 3, 4)]
    await asyncio.to_thread(own_valkey.kill)
    await asyncio.to_thread(shutil.rmtree, file)
    file.with_name("before").rename(file)
    await asyncio.to_thread(own_valkey.restart)
    assert await number(box, 5) > max(told)


async def test_a_finished_write_is_numbered_likewise(box: RedisOutbox, own_valkey: ValkeyServer) -> None:
    client = connect(own_valkey.url)
    writes = RedisWriteLog(client)
    try:
        before = await number(box, 1)
        await asyncio.to_thread(own_valkey.kill)
        await asyncio.to_thread(own_valkey.restart)
        await writes.intend("w", b"blob", due=60)
        await writes.finish("w", changes=[change(2)])
        (known,) = await box.numbers("bre", ["12"])
        assert known.number > before + 1
    finally:
        await client.aclose()
