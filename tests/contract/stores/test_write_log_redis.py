"""What only the real write log can show: round trips, calls that arrive twice, a server that forgot its scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from registry import write_scripts as scripts
from registry.idempotency_store import RedisIdempotencyStore
from registry.redis_connection import connect
from registry.redis_script import RedisScript
from registry.write_log import RedisWriteLog
from registry.write_model import Fresh
from tests.support.valkey import Valkey, ValkeyServer

ALICE, BRUNO = b"a" * 16, b"b" * 16


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url)
    yield client
    await client.aclose()


async def calls(client: Any) -> int:
    """Scripts that the server was asked to run so far, by hash or as text."""
    stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


async def test_every_step_is_one_exchange(own_valkey: ValkeyServer) -> None:
    client = connect(own_valkey.url)
    log, keys = RedisWriteLog(client), RedisIdempotencyStore(client)

    async def every_step() -> None:
        token = await log.claim([ALICE, BRUNO], seconds=30)
        assert isinstance(token, int)
        assert await log.intend("w1", b"blob", names=[ALICE, BRUNO], token=token, due=0)
        assert len(await log.due(limit=5, lease=0)) == 1
        await log.postpone("w1", seconds=60)
        assert (await log.pending())[0] == 1
        assert await log.finish("w1", names=[ALICE, BRUNO], token=token, result=b"r", keep=60)
        assert await log.look([ALICE]) == (None, b"r")
        assert await keys.begin(b"k", b"f", owner="one", seconds=60) == Fresh()
        await keys.abandon(b"k", "one")
        assert await keys.begin(b"k", b"f", owner="one", seconds=60) == Fresh()
        assert await keys.finish(b"k", "one", b"answer", seconds=60)
        await client.delete("cds:idempotency:" + b"k".hex())

    await every_step()
    before = await calls(client)
    await every_step()
    assert await calls(client) - before == 11
    await client.script_flush()
    await every_step()
    before = await calls(client)
    await every_step()
    assert await calls(client) - before == 11
    await client.aclose()


async def test_a_claim_that_arrives_twice_is_one(client: Any, valkey: Valkey) -> None:
    script = RedisScript(scripts.CLAIM)
    keys = [valkey.keys.write_token, valkey.keys.write_name(ALICE), valkey.keys.write_name(BRUNO)]
    (token,) = await script.run(client, keys, (30_000, b"nonce"))
    assert await script.run(client, keys, (30_000, b"nonce")) == [token]
    assert await script.run(client, keys[:2], (30_000, b"other")) == [token, b""]
    log = RedisWriteLog(client, keys=valkey.keys)
    assert await log.intend("w1", b"", names=[ALICE, BRUNO], token=int(token), due=60)
    assert await script.run(client, keys, (30_000, b"nonce")) == [token, b"w1"], "too late to be a repetition"


async def test_tokens_grow_though_the_servers_clock_went_back(client: Any, valkey: Valkey) -> None:
    log = RedisWriteLog(client, keys=valkey.keys)
    ahead = 4_000_000_000_000_000  # a hundred years off
    await client.set(valkey.keys.write_token, ahead)
    assert [await log.claim([name], seconds=30) for name in (ALICE, BRUNO)] == [ahead + 1, ahead + 2]
    assert (await log.look([BRUNO]))[0] == ahead + 2


async def test_names_that_contain_one_another_are_told_apart(client: Any, valkey: Valkey) -> None:
    log = RedisWriteLog(client, keys=valkey.keys)
    long = b"\x11" * 16
    assert await log.intend("w1", b"", names=[long[:8]], due=60)
    assert await log.finish("w1", names=[long])
    assert await log.look([long[:8]]) == (None, None)


async def test_an_acknowledged_intent_survives_a_killed_server(own_valkey: ValkeyServer) -> None:
    client = connect(own_valkey.url)
    log = RedisWriteLog(client)
    token = await log.claim([ALICE], seconds=30)
    assert isinstance(token, int)
    assert await log.intend("w1", b"blob", names=[ALICE], token=token, due=0)
    own_valkey.kill()
    own_valkey.restart()
    await client.aclose()
    client = connect(own_valkey.url)
    log = RedisWriteLog(client)
    (told,) = await log.due(limit=5, lease=60)
    assert (told.intent, told.token, told.names, told.blob) == ("w1", token, (ALICE,), b"blob")
    assert await log.look([ALICE]) == (token, None)
    await client.aclose()


async def test_nothing_stays_that_nobody_needs(client: Any, valkey: Valkey) -> None:
    log = RedisWriteLog(client, keys=valkey.keys)
    token = await log.claim([ALICE], seconds=30)
    assert isinstance(token, int)
    await log.intend("w1", b"blob", names=[ALICE], token=token, due=0)
    await log.due(limit=5, lease=60)
    await log.finish("w1", names=[ALICE], token=token)
    left = {key.decode() async for key in client.scan_iter(match=f"{valkey.keys.prefix}:*")}
    assert left == {valkey.keys.write_token}
