"""Two regions, a broker and an agent, each a process as in operation, for `sync_journey`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from adapters.embedded_valkey import EmbeddedValkey
from broker.settings import Settings
from broker.sync.agent import backlog
from broker.wiring_sync import open_log
from tests.contract.gestionnaire.people import People
from tests.support.broker_process import Program, broker_program, sandbox_program
from tests.support.cli_process import cli
from tests.support.waiting import until

Json = dict[str, Any]

HOME, OTHER = "bre", "idf"
PREFIX = "journey"
PATIENCE = 120.0
FHIR_JSON = "application/fhir+json"

_REGIONS = {HOME: "53", OTHER: "11"}


@dataclass(slots=True)
class Regions:
    """`circles`: by number, as the broker answered them, in public terms."""

    http: aiohttp.ClientSession
    broker: Program
    boxes: Mapping[str, Program]
    processes: dict[str, int]
    log: Settings
    people: People = field(default_factory=People)
    patients: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    circles: dict[int, Json] = field(default_factory=dict)

    async def made(self, resource: Json, **headers: str) -> Json:
        sent = {"Content-Type": FHIR_JSON, "Accept": FHIR_JSON} | headers
        url = f"{self.broker.base_url}/{resource['resourceType']}"
        async with self.http.post(url, data=orjson.dumps(resource), headers=sent) as answer:
            body: Json = await answer.json(content_type=None)
            assert answer.status == 201, body
        return body

    async def get(self, url: str) -> Any:
        async with self.http.get(url, raise_for_status=True) as answer:
            return await answer.json(content_type=None)

    @property
    def port(self) -> int:
        """The broker's."""
        return urlsplit(self.broker.base_url).port or 80

    @property
    def _registry(self) -> str:
        return f"{self.broker.base_url.removesuffix('/fhir')}/registry"

    async def is_followed(self) -> bool:
        managers = (await self.get(f"{self._registry}/locator"))["managers"]
        return len(managers) == len(self.boxes) and all(one["state"] == "complete" for one in managers)

    async def is_at_rest(self) -> bool:
        """Nothing waits in the outbox or before the agent."""
        if (await self.get(f"{self._registry}/synchronisation"))["outbox_depth"]:
            return False
        async with open_log(self.log) as log:
            left = await backlog(log, OTHER, PREFIX)
        return left is not None and left.events == 0

    def circle(self, number: int) -> Json:
        """One that is not made yet, with its first name."""
        roles = [self.roles[(number + step) % len(self.roles)] for step in (0, 1)]
        made = self.people.circle(
            str(number), self.patients[number], [(one, "2024-01-10", None) for one in roles]
        )
        return made | {"name": name_of(number, 0)}


@asynccontextmanager
async def regions_running(directory: Path, kafka: str, kafka_pid: int | None) -> AsyncIterator[Regions]:
    async with AsyncExitStack() as stack:
        valkey = EmbeddedValkey(directory / "journey")
        stack.callback(valkey.stop)
        redis = await asyncio.to_thread(valkey.start)
        boxes = {slug: sandbox_program(region) for slug, region in _REGIONS.items()}
        for box in boxes.values():
            stack.push_async_callback(box.gone)
            await box.start()
        file = directory / "journey.toml"
        file.write_text("\n".join(_declared(slug, box.base_url) for slug, box in boxes.items()))
        settings = {"kafka_bootstrap": kafka, "topic_prefix": PREFIX}
        broker = broker_program(file, redis, directory, **settings)
        stack.push_async_callback(broker.gone)
        await broker.start()
        arguments = ("sync", "agent", "--gestionnaire", OTHER, "--gestionnaires", str(file))
        environment = {f"CDS_{name.upper()}": value for name, value in settings.items()}
        agent = await stack.enter_async_context(cli(*arguments, environment=environment))
        await agent.line("agent of")
        http = await stack.enter_async_context(aiohttp.ClientSession())
        processes = {
            "broker": _pid(broker),
            "agent": agent.process.pid,
            "home": _pid(boxes[HOME]),
            "other": _pid(boxes[OTHER]),
            "Valkey": valkey.server_pid() or 0,
            "Kafka": kafka_pid or 0,
        }
        made = Regions(http, broker, boxes, processes, Settings.load(**settings))
        await until(made.is_followed, seconds=PATIENCE)
        yield made


def _declared(slug: str, base: str) -> str:
    return f'[[gestionnaire]]\nid = "{slug}"\nname = "{slug}"\nregion = "{_REGIONS[slug]}"\nbase_url = "{base}"\n'


def _pid(program: Program) -> int:
    assert program._running is not None
    return program._running.process.pid


def name_of(number: int, change: int) -> str:
    return f"Cercle {number}, changement {change}"


def cpu_used(processes: Mapping[str, int]) -> dict[str, float]:
    """Seconds of CPU time of each so far, user and system (Linux)."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for name, pid in processes.items():
        if pid:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[name] = (int(fields[11]) + int(fields[12])) / ticks
    return found
