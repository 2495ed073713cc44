"""A federation to run for long: every part a process of its own, as an operator starts it.

Four homes, a region that subscribes (its manager and its agent), a broker of two workers, a store, Kafka, and somebody who
is told by rest-hook. Managers keep what they hold when they are killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from broker.core.hook_address import LOOPBACK
from broker.core.signature import HEADER, is_signed
from broker.sync.change_log import ChangeLog
from registry.redis_keys import RedisKeys
from tests.support.broker_process import Program, broker_program
from tests.support.cli_process import runs
from tests.support.kafka_server import KafkaServer
from tests.support.leak_drive import PAYLOAD_CONTENT, SUBSCRIPTION_SECRET
from tests.support.logs import opened
from tests.support.long_run.manager import manager_program
from tests.support.long_run.processes import descendants
from tests.support.sync_servers import SUBSCRIBER, Servers
from tests.support.sync_world import subscription
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until
from tests.support.write_world import PUBLIC, Managers, Node, client, organization

HOMES = ("bre", "idf", "nor", "pdl")
REGIONS = {"bre": "53", "idf": "11", "nor": "28", "pdl": "52", SUBSCRIBER: "76"}
WORKERS = 2
ROLE = "role"
"""At each home, the id of a carer's role at a structure."""

WRITE_DEADLINE = 5.0
_SECRET = "a-shared-secret-of-some-forty-characters"


@dataclass
class Hook:
    """Who is told by HTTP. `heard`: references of circles, of all notifications; `last`: the number of the last event."""

    heard: set[str] = field(default_factory=set)
    events: int = 0
    last: int = 0
    forged: int = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not is_signed(request.headers.get(HEADER, ""), body, _SECRET, time.time()):
            self.forged += 1
            return web.Response(status=401)
        for one in orjson.loads(body)["entry"][0]["resource"]["parameter"]:
            if one["name"] == "notification-event":
                parts = {part["name"]: part for part in one["part"]}
                self.events += 1
                self.last = max(self.last, int(parts["event-number"]["valueString"]))
                self.heard.add(parts["focus"]["valueReference"]["reference"])
        return web.Response(status=204)


@dataclass(repr=False)
class Site(Servers):
    """`boxes`: the managers' processes. `environment`: what the broker was started with, for other commands."""

    http: aiohttp.ClientSession
    valkey: ValkeyServer
    kafka: KafkaServer
    log: ChangeLog
    prefix: str
    boxes: dict[str, Program]
    broker: Program
    agent: Program
    hook: Hook
    hook_port: int
    keys: RedisKeys = field(default_factory=RedisKeys)
    homes: tuple[str, ...] = HOMES
    restarts: list[int] = field(default_factory=list)

    @property
    def node(self) -> Node:
        return Node(self.http, self.broker.base_url)

    @property
    def managers(self) -> Managers:
        return Managers(self.http, {slug: box.base_url for slug, box in self.boxes.items()})

    @property
    def root(self) -> str:
        """Of the broker, for what is not under `/fhir`."""
        return self.broker.base_url.removesuffix("/fhir")

    @property
    def environment(self) -> Mapping[str, str]:
        return self.broker.environment

    @property
    def pids(self) -> list[int]:
        """Of the broker: whoever was started, however many it has started since."""
        return descendants(self.broker.pid)

    @property
    def roles(self) -> Mapping[int, str]:
        """What a port is, to the broker. The store has none: it is reached by a socket of the file system."""
        named = {_port(self.broker.base_url): "client", self.hook_port: "hook"}
        named |= {_port(box.base_url): "manager" for box in self.boxes.values()}
        return named | {int(self.kafka.bootstrap.rpartition(":")[2]): "kafka"}

    async def figures(self) -> Mapping[str, float]:
        """What `/metrics` tells, added up over labels. Raises aiohttp.ClientError, TimeoutError."""
        patience = aiohttp.ClientTimeout(total=5)
        async with self.http.get(f"{self.root}/metrics", timeout=patience) as answer:
            text = await answer.text()
        told: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                told[one.name] = told.get(one.name, 0.0) + one.value
        return told

    async def settled(self, *, seconds: float = 60.0) -> None:
        """Wait until the broker follows every manager again, and no breaker is open."""

        async def all_is_well() -> bool:
            answered = await self.node.tried("GET", "../registry/locator")
            if answered is None or answered.status != 200:
                return False
            if [one["fresh"] for one in answered.json["managers"]] != [True] * len(REGIONS):
                return False
            told = await self.figures()
            return told.get("cds_manager_breaker_closed") == len(REGIONS)

        async def tried() -> bool:
            try:
                return await all_is_well()
            except (aiohttp.ClientError, TimeoutError):
                return False

        await until(tried, seconds=seconds)

    async def restart(self, slug: str) -> None:
        await self.boxes[slug].gone()
        await self.boxes[slug].start()


