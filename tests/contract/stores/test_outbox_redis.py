"""What only the real outbox can show: round trips, a killed server, what it takes, and that it judges as its fake does."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.core.change_event import Operation
from registry.outbox import RedisOutbox
from registry.outbox_model import CircleChange
from registry.ports import Outbox
from registry.redis_connection import connect
from registry.write_log import RedisWriteLog
from tests.contract.stores.test_write_log_redis import calls
from tests.support.fake_outbox import FakeOutbox
from tests.support.valkey import Valkey, ValkeyServer

AT = "2026-01-01T10:00:00.123Z"


def change(number: int, version: str = "1") -> CircleChange:
    return CircleChange("bre", str(number), version, AT, Operation.UPDATED)


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url)
    yield client
    await client.aclose()


async def test_every_step_is_one_exchange(own_valkey: ValkeyServer) -> None:
    client = connect(own_valkey.url)
    box, log = RedisOutbox(client), RedisWriteLog(client)

    async def every_step(start: int) -> None:
        assert await box.enqueue(change(start)) is not None
        many = [change(number) for number in range(start + 1, start + 200)]
        assert None not in await box.enqueue_many(many, since="2025-01-01T00:00:00Z")
        token = await box.lead("one", seconds=30)
        assert token is not None
        found = await box.peek(token, after=None, limit=500)
        assert found is not None
        assert await box.remove(token, [one.place for one in found])
        assert (await box.state()).depth == 0
        await box.tidy("bre", 0, older=1e9)
        assert await log.intend(f"w{start}", b"blob", due=60)
        assert await log.finish(f"w{start}", changes=[change(start, "2"), change(start + 1, "2")])

    await every_step(0)
    before = await calls(client)
    await every_step(1000)
    assert await calls(client) - before == 9
    await client.aclose()


async def test_what_was_put_there_survives_a_killed_server(own_valkey: ValkeyServer) -> None:
    client = connect(own_valkey.url)
    box, log = RedisOutbox(client), RedisWriteLog(client)
    await box.enqueue(change(1))
    await log.intend("w1", b"blob", due=60)
    await log.finish("w1", changes=[change(1, "2")])
    own_valkey.kill()
    own_valkey.restart()
    await client.aclose()
    client = connect(own_valkey.url)
    box = RedisOutbox(client)
    assert await box.enqueue(change(1, "2")) is None
    token = await box.lead("one", seconds=30)
    assert token is not None
    found = await box.peek(token, after=None, limit=10)
    assert found is not None
    assert [one.change for one in found] == [change(1), change(1, "2")]
    await client.aclose()


async def test_what_a_circle_and_a_waiting_change_take(own_valkey: ValkeyServer) -> None:
    """As the module says, of a manager with few circles that changed."""
    client: Any = connect(own_valkey.url)
    box = RedisOutbox(client)
    circles = 20_000
    before = (await client.info("memory"))["used_memory"]
    for start in range(0, circles, 2000):
        many = [change(number) for number in range(start, start + 2000)]
        await box.enqueue_many(many, since="2025-01-01T00:00:00Z")
    taken = (await client.info("memory"))["used_memory"] - before
    waiting = await client.memory_usage("cds:{writes}:outbox", samples=0)
    assert waiting / circles < 80
    assert (taken - waiting) / circles < 80
    token = await box.lead("one", seconds=30)
    assert token is not None
    place = None
    while found := await box.peek(token, after=place, limit=2000):
        place = found[-1].place
        await box.remove(token, [one.place for one in found])
    assert await client.memory_usage("cds:{writes}:outbox", samples=0) < 20_000, "what is published is freed"
    await client.aclose()


async def test_nothing_of_a_person_is_kept(client: Any, valkey: Valkey) -> None:
    box = RedisOutbox(client, keys=valkey.keys)
    await box.enqueue_many([change(1)], since="2025-01-01T00:00:00Z")
    kinds = {key.decode().split("}")[1] async for key in client.scan_iter(match=f"{valkey.keys.prefix}:*")}
    assert {kind.split(":")[1] for kind in kinds} == {"outbox", "circles"}
    ((_, fields),) = await client.xrange(valkey.keys.outbox)
    assert set(fields) == {b"m", b"i", b"v", b"t", b"o", b"s"}


@pytest.mark.parametrize("seed", range(12))
async def test_it_judges_as_its_fake_does(client: Any, valkey: Valkey, seed: int) -> None:
    """Changes in any order, again and again, by numbers, texts and neither, with instants fine and coarse."""
    dice = random.Random(seed)
    real, fake = RedisOutbox(client, keys=valkey.keys), FakeOutbox()
    versions = [None, "1", "2", "3", "10", "a", "b", "c", "01", "12345678901234567890"]
    instants = [
        None,
        *(f"2026-01-01T10:00:0{second}{part}Z" for second in "123" for part in ("", ".250", ".75")),
    ]
    operations = [Operation.UPDATED] * 4 + [Operation.DELETED]
    for _ in range(300):
        told = CircleChange(
            dice.choice(("bre", "occ")),
            dice.choice("xy"),
            dice.choice(versions),
            dice.choice(instants),
            dice.choice(operations),
        )
        if dice.random() < 0.5:
            since = dice.choice(instants[1:])
            expected = [one is not None for one in await fake.enqueue_many([told], since=since)]
            assert [one is not None for one in await real.enqueue_many([told], since=since)] == expected, told
        else:
            expected = [await fake.enqueue(told) is not None]
            assert [await real.enqueue(told) is not None] == expected, told
    assert await everything(real) == await everything(fake)


async def everything(box: Outbox) -> list[CircleChange]:
    token = await box.lead("one", seconds=60)
    assert token is not None
    found = await box.peek(token, after=None, limit=1000)
    assert found
    return [one.change for one in found]


async def test_a_change_that_was_put_there_before_there_were_traces_is_read(
    client: Any, valkey: Valkey
) -> None:
    box = RedisOutbox(client, keys=valkey.keys)
    fields = {"m": "bre", "i": "1", "v": "2", "t": AT, "o": "updated", "s": "1767225600007"}
    await client.xadd(valkey.keys.outbox, fields)
    token = await box.lead("one", seconds=30)
    assert token is not None
    found = await box.peek(token, after=None, limit=10)
    assert found is not None
    assert [(one.change, one.change.trace, one.sequence) for one in found] == [
        (change(1, "2"), None, 1767225600007)
    ]
