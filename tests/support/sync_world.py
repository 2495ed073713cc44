"""Regions, a broker and agents, whole: what is done at one region is waited for at another.

    async with sync_world(valkey, tmp_path) as world:
        await world.start()
        await world.subscribe("idf")
        async with world.agent("idf"):
            circle = await world.send("POST", "CareTeam", …)
            replica = await world.replica("idf", circle["id"])

Managers are sandboxes in this process, the broker and the agents too; the store is a real Valkey, the change log real Redis
Streams or a real Kafka. The broker may be stopped and started again: managers and topics stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.clock import SystemClock
from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Version
from broker.core import topics
from broker.errors import StoreError
from broker.settings import Settings
from broker.sync.agent import Agent, AgentOptions, backlog
from broker.sync.change_log import ChangeLog, Record
from broker.sync.dead_letters import DeadLetters
from broker.wiring_sync import kafka_log, redis_log, running_agent
from registry.model import REGIONS, Gestionnaire
from registry.redis_connection import connect
from tests.contract.gestionnaire.people import People
from tests.support.federation import Answered, Broker, federation
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import COPY, PUBLIC, REGION, TERRITORY, address, key, send, someone

Json = dict[str, Any]

SEQUENCE = "urn:cds-broker:sequence"
QUICK: dict[str, Any] = {
    "sync": True,
    "public_url": PUBLIC,  # a broker that is started again has another port, and is the same
    "locator": True,
    "locator_poll": 0.1,
    "locator_overlap": 0.5,
    "write_settle": 0.5,
    "probe_interval": 0.5,
}


@dataclass
class SyncWorld:
    """`boxes`: the managers by slug. `given`: settings of every broker that is started.

    `personal`: what says who somebody is, of all people made by `circle`.
    """

    valkey: Valkey
    boxes: dict[str, RunningSandbox]
    managers: Mapping[str, Gestionnaire]
    log: ChangeLog
    given: dict[str, Any]
    running: dict[str, AsyncExitStack]
    _broker: Broker | None = None
    _running: AsyncExitStack | None = None
    personal: set[str] = field(default_factory=set)

    @property
    def broker(self) -> Broker:
        assert self._broker is not None
        return self._broker

    @property
    def prefix(self) -> str:
        return str(self.given["topic_prefix"])

    @property
    def settings(self) -> Settings:
        return Settings.load(auth="none", redis_prefix=self.valkey.keys.prefix, **self.given)

    async def start(self) -> None:
        """The broker, which follows every manager once this returns."""
        self._running = AsyncExitStack()
        made = federation(self.valkey, *self.managers.values(), checked=True, **self.given)
        self._broker = await self._running.enter_async_context(made)
        await until(self._followed, seconds=20)

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.aclose()
        self._running = self._broker = None

    async def stop_manager(self, slug: str) -> None:
        await self.running[slug].aclose()

    async def _followed(self) -> bool:
        async with self.broker.http.get(f"{address(self.broker)}/registry/locator") as response:
            states = [one["state"] for one in (await response.json())["managers"]]
        return len(states) == len(self.managers) and set(states) == {"complete"}

    # --- asking the broker

    async def found(self, circle: Json) -> Json:
        """What a search for a circle's business identifier is answered, whatever its status."""
        first = circle["identifier"][0]
        return (await self.send("GET", f"CareTeam?identifier={first['system']}|{first['value']}")).json

    async def send(
        self, method: str, target: str, body: Json | bytes | str | None = None, **headers: str
    ) -> Answered:
        return await send(self.broker, method, target, body, **headers)

    async def made(self, resource: Json, **headers: str) -> Json:
        answered = await self.send("POST", resource["resourceType"], resource, **headers)
        assert answered.status == 201, answered.body
        return answered.json

    async def circle(self, home: str = "bre", name: str = "a") -> Json:
        """A circle of a new person, with a carer's role at a structure; everybody made for it."""
        to, people = {"X_Gestionnaire": home}, People()
        patient = await self.made(someone(people), **to)
        office = await self.made(people.organization(f"Cabinet {people.token}"), **to)
        carer = await self.made(people.practitioner(f"Legoff{people.token}", "Anna"), **to)
        role = await self.made(people.role(key(carer), key(office), "10"), **to)
        sent = people.circle(name, key(patient), [(key(role), "2024-01-10", None)])
        self.personal |= {patient["identifier"][0]["value"], carer["identifier"][0]["value"], people.token}
        return await self.made(sent)

    async def changed(self, circle: Json, **changes: Any) -> Json:
        answered = await self.send("PUT", key(circle), circle | changes)
        assert answered.status == 200, answered.body
        return answered.json

    async def subscribe(self, slug: str, criteria: str = "CareTeam", **channel: Any) -> Json:
        """On the topic of a manager, in full unless `channel` says otherwise; active at once."""
        answered = await self.send("POST", "Subscription", subscription(slug, criteria, **channel))
        assert answered.status == 201, answered.body
        made: Json = answered.json
        assert made["status"] == "active", made
        return made

    # --- a region's agent

    @asynccontextmanager
    async def agent(self, slug: str, options: AgentOptions | None = None) -> AsyncIterator[Agent]:
        """Running until the context ends."""
        stop = asyncio.Event()
        async with running_agent(
            self.log, self.managers[slug], SystemClock(), stop, settings=self.settings, options=options
        ) as agent:
            task = asyncio.create_task(agent.run(stop))
            try:
                yield agent
            finally:
                stop.set()
                await task

    # --- looking at managers

    def here(self, slug: str, resource: Json | str) -> Version | None:
        """A public resource as its home holds it."""
        public = resource if isinstance(resource, str) else key(resource)
        kind, _, name = public.partition("/")
        return self.boxes[slug].store.current(kind, name.partition(".")[2])

    def replicas(self, slug: str, circle_id: str) -> list[Json]:
        """Of a circle (public id) at a manager: all that are there."""
        found = [dict(one.content) for one in self.boxes[slug].store.live("CareTeam").values()]
        return [one for one in found if str(one["meta"].get("source", "")).endswith(f"/CareTeam/{circle_id}")]

    async def replica(self, slug: str, circle_id: str, seconds: float = 15.0, **elements: Any) -> Json:
        """The replica of a circle with such elements, once it is there; there never is a second one."""

        def there() -> bool:
            found = self.replicas(slug, circle_id)
            assert len(found) <= 1, found
            return bool(found) and all(found[0].get(name) == value for name, value in elements.items())

        await until(there, seconds=seconds)
        return self.replicas(slug, circle_id)[0]

    def is_gone(self, slug: str, circle_id: str) -> bool:
        """No replica counts: deleted, or where the manager does not delete, entered in error."""
        return all(one["status"] == "entered-in-error" for one in self.replicas(slug, circle_id))

    def actor(self, slug: str, reference: Json) -> Json:
        """What a reference at a manager leads to, there."""
        kind, _, local = reference["reference"].partition("/")
        version = self.boxes[slug].store.current(kind, local)
        assert version is not None
        assert not version.deleted
        return dict(version.content)

    def versions(self) -> dict[str, int]:
        """How many versions of circles each manager holds: every write leaves one."""
        return {slug: len(box.store.changes("CareTeam")) for slug, box in self.boxes.items()}

    # --- looking at the log

    async def records(self, topic: str) -> list[Record]:
        """Everything in a topic; nothing where there is none."""
        found: list[Record] = []
        try:
            async for batch in self.log.read(topic):
                found += batch.records
        except StoreError as error:
            if error.key != "federation.log-topic":
                raise
        return found

    async def letters(self, slug: str) -> list[Any]:
        return await DeadLetters(self.log, slug, self.prefix).all()

    async def at_rest(self, *slugs: str, seconds: float = 20.0) -> None:
        """Once nothing waits: not in the outbox, and not before these managers' agents."""

        async def rests() -> bool:
            await until(self._published, seconds=seconds)
            left = [await backlog(self.log, slug, self.prefix) for slug in slugs]
            return all(one is not None and one.events == 0 for one in left)

        await until(rests, seconds=seconds)

    async def _published(self) -> bool:
        return await self.waiting() == 0

    async def waiting(self) -> int:
        """Changes in the outbox."""
        client: Any = connect(self.valkey.url)
        try:
            return int(await client.xlen(self.valkey.keys.outbox))
        finally:
            await client.aclose()

    async def settled(self, *slugs: str, quiet: float = 1.0) -> dict[str, int]:
        """The versions at all managers once no manager was written to for `quiet` seconds, with nothing waiting."""
        while True:
            await self.at_rest(*slugs)
            before = self.versions()
            await asyncio.sleep(quiet)  # that nothing happens shows only after a while
            if before == self.versions():
                return before


