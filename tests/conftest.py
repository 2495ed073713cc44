"""Fixtures that more than one suite uses.

`make test` spreads tests over several processes (pytest-xdist). Each has servers of its own, of which a test may kill
what it brings back: nothing is shared between processes but the processors and the ports (`tests.support.ports`).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from registry.redis_keys import RedisKeys
from tests.support.kafka_server import KafkaServer, kafka_or_skip
from tests.support.valkey import Valkey, ValkeyServer, cluster_of_one

NEEDING = ("node", "guide", "kafka", "hapi", "haproxy", "promtool", "browser", "systemd")
"""Markers of the tests that need more than the machine may have."""


# The first text drawn in a fresh clone makes the tables of Unicode, which takes seconds on a busy machine.
settings.register_profile("house", settings.default, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One real Valkey for the process, started as the broker does. Not to be killed: see `own_valkey`."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Valkey:
    """The shared server, with keys of this test's own."""
    return Valkey(valkey_server.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server of this test's own, to be killed and restarted."""
    server = ValkeyServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[str]:
    """URL of a server in cluster mode."""
    with cluster_of_one() as url:
        yield url


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One real Kafka for the process. A test that kills or pauses it brings it back."""
    server = kafka_or_skip(tmp_path_factory.mktemp("kafka"))
    yield server
    server.stop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among several processes, what needs Kafka comes first, and what needs a server in Node.js next: it falls to one of
    them, and no other starts one."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("kafka", "node")])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Elsewhere a test that lacks what it needs is skipped by name; under `CI=true` that is a failure."""
    report = yield
    needing = any(item.get_closest_marker(name) for name in NEEDING)
    if report.skipped and needing and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: nothing is skipped under CI=true: {_reason(report.longrepr)}"
    return report


def _reason(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
