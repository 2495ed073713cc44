"""Every store, fake and real, behind one fixture each."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.clock import SystemClock
from registry.alias_store import RedisAliasStore
from registry.page_store import RedisCursorStore
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.redis_store import RedisGestionnaireStore
from registry.session_store import RedisSessions
from tests.support.fake_stores import (
    FakeAliasStore,
    FakeCursorStore,
    FakeGestionnaireStore,
    FakeSessions,
    ManualClock,
)

KINDS = ("fake", "valkey", "valkey-cluster")


@dataclass
class Stores:
    gestionnaires: Any
    cursors: Any
    aliases: Any
    sessions: Any
    advance: Callable[[float], None]


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "fake":
        clock = ManualClock()
        yield Stores(
            FakeGestionnaireStore(clock),
            FakeCursorStore(clock),
            FakeAliasStore(),
            FakeSessions(clock),
            clock.advance,
        )
        return
    if request.param == "valkey":
        url = request.getfixturevalue("valkey_server").url
    else:
        url = request.getfixturevalue("valkey_cluster")
    client = connect(url)
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    yield Stores(
        RedisGestionnaireStore(client, SystemClock(), keys=keys),
        RedisCursorStore(client, keys=keys),
        RedisAliasStore(client, keys=keys),
        RedisSessions(client, keys=keys),
        lambda seconds: None,
    )
    await client.aclose()
