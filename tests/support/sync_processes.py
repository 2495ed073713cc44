"""Synchronisation as it runs: a broker, an agent, its manager, a store and a Kafka, each a process that can be killed.

Two homes (`bre`, `idf`) let delete and are in the process of the test; `occ` subscribes, and its manager keeps its data
when it is killed. A proxy stands before each manager, and sees what comes.

The broker is `cds-broker serve` in all but one thing: what was killed while it led is no leader any more after a second.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import aiohttp

from adapters.clock import SystemClock
from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from broker.sync.change_log import ChangeLog
from registry.redis_keys import RedisKeys
from tests.support.agent_process import AgentProcess
from tests.support.broker_process import Program, broker_program
from tests.support.faulty_proxy import FaultyProxy, Seen, Stage, faulty_proxy, unwatched
from tests.support.kafka_server import KafkaServer
from tests.support.lasting_manager import lasting_manager
from tests.support.logs import opened
from tests.support.sync_servers import SUBSCRIBER, Servers
from tests.support.sync_world import subscription
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until
from tests.support.write_world import PUBLIC, REGION, Managers, Node, client, organization

HOMES = ("bre", "idf")
LEASE = 1.2
ALL = "all of it"
PARTS = {"the worker": "serving http", "the background": "working in the background"}
"""Processes of a broker, and what each says when it has started."""
ROLE = "role"
"""At each home, the id of a carer's role at a structure."""


@dataclass(repr=False)
class SyncSite(Servers):
    """`boxes`: the homes. `manager`: the subscriber's. `log`: a look at Kafka of the test's own."""

    http: aiohttp.ClientSession
    valkey: ValkeyServer
    kafka: KafkaServer
    log: ChangeLog
    prefix: str
    boxes: dict[str, RunningSandbox]
    manager: Program
    broker: Program
    agent: AgentProcess
    proxies: dict[str, FaultyProxy] = field(default_factory=dict)
    agent_runs: bool = False
    restarts: list[int] = field(default_factory=list)
    """Of the store: when, milliseconds since the epoch."""

    said: int = 0
    """How often the process that was killed last had started by then."""

    keys: RedisKeys = field(default_factory=RedisKeys)
    homes: tuple[str, ...] = HOMES

    @property
    def node(self) -> Node:
        return Node(self.http, self.broker.base_url)

    @property
    def managers(self) -> Managers:
        """By their own addresses."""
        addresses = {slug: box.base_url for slug, box in self.boxes.items()}
        return Managers(self.http, addresses | {SUBSCRIBER: self.manager.base_url})

    def when(
        self,
        stage: Stage,
        concerns: Callable[[Seen], bool],
        then: Callable[[], None],
        *,
        after: int = 0,
        at: Iterable[str] = HOMES,
    ) -> asyncio.Event:
        """Do something, once, at the very moment at which one of the requests that it `concerns`, `after` so many of them,
        reaches a stage at some managers. Set then."""
        done, left = asyncio.Event(), after

        def watch(reached: Stage, seen: Seen) -> None:
            nonlocal left
            if reached is not stage or done.is_set() or not concerns(seen):
                return
            if left == 0:
                done.set()
                then()
            left -= 1

        for slug in at:
            self.proxies[slug].watch = watch
        return done

    def unwatched(self) -> None:
        for proxy in self.proxies.values():
            proxy.watch = unwatched

    async def subscribe(self) -> None:
        """Everything, in full, on the subscriber's topic; active at once. An agent applies it from then on."""
        if self.agent_runs:
            return
        answered = await self.node.send("POST", "Subscription", subscription(SUBSCRIBER))
        assert (answered.status, answered.json["status"]) == (201, "active"), answered.body
        await self.agent.start()
        self.agent_runs = True

    # --- harm

    async def start_broker(self) -> None:
        """Again, where it was killed."""
        await self.broker.gone()
        await self.broker.start()

    def kill(self, part: str) -> None:
        """Of the broker: all of it, or one of its processes."""
        if part == ALL:
            self.broker.kill()
        else:
            self.said = self._said(part)
            self.broker.kill_one(PARTS[part])

    async def start_what_was_killed(self, part: str) -> None:
        """A process of several is started again by the broker itself."""
        if part == ALL:
            await self.start_broker()
        else:
            await until(lambda: self._said(part) > self.said, seconds=30.0)

    def _said(self, part: str) -> int:
        """How often that process has started."""
        return sum(PARTS[part] in line for line in self.broker.stderr)

    async def restart_agent(self) -> None:
        """SIGKILL, at once, and the next one."""
        self.agent.kill()
        await self.agent.gone()
        await self.agent.start()

    async def restart_store(self) -> None:
        """SIGKILL, and the same data again; it is synced every second, as an embedded store is."""
        await asyncio.to_thread(self.valkey.kill)
        await self._start_store()

    def remember_store(self) -> None:
        """What its file holds at this instant, for `lose_what_followed`."""
        shutil.copytree(self._store_file, self._store_file.with_name("before"))

    async def lose_what_followed(self) -> None:
        """SIGKILL, and the data of before: so it is where a replica takes over that had not heard of all."""
        await asyncio.to_thread(self.valkey.kill)
        shutil.rmtree(self._store_file)
        self._store_file.with_name("before").rename(self._store_file)
        await self._start_store()

    async def _start_store(self) -> None:
        self.restarts.append(int(SystemClock().now().timestamp() * 1000))
        await asyncio.to_thread(self.valkey.restart)

    @property
    def _store_file(self) -> Path:
        return self.valkey.directory / "valkey" / "appendonlydir"

    async def covered(self) -> None:
        """Wait until the broker follows every manager."""

        async def knows_all() -> bool:
            answered = await self.node.tried("GET", "../registry/locator")
            if answered is None or answered.status != 200:
                return False
            return [one["fresh"] for one in answered.json["managers"]] == [True] * len(REGION)

        await until(knows_all, seconds=30.0)


