"""A store that evicts keys is no store for the broker."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from adapters.clock import SystemClock
from broker.errors import ConfigurationError
from broker.wiring_store import MAY_EVICT, StoreWatch
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.store_memory import RedisMemory, StoreMemory, told
from tests.support.federation import federation
from tests.support.valkey import Valkey, ValkeyServer

LIMIT = 200_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    one = ValkeyServer(tmp_path)
    yield one
    one.stop()


def configured(server: ValkeyServer, **settings: Any) -> None:
    with Redis.from_url(server.url) as client:
        for name, value in settings.items():
            client.config_set(name.replace("_", "-"), value)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_the_broker_does_not_start_on_a_store_that_evicts(server: ValkeyServer, policy: str) -> None:
    configured(server, maxmemory=LIMIT, maxmemory_policy=policy)
    with pytest.raises(ConfigurationError) as refused:
        async with federation(Valkey(server.url, RedisKeys("t"))):
            pass
    assert (refused.value.key, refused.value.params) == ("config.store-evicts", {"policy": policy})


async def test_a_store_that_begins_to_evict_shows(server: ValkeyServer, caplog: Any) -> None:
    async with federation(Valkey(server.url, RedisKeys("t"))) as broker:
        root = broker.base_url.removesuffix("/fhir")
        assert (await broker.get(f"{root}/health/ready")).json == {"status": "pass"}
        assert b"cds_store_may_evict 0.0" in (await broker.get(f"{root}/metrics")).body
        watch = StoreWatch(RedisMemory(broker.running.store._client), SystemClock())
        await watch.look()
        assert watch.warnings() == ()
        configured(server, maxmemory=LIMIT, maxmemory_policy="allkeys-lfu")
        with caplog.at_level(logging.WARNING):
            await watch.look()
            await watch.look()
        assert watch.warnings() == (MAY_EVICT,)
        assert [one.message for one in caplog.records].count(
            "the store evicts keys (maxmemory-policy allkeys-lfu): what must not be lost may be lost"
        ) == 1
        configured(server, maxmemory_policy="noeviction")
        await watch.look()
        assert watch.warnings() == ()


async def test_what_was_thrown_away_is_counted(server: ValkeyServer, caplog: Any) -> None:
    client = connect(server.url)
    try:
        watch = StoreWatch(RedisMemory(client), SystemClock())
        await watch.look()
        with Redis.from_url(server.url) as other:
            used = int(other.info("memory")["used_memory"])
            configured(server, maxmemory=used + 2_000_000, maxmemory_policy="allkeys-random")
            for number in range(60):
                other.set(f"ballast:{number}", b"x" * 100_000)
        with caplog.at_level(logging.ERROR):
            await watch.look()
    finally:
        await client.aclose()
    assert watch.seen is not None
    assert watch.seen.evicted > 0
    assert f"the store threw {watch.seen.evicted} keys away" in [one.message for one in caplog.records]


async def test_a_store_without_a_limit_is_warned_about(server: ValkeyServer, caplog: Any) -> None:
    configured(server, maxmemory_policy="allkeys-lru")
    with caplog.at_level(logging.WARNING):
        async with federation(Valkey(server.url, RedisKeys("t"))):
            pass
    assert any("would evict keys if it had a limit" in one.message for one in caplog.records)


async def test_a_store_that_may_not_be_asked_is_taken(server: ValkeyServer) -> None:
    """Managed servers forbid CONFIG; one that forbids INFO too cannot be judged."""
    with Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-info")
    configured(server, maxmemory=LIMIT, maxmemory_policy="allkeys-lru")
    async with federation(Valkey(server.url, RedisKeys("t"))) as broker:
        page = await broker.get(f"{broker.base_url.removesuffix('/fhir')}/metrics")
        assert b"cds_store_may_evict" not in page.body


async def test_a_cluster_is_asked_at_each_of_its_servers(valkey_cluster: str) -> None:
    client = connect(valkey_cluster)
    try:
        assert await RedisMemory(client).look() == StoreMemory("noeviction", limited=False, evicted=0)
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    ("servers", "policy", "may_evict"),
    [
        ([("noeviction", 0)], "noeviction", False),
        ([("noeviction", LIMIT), ("noeviction", LIMIT)], "noeviction", False),
        ([("noeviction", LIMIT), ("allkeys-lru", LIMIT)], "allkeys-lru", True),
        ([("allkeys-lru", 0)], "allkeys-lru", False),
        ([("noeviction", LIMIT), ("allkeys-lru", 0)], "allkeys-lru", False),
        ([], None, False),
    ],
)
def test_one_server_that_evicts_is_enough(
    servers: list[tuple[str, int]], policy: str | None, may_evict: bool
) -> None:
    sections = [{"maxmemory_policy": name, "maxmemory": limit} for name, limit in servers] or [{}]
    found = told(sections, [{"evicted_keys": 2}, {"evicted_keys": 3}])
    assert (found.policy, found.may_evict, found.evicted) == (policy, may_evict, 5)
