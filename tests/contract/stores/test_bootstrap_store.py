"""What the store of bootstraps must do: on a real server and on a cluster."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from broker.errors import StoreError
from registry.bootstrap_model import BootstrapProgress, BootstrapState
from registry.bootstrap_store import RedisBootstrapStore
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys

WHOLE = BootstrapProgress(
    "3.0.ab", BootstrapState.RUNNING, "2026-01-01T00:00:00Z", 5, 4, 1, 9, "manager.timeout", 1.5, 2.5
)


@pytest.fixture(params=("valkey", "valkey-cluster"))
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RedisBootstrapStore]:
    cluster = request.param == "valkey-cluster"
    url = request.getfixturevalue("valkey_cluster" if cluster else "valkey_server")
    client = connect(url if cluster else url.url)
    yield RedisBootstrapStore(client, keys=RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
    await client.aclose()


async def test_only_who_leads_writes(store: RedisBootstrapStore) -> None:
    token = await store.lead("one", seconds=60)
    assert token is not None
    assert await store.lead("two", seconds=60) is None
    assert await store.lead("one", seconds=60) == token
    assert await store.save(token, "s1", "bre", WHOLE)
    assert await store.progress() == {("s1", "bre"): WHOLE}
    await store.lead("one", seconds=0)
    assert not await store.save(token, "s1", "bre", None)
    later = await store.lead("two", seconds=60)
    assert later is not None
    assert later > token
    assert not await store.save(token, "s1", "bre", None)
    assert await store.save(later, "s1", "bre", None)
    assert await store.progress() == {}


async def test_requests_are_counted(store: RedisBootstrapStore) -> None:
    await store.request("s1")
    await store.request("s1")
    await store.request("s2")
    assert await store.requests() == {"s1": 2, "s2": 1}
    await store.forget_request("s1")
    assert await store.requests() == {"s2": 1}


async def test_a_store_that_is_out_says_so() -> None:
    client = connect("redis://127.0.0.1:1")
    store = RedisBootstrapStore(client)
    for call in (
        store.lead("one", seconds=1),
        store.progress(),
        store.save(1, "s", "bre", None),
        store.requests(),
        store.request("s"),
        store.forget_request("s"),
    ):
        with pytest.raises(StoreError):
            await call
    await client.aclose()