@asynccontextmanager
async def sync_site(
    directory: Path, kafka: KafkaServer, *, deadline: float = 5.0, background: str = "worker"
) -> AsyncIterator[SyncSite]:
    """Everything runs and the broker follows everybody. Nobody has subscribed yet.

    `deadline`: seconds for a write; for so long, and a little, it is unknown what became of one that was not answered.
    `background`: as `CDS_BACKGROUND`.
    """
    prefix = f"t{uuid.uuid4().hex[:12]}"
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client())
        log = await stack.enter_async_context(opened("kafka", kafka.bootstrap, prefix))
        valkey = ValkeyServer(directory / "store")
        stack.callback(valkey.stop)
        boxes = {
            slug: await stack.enter_async_context(running_sandbox(options=SandboxOptions(allow_delete=True)))
            for slug in HOMES
        }
        file = directory / "gestionnaires.toml"
        manager = lasting_manager(directory / "manager.ndjson")
        agent = AgentProcess(("kafka", kafka.bootstrap, prefix, str(file)))
        broker = _broker(
            file,
            valkey.url,
            directory / "node",
            kafka_bootstrap=kafka.bootstrap,
            topic_prefix=prefix,
            write_deadline=str(deadline),
            background=background,
        )
        site = SyncSite(http, valkey, kafka, log, prefix, boxes, manager, broker, agent)
        for program in (manager, broker):
            stack.push_async_callback(program.gone)
        stack.push_async_callback(agent.close)
        await manager.start()
        addresses = site.managers.addresses
        for slug in REGION:
            site.proxies[slug] = await stack.enter_async_context(faulty_proxy(addresses[slug]))
            await site.managers.put(slug, {"id": "org", **organization(f"org-{slug}")})
        for slug in HOMES:
            await _staffed(site, slug)
        file.write_text(_declared(site.proxies))
        await broker.start()
        await site.covered()
        yield site


async def _staffed(site: SyncSite, slug: str) -> None:
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
    for one in (carer, role):
        await site.managers.put(slug, one)


def _broker(file: Path, redis: str, directory: Path, **settings: str) -> Program:
    made = broker_program(
        file,
        redis,
        directory,
        public_url=PUBLIC,
        topic_partitions="3",
        write_settle="0.4",
        locator_poll="0.25",
        locator_overlap="0.5",
        probe_interval="0.5",
        **settings,
    )
    made.module = "tests.support.sync_processes"
    return made


def _declared(proxies: dict[str, FaultyProxy]) -> str:
    return "\n".join(
        f'[[gestionnaire]]\nid = "{slug}"\nname = "Gestionnaire {slug}"\nregion = "{REGION[slug]}"\n'
        f'base_url = "{proxy.base_url}"\ndialect = "gestionnaire"\ntimeout = 2.0\n'
        for slug, proxy in proxies.items()
    )


def _shorten_leases(stack: ExitStack) -> None:
    """Where the composition root makes it; a test's broker with the usual leases would only be slow."""
    from broker.sync.bootstrap_options import BootstrapOptions
    from broker.sync.options import SyncOptions
    from broker.sync.publisher import Publisher
    from broker.sync.publisher_options import PublisherOptions

    import_module("broker.wiring")
    shortened = {
        "SyncOptions": partial(SyncOptions, lease=LEASE, look=0.25),
        "Publisher": partial(Publisher, options=PublisherOptions(lease=LEASE, margin=0.4)),
        "BootstrapOptions": partial(BootstrapOptions, lease=LEASE, look=0.25),
    }
    parts = [module for name, module in sys.modules.items() if name.startswith("broker.wiring")]
    for name, made in shortened.items():
        for module in [one for one in parts if hasattr(one, name)]:
            stack.enter_context(patch.object(module, name, made))


def _be_the_broker() -> None:
    from broker.__main__ import main

    with ExitStack() as stack:
        _shorten_leases(stack)
        main()


if __name__ == "__main__":
    _be_the_broker()
elif __name__ == "__mp_main__":  # one of its processes
    _shorten_leases(ExitStack())
