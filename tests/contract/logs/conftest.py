"""Every change log, on its real server, behind one fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.logs import World
from tests.support.valkey import ValkeyServer

KAFKA = pytest.param("kafka", marks=pytest.mark.kafka)


@pytest.fixture(params=[KAFKA, "valkey", "valkey-cluster"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Servers that other tests use too: not to be killed."""
    if request.param == "kafka":
        address = request.getfixturevalue("kafka_server").bootstrap
    elif request.param == "valkey":
        address = request.getfixturevalue("valkey_server").url
    else:
        address = request.getfixturevalue("valkey_cluster")
    one = World(request.param, address)
    await one.open()
    yield one
    await one.close()


@pytest.fixture(params=[KAFKA, "valkey"])
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A server that may be killed and is brought back, with nothing opened yet."""
    if request.param == "kafka":
        kafka = request.getfixturevalue("kafka_server")
        if kafka.existing is not None:
            pytest.skip("CDS_TEST_KAFKA is somebody's: it is not killed")
        yield World("kafka", kafka.bootstrap, kafka)
        if not kafka.runs:
            kafka.restart()
        return
    valkey = ValkeyServer(tmp_path)
    yield World("valkey", valkey.url, valkey)
    valkey.stop()
