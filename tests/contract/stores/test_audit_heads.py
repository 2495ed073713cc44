"""Heads of the trail: the fake and the store on a real Valkey keep the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker.audit.sink import HeadStore
from broker.core.audit.chain import Head
from broker.errors import StoreError
from registry.audit_heads import RedisAuditHeads
from registry.redis_connection import connect
from tests.support.audit_sinks import FakeHeads
from tests.support.valkey import Valkey, ValkeyServer


@pytest.fixture(params=["fake", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: Valkey) -> AsyncIterator[HeadStore]:
    if request.param == "fake":
        yield FakeHeads()
        return
    client = connect(valkey.url)
    yield RedisAuditHeads(client, keys=valkey.keys)
    await client.aclose()


async def test_the_last_head_of_each_stream_is_kept(store: HeadStore) -> None:
    assert dict(await store.load()) == {}
    await store.save("4f1c22ab-0", Head(3, "a" * 64))
    await store.save("4f1c22ab-1", Head(1, "b" * 64))
    await store.save("4f1c22ab-0", Head(9, "c" * 64))
    assert dict(await store.load()) == {"4f1c22ab-0": Head(9, "c" * 64), "4f1c22ab-1": Head(1, "b" * 64)}


async def test_what_was_lost_is_remembered(store: HeadStore) -> None:
    await store.mourn("4f1c22ab-0", 6, 9)
    assert list(await store.mourned()) == [("4f1c22ab-0", 6, 9)]


async def test_a_store_that_is_away_says_so(own_valkey: ValkeyServer) -> None:
    client = connect(own_valkey.url)
    own_valkey.kill()
    with pytest.raises(StoreError):
        await RedisAuditHeads(client).load()
    await client.aclose()