@asynccontextmanager
async def site(directory: Path, kafka: KafkaServer) -> AsyncIterator[Site]:
    """Everything runs, the region has subscribed, and the broker follows everybody. However it is left, every process that
    was started here has ended by then."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client())
        log = await stack.enter_async_context(opened("kafka", kafka.bootstrap, prefix))
        valkey = ValkeyServer(directory / "store")
        stack.callback(valkey.stop)
        hook = Hook()
        port = await _listening(hook, stack)
        boxes = {slug: manager_program(directory / f"{slug}.ndjson") for slug in REGIONS}
        file = directory / "gestionnaires.toml"
        broker = _broker(file, valkey.url, directory / "node", kafka.bootstrap, prefix)
        agent = _agent(file, directory, kafka.bootstrap, prefix)
        made = Site(http, valkey, kafka, log, prefix, boxes, broker, agent, hook, port)
        for box in boxes.values():
            stack.push_async_callback(box.gone)
        await asyncio.gather(*(box.start() for box in boxes.values()))
        for slug in REGIONS:
            await _staffed(made, slug)
        file.write_text(_declared(boxes))
        stack.push_async_callback(_ended, broker)
        await broker.start()
        await made.settled()
        await _subscribed(made)
        stack.push_async_callback(agent.gone)
        await agent.start()
        yield made


async def _ended(broker: Program) -> None:
    """It and all that it started: those see that it is gone, and have a while to end."""
    if not broker.runs:
        await broker.gone()
        return
    below = descendants(broker.pid)[1:]
    await broker.gone()
    try:
        await until(lambda: not any(map(runs, below)), seconds=30.0)
    except TimeoutError:
        for pid in filter(runs, below):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise


async def _listening(hook: Hook, stack: AsyncExitStack) -> int:
    app = web.Application()
    app.router.add_post("/hook", hook.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


async def _subscribed(made: Site) -> None:
    endpoint = {
        "type": "rest-hook",
        "endpoint": f"http://127.0.0.1:{made.hook_port}/hook",
        "_payload": {"extension": [{"url": PAYLOAD_CONTENT, "valueCode": "id-only"}]},
        "extension": [{"url": SUBSCRIPTION_SECRET, "valueString": _SECRET}],
    }
    for wanted in (subscription(SUBSCRIBER), subscription(SUBSCRIBER) | {"channel": endpoint}):
        answered = await made.node.send("POST", "Subscription", wanted)
        assert answered.status == 201, answered.body


async def _staffed(made: Site, slug: str) -> None:
    carer = {
        "resourceType": "Practitioner",
        "id": "carer",
        "identifier": [{"system": "https://rpps.esante.gouv.fr", "value": f"rpps-{slug}"}],
        "name": [{"family": "MODÈLE", "given": ["Camille"]}],
    }
    role = {
        "resourceType": "PractitionerRole",
        "id": ROLE,
        "practitioner": {"reference": "Practitioner/carer"},
        "organization": {"reference": "Organization/org"},
    }
    for one in ({"id": "org", **organization(f"org-{slug}")}, carer, role):
        await made.managers.put(slug, one)


def _broker(file: Path, redis: str, directory: Path, kafka: str, prefix: str) -> Program:
    return broker_program(
        file,
        redis,
        directory,
        workers=str(WORKERS),
        public_url=PUBLIC,
        kafka_bootstrap=kafka,
        topic_prefix=prefix,
        topic_partitions="3",
        hook_networks=str(LOOPBACK[0]),
        write_deadline=str(WRITE_DEADLINE),
        write_settle="0.5",
        locator_poll="0.5",
        locator_overlap="2",
        locator_circles="20000",
        probe_interval="1",
        log_requests="false",
    )


def _agent(file: Path, directory: Path, kafka: str, prefix: str) -> Program:
    given = {"kafka_bootstrap": kafka, "topic_prefix": prefix, "data_dir": str(directory / "agent")}
    return Program(
        ("sync", "agent", "--gestionnaire", SUBSCRIBER, "--gestionnaires", str(file)),
        {f"CDS_{name.upper()}": value for name, value in given.items()},
        "manager http",
    )


def _declared(boxes: Mapping[str, Program]) -> str:
    return "\n".join(
        f'[[gestionnaire]]\nid = "{slug}"\nname = "Gestionnaire {slug}"\nregion = "{REGIONS[slug]}"\n'
        f'base_url = "{box.base_url}"\ndialect = "gestionnaire"\ntimeout = 2.0\n'
        for slug, box in boxes.items()
    )


def _port(url: str) -> int:
    return int(url.partition("://")[2].partition("/")[0].rpartition(":")[2])
