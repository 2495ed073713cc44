"""`/metrics` of a running broker: it has what the dashboard and the alerts ask for, and counts what was done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from tests.support import monitoring
from tests.support.broker_process import Program, broker_program
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

BOUNDED = {
    "by", "event", "how", "kind", "le", "manager", "method", "outcome", "page", "reason", "route", "sink", "state",
    "status",
}  # fmt: skip
"""Labels that may be: none of them has a value that a client can make up."""


@dataclass
class Running:
    program: Program
    http: aiohttp.ClientSession

    async def families(self) -> list[Metric]:
        async with self.http.get(self.program.base_url.replace("/fhir", "/metrics")) as answer:
            assert answer.status == 200
            return list(text_string_to_metric_families(await answer.text()))

    async def value(self, name: str, **labels: str) -> float:
        """Sum of the samples with these labels."""
        samples = [sample for family in await self.families() for sample in family.samples]
        found = [one for one in samples if one.name == name and labels.items() <= one.labels.items()]
        return sum(one.value for one in found)

    async def get(self, path: str) -> int:
        async with self.http.get(f"{self.program.base_url}/{path}") as answer:
            await answer.read()
            return answer.status


@asynccontextmanager
async def broker(directory: Path, valkey: ValkeyServer) -> AsyncIterator[Running]:
    """Over one region that answers and one that does not, and with an audit repository that is away."""
    async with running_sandbox(seed_region("53", 3, clock=SystemClock())) as box:
        file = directory / "g.toml"
        file.write_text(
            f'[[gestionnaire]]\nid = "bre"\nname = "bre"\nregion = "53"\nbase_url = "{box.base_url}"\n'
            '[[gestionnaire]]\nid = "nor"\nname = "nor"\nregion = "28"\nbase_url = "http://127.0.0.1:9/fhir"\n'
        )
        away = {"audit": "file,fhir", "audit_url": "http://127.0.0.1:9/fhir"}
        program = broker_program(file, valkey.url, directory, **away)
        await program.start()
        try:
            async with aiohttp.ClientSession() as http:
                yield Running(program, http)
        finally:
            await program.gone()


def series(family: Metric) -> set[str]:
    """Names under which Prometheus stores what a family has, or will have once there is a first sample."""
    suffixes = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_count", "_sum"),
        "gauge": ("",),
    }.get(family.type, ("",))
    return {family.name + suffix for suffix in suffixes} | {one.name for one in family.samples}


async def test_what_the_dashboard_and_the_alerts_ask_for_is_there(
    tmp_path: Path, own_valkey: ValkeyServer
) -> None:
    wanted = monitoring.names()
    assert len(wanted) > 40
    async with broker(tmp_path, own_valkey) as running:
        missing = set(wanted)

        async def all_there() -> bool:
            missing.intersection_update(
                wanted - {name for family in await running.families() for name in series(family)}
            )
            return not missing

        try:
            await until(all_there, seconds=40)
        except TimeoutError:
            pytest.fail(f"not in /metrics: {sorted(missing)}")
        for path in ("CareTeam", "CareTeam/bre.none", "Nothing"):
            await running.get(path)
        shown = {
            (sample.name, label)
            for family in await running.families()
            for sample in family.samples
            for label in sample.labels
        }
        named = {name for name, _ in shown}
        assert {one for one in monitoring.labels() if one[0] in named} <= shown
        assert {label for name, label in shown if name.startswith("cds_")} <= BOUNDED


async def test_it_counts_what_was_done(tmp_path: Path, own_valkey: ValkeyServer) -> None:
    async with broker(tmp_path, own_valkey) as running:
        before = {name: await running.value(name) for name in ("cds_search_pages_total",)}
        assert before == {"cds_search_pages_total": 0}
        for _ in range(3):
            assert await running.get("CareTeam?_count=1") == 200
        assert await running.get("CareTeam/bre.none") == 404
        assert await running.get("no/such/path/at/all") == 404
        value = running.value
        asked = {"route": "/fhir/{type}", "method": "GET", "status": "200"}
        assert await value("cds_requests_total", **asked) == 3
        assert await value("cds_request_seconds_count", route="/fhir/{type}") == 3
        assert await value("cds_requests_total", route="-", status="404") == 1
        assert await value("cds_requests_refused_total", reason="request.not-found") >= 1
        assert await value("cds_requests_recognised_total", how="none") >= 4
        assert await value("cds_search_pages_total", page="first") == 3
        assert await value("cds_search_managers_total", outcome="asked") == 6
        assert await value("cds_search_partial_total") == 3
        assert await value("cds_search_matches_total") == 3
        assert await value("cds_search_fan_out_sum") == 6
        assert 0 < await value("cds_search_merge_seconds_sum") < 3
        assert await value("cds_cursors_total", event="saved") >= 3
        assert await value("cds_manager_requests_total", manager="bre", kind="ok") >= 3
        assert await value("cds_manager_requests_total", manager="nor", kind="unreachable") >= 1
        assert await value("cds_manager_requests_total", manager="nor", kind="ok") == 0
        assert await value("cds_manager_seconds_count", manager="bre") >= 3
        assert await value("cds_manager_breaker_opened_total", manager="nor") >= 1
        assert await value("cds_manager_breaker_opened_total", manager="bre") == 0
