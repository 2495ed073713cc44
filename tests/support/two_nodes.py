"""Two nodes with one real store: a connection each, and keys of their own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from registry.redis_connection import RedisClient, connect
from registry.redis_keys import RedisKeys
from tests.support.aged_store import age


@dataclass(frozen=True)
class TwoNodes:
    one: RedisClient
    other: RedisClient
    keys: RedisKeys

    async def advance(self, seconds: float) -> None:
        await age(self.one, self.keys, seconds)

    async def lose(self) -> None:
        for key in [key async for key in self.one.scan_iter(match=f"{self.keys.prefix}:*")]:
            await self.one.delete(key)


@asynccontextmanager
async def two_nodes(request: pytest.FixtureRequest) -> AsyncIterator[TwoNodes]:
    """On the server that a fixture with `KINDS` is asked for, "valkey" or "valkey-cluster"."""
    if request.param == "valkey":
        url = request.getfixturevalue("valkey_server").url
    else:
        url = request.getfixturevalue("valkey_cluster")
    nodes = TwoNodes(connect(url), connect(url), RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
    yield nodes
    await nodes.one.aclose()
    await nodes.other.aclose()
