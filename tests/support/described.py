"""A broker whose API is tried against its own description, by schemathesis: in a process of its own, over real HTTP.

async with described(valkey, directory) as world:
    report = await tried(world.url, directory, "--phases=coverage")
    assert report.failures == []
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.sandbox.app import RunningSandbox, running_sandbox
from registry.model import REGIONS, TRE_R30, Gestionnaire
from tests.support.entitled import held
from tests.support.federation import Broker, federation
from tests.support.valkey import Valkey

Json = dict[str, Any]

_SUPPORT = Path(__file__).parent
_REGION = {"bre": "53", "nor": "28", "occ": "76"}
_BOUND = 200.0  # seconds after which a run has hung; it takes 20 on a machine with nothing else to do


@dataclass(frozen=True)
class Described:
    broker: Broker
    boxes: Mapping[str, RunningSandbox]

    @property
    def url(self) -> str:
        return self.broker.base_url.removesuffix("/fhir")

    async def subscribe(self) -> None:
        """`nor` subscribes to the circles of `bre`."""
        url, kind = f"{self.broker.base_url}/Subscription", {"Content-Type": "application/fhir+json"}
        async with self.broker.http.post(url, json=_SUBSCRIPTION, headers=kind) as answer:
            assert answer.status == 201, await answer.text()


@asynccontextmanager
async def described(valkey: Valkey, directory: Path, **settings: Any) -> AsyncIterator[Described]:
    """Over three sandboxes, with the index, synchronisation and a trail."""
    given = {
        "locator": True,
        "sync": True,
        "audit": "file",
        "data_dir": directory / "data",
        "locator_poll": 0.5,
        # Whoever tries everything asks often.
        **dict.fromkeys(("limit_rate", "limit_address_rate"), 100_000),
    } | settings
    async with AsyncExitStack() as stack:
        boxes = {slug: await stack.enter_async_context(running_sandbox(held(slug))) for slug in _REGION}
        managers = [
            Gestionnaire(slug, REGIONS[code], code, boxes[slug].base_url) for slug, code in _REGION.items()
        ]
        broker = await stack.enter_async_context(federation(valkey, *managers, checked=True, **given))
        yield Described(broker, boxes)


_SUBSCRIPTION: Json = {
    "resourceType": "Subscription",
    "status": "requested",
    "reason": "Tenir la région à jour",
    "criteria": f"CareTeam?_tag={TRE_R30}|53",
    "channel": {"type": "message", "endpoint": "kafka:nor", "payload": "application/fhir+json"},
}


@dataclass(frozen=True)
class Report:
    """`said`: by the program. `failures`: operation, check, what was wrong. `statuses`: how often each operation was
    answered with each (`GET /registry/…`, as it is described; steps that follow links have a label of their own)."""

    code: int
    said: str
    failures: list[str]
    statuses: Mapping[str, Counter[int]]

    @property
    def cases(self) -> int:
        return sum(of.total() for of in self.statuses.values())


async def tried(
    url: str, directory: Path, *arguments: str, headers: Mapping[str, str] | None = None
) -> Report:
    """Run schemathesis over a broker's description. Everything that it draws is drawn the same each time."""
    events = directory / "events.ndjson"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_SUPPORT / "schemathesis.toml")),
        *("run", f"{url}/registry/openapi.json", "--no-color", "--generation-deterministic", "--no-shrink"),
        *("--continue-on-failure", "--warnings=off", f"--report-ndjson-path={events}"),
        *("--output-sanitize=false", "--output-truncate=false"),
        *(f"--header={name}: {value}" for name, value in (headers or {}).items()),
        *arguments,
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,  # where it keeps what it remembers between runs
        env={
            **os.environ,
            "PYTHONPATH": str(_SUPPORT.parents[1]),
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_BOUND):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return await asyncio.to_thread(_report, process.returncode or 0, said.decode(), events)


def _report(code: int, said: str, events: Path) -> Report:
    failures: list[str] = []
    statuses: dict[str, Counter[int]] = {}
    if not events.exists():
        return Report(code, said, [said], statuses)
    for line in events.read_text(encoding="utf-8").splitlines():
        recorded = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        label = recorded.get("label", "")
        for interaction in recorded.get("interactions", {}).values():
            answer = interaction.get("response")
            if answer is not None:
                statuses.setdefault(label, Counter())[answer["status_code"]] += 1
        failures += [
            f"{label}: {check['name']}: {check.get('failure_info')}"
            for checks in recorded.get("checks", {}).values()
            for check in checks
            if check["status"] != "success"
        ]
    return Report(code, said, failures, statuses)
