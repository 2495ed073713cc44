"""The registry on a real Valkey that is killed and comes back."""

from __future__ import annotations

import asyncio

import pytest

from adapters.clock import SystemClock
from broker.errors import StoreError
from broker.federation.managers import ManagersView
from registry.alias_store import RedisAliasStore
from registry.page_store import RedisCursorStore
from registry.redis_connection import connect
from registry.redis_store import RedisGestionnaireStore
from tests.support.gestionnaires import gestionnaire
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until


async def test_a_killed_store_loses_nothing_and_the_view_recovers(own_valkey: ValkeyServer) -> None:
    client = connect(own_valkey.url, timeout=1)
    store = RedisGestionnaireStore(client, SystemClock())
    aliases = RedisAliasStore(client)
    view = ManagersView(store, SystemClock(), refresh_seconds=60)
    following = asyncio.create_task(view.run())
    try:
        await until(lambda: view.stale_since is None)
        put = await store.put(gestionnaire())
        await aliases.remember({"bre.a": "long"})
        await until(lambda: view.get("bre") == put)

        await asyncio.to_thread(own_valkey.kill)
        with pytest.raises(StoreError):
            await store.all()
        with pytest.raises(StoreError):
            await store.put(gestionnaire(name="Autre"))
        with pytest.raises(StoreError):
            await aliases.resolve("bre.a")
        with pytest.raises(StoreError):
            await RedisCursorStore(client).load("k")
        assert await view.refresh() is False
        assert view.stale_since is not None
        assert view.get("bre") == put  # the last snapshot goes on being served

        await asyncio.to_thread(own_valkey.restart)
        await until(lambda: view.stale_since is None, seconds=10)
        assert await store.get("bre") == put
        assert await aliases.resolve("bre.a") == "long"
        changed = await store.put(gestionnaire(name="Autre"), expected_revision=1)
        await until(lambda: view.get("bre") == changed)
        assert not following.done()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await client.aclose()


async def test_a_change_reaches_every_worker(valkey: Valkey) -> None:
    clients = [connect(valkey.url) for _ in range(3)]
    stores = [RedisGestionnaireStore(client, SystemClock(), keys=valkey.keys) for client in clients]
    views = [ManagersView(store, SystemClock(), refresh_seconds=60) for store in stores]
    following = [asyncio.create_task(view.run()) for view in views]
    try:
        await until(lambda: all(view.stale_since is None for view in views))
        await stores[0].put(gestionnaire())
        await until(lambda: all(view.get("bre") is not None for view in views))
        await stores[1].remove("bre")
        await until(lambda: all(view.get("bre") is None for view in views))
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        for client in clients:
            await client.aclose()


async def test_a_document_that_is_none_of_ours_is_said(valkey: Valkey) -> None:
    client = connect(valkey.url)
    store = RedisGestionnaireStore(client, SystemClock(), keys=valkey.keys)
    await store.put(gestionnaire())
    await client.hset(valkey.keys.declarations, "odd", b'{"gestionnaire": 3}')
    with pytest.raises(StoreError):
        await store.all()
    await client.aclose()