@asynccontextmanager
async def sync_world(
    valkey: Valkey, *, kafka: str | None = None, regions: int = 3, **given: Any
) -> AsyncIterator[SyncWorld]:
    """`kafka`: `host:port`; None: Redis Streams. Bretagne alone lets delete. The broker is not started yet."""
    async with AsyncExitStack() as stack:
        slugs = list(REGION)[:regions]
        running = {slug: await stack.enter_async_context(AsyncExitStack()) for slug in slugs}
        boxes = {
            slug: await running[slug].enter_async_context(
                running_sandbox(options=SandboxOptions(allow_delete=slug == "bre"))
            )
            for slug in slugs
        }
        managers = {
            slug: Gestionnaire(
                slug,
                f"Gestionnaire {REGIONS[REGION[slug]]}",
                REGION[slug],
                boxes[slug].base_url,
                territory=TERRITORY[slug],
            )
            for slug in slugs
        }
        settings = QUICK | {"topic_prefix": valkey.keys.prefix, "topic_partitions": 3} | given
        if kafka is not None:
            settings["kafka_bootstrap"] = kafka
        log = await _log(valkey, settings, stack)
        world = SyncWorld(valkey, boxes, managers, log, settings, running)
        stack.push_async_callback(world.stop)
        yield world


async def _log(valkey: Valkey, given: dict[str, Any], stack: AsyncExitStack) -> ChangeLog:
    settings = Settings.load(auth="none", redis_prefix=valkey.keys.prefix, **given)
    if settings.kafka_bootstrap is not None:
        log = await asyncio.to_thread(kafka_log, settings, SystemClock())
        stack.push_async_callback(log.close)
        return log
    client = connect(valkey.url)
    stack.push_async_callback(client.aclose)
    return redis_log(settings, SystemClock(), client)


