"""What the store of conflicts must do: on a real server and on a cluster."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from broker.core.conflict import Conflict
from broker.errors import StoreError
from registry.conflict_ports import KnownConflicts
from registry.conflict_store import RedisConflictStore
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys

ONE = Conflict("aa", (("bre", "1"), ("occ", "2")), 2, 1000.25, 1_000_250, told=5, resolved=1001.5)
OTHER = Conflict("bb", (("bre", "3"), ("bre", "4")), 2, 999.0, 999_000)


@pytest.fixture(params=("valkey", "valkey-cluster"))
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RedisConflictStore]:
    cluster = request.param == "valkey-cluster"
    url = request.getfixturevalue("valkey_cluster" if cluster else "valkey_server")
    client = connect(url if cluster else url.url)
    yield RedisConflictStore(client, keys=RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
    await client.aclose()


async def test_what_is_kept_is_known_the_oldest_first(store: RedisConflictStore) -> None:
    token = await store.lead("one", seconds=60)
    assert token is not None
    assert await store.known() == KnownConflicts()
    assert await store.save(token, [ONE, OTHER], looked=1234.5)
    assert await store.known() == KnownConflicts((OTHER, ONE), 1234.5)
    told = replace(OTHER, told=OTHER.sequence)
    assert await store.save(token, [told], gone=["aa", "never there"])
    assert await store.known() == KnownConflicts((told,), 1234.5)
    assert await store.save(token, looked=1235.0)
    assert (await store.known()).looked == 1235.0


async def test_only_who_leads_writes(store: RedisConflictStore) -> None:
    token = await store.lead("one", seconds=60)
    assert token is not None
    assert await store.lead("two", seconds=60) is None
    assert await store.lead("one", seconds=60) == token
    assert await store.save(token, [ONE], looked=1.0)
    await store.lead("one", seconds=0)
    assert not await store.save(token, [OTHER], gone=["aa"], looked=2.0)
    later = await store.lead("two", seconds=60)
    assert later is not None
    assert later > token
    assert not await store.save(token, [OTHER], gone=["aa"], looked=2.0)
    assert await store.known() == KnownConflicts((ONE,), 1.0)


async def test_many_at_once(store: RedisConflictStore) -> None:
    token = await store.lead("one", seconds=60)
    assert token is not None
    many = [replace(ONE, id=f"{number:016x}", since=float(number)) for number in range(3000)]
    assert await store.save(token, many, looked=1.0)
    assert (await store.known()).conflicts == tuple(many)
    assert await store.save(token, gone=[one.id for one in many])
    assert (await store.known()).conflicts == ()


async def test_a_store_that_is_out_says_so() -> None:
    client = connect("redis://127.0.0.1:1")
    store = RedisConflictStore(client)
    for call in (store.lead("one", seconds=1), store.known(), store.save(1, [ONE])):
        with pytest.raises(StoreError):
            await call
    await client.aclose()