def subscription(slug: str, criteria: str = "CareTeam", **channel: Any) -> Json:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Tenir la région à jour",
        "criteria": criteria,
        "channel": {
            "type": "message",
            "endpoint": f"kafka:{slug}",
            "payload": "application/fhir+json",
            **channel,
        },
    }


def tags_of(resource: Json) -> set[tuple[str | None, str]]:
    return {(tag.get("system"), tag["code"]) for tag in resource["meta"].get("tag", ())}


def is_marked(resource: Json) -> bool:
    return (COPY["system"], COPY["code"]) in tags_of(resource)


def number_of(replica: Json) -> int:
    """Of the change that a replica is the state of."""
    return next(int(code) for system, code in tags_of(replica) if system == SEQUENCE)


def dumped(records: list[Record]) -> bytes:
    """Keys and headers, as one text."""
    return b"\n".join(
        part
        for one in records
        for part in (one.key, *(piece for name, value in one.headers for piece in (name.encode(), value)))
    )


def told_of(records: list[Record], circle_id: str) -> list[Record]:
    return [one for one in records if one.key == circle_id.encode()]


def content_of(record: Record) -> Json:
    assert record.value is not None
    found: Json = orjson.loads(record.value)
    return found


def replication_topic(world: SyncWorld, slug: str) -> str:
    return topics.replication(slug, world.prefix)
