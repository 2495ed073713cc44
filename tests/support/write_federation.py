"""A federation to write into: three sandboxes with territories, and a broker over them; made once for a module.

Everybody in it is made by `People`, whose names and identifiers carry a random token: tests share the federation and do not
meet. What a test says about a manager it reads in that manager's own store, not through the broker.

    async with writable(valkey) as world:
        patient = await world.made(people.patient(...))
        answered = await world.send("POST", "CareTeam", people.circle("a", key(patient), []))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Version
from registry.model import REGIONS, Gestionnaire
from registry.redis_connection import connect
from tests.contract.gestionnaire.people import People
from tests.support.federation import Answered, Broker, federation, outcomes_of
from tests.support.valkey import Valkey
from tests.support.waiting import until

Json = dict[str, Any]

PUBLIC = "http://cds.example/fhir"
"""What the broker calls itself in links."""

REGION = {"bre": "53", "idf": "11", "cor": "94"}
TERRITORY = {"bre": ("22", "35"), "idf": ("75",), "cor": ("2A", "2B")}
SLUGS = tuple(REGION)
FHIR_JSON = "application/fhir+json"

COPY = {"system": "urn:cds-broker:copy", "code": "replica"}
"""The tag of a resource that stands at a manager for one of another."""

UNSEEN: dict[str, Any] = {"locator": True, "locator_poll": 3600.0, "locator_freshness": 7200.0}
"""Settings of an index that learns of nothing by itself after its first crawl: what it knows it was told."""


@dataclass(frozen=True)
class Told:
    """One issue of an OperationOutcome: its key, its FHIRPaths, the manager that it names."""

    key: str
    severity: str
    paths: tuple[str, ...]
    slug: str | None
    texts: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """`boxes`: the managers by slug. `people`: a maker of its own for each `People()`, with a token of its own."""

    broker: Broker
    boxes: Mapping[str, RunningSandbox]
    managers: tuple[Gestionnaire, ...]

    async def send(
        self, method: str, target: str, body: Json | str | bytes | None = None, **headers: str
    ) -> Answered:
        """Header names with `_` for `-`."""
        return await send(self.broker, method, target, body, **headers)

    async def made(self, resource: Json, **headers: str) -> Json:
        """A resource that is created (201), as the answer shows it."""
        answered = await self.send("POST", resource["resourceType"], resource, **headers)
        assert answered.status == 201, answered.body
        return answered.json

    async def circle(self, people: People, home: str = "bre", name: str = "a", **changes: Any) -> Json:
        """A circle of a new person at a manager, with one structure of that manager as its member."""
        patient = await self.made(someone(people), X_Gestionnaire=home)
        member = await self.made(people.organization(f"Cabinet {name} {people.token}"), X_Gestionnaire=home)
        sent = people.circle(name, key(patient), [(key(member), "2024-01-10", None)])
        return await self.made(sent | changes)

    async def register(self, manager: Gestionnaire) -> None:
        """One more manager, checked as the others are."""
        await self.broker.running.store.put(manager)
        await self.broker.running.managers.refresh()
        await self.broker.check()

    def held(self, slug: str, kind: str, text: str) -> list[Version]:
        """Every version at a manager with this text in it, in the order in which they were written."""
        return [one for one in self.boxes[slug].store.changes(kind) if text.encode() in one.raw]

    def counted(self, kind: str, text: str) -> dict[str, int]:
        """How many versions with this text each manager holds; those with none left out."""
        found = {slug: len(self.held(slug, kind, text)) for slug in self.boxes}
        return {slug: count for slug, count in found.items() if count}

    def at_home(self, resource: Json) -> Json:
        """A resource as its manager holds it now."""
        slug, _, local = resource["id"].partition(".")
        version = self.boxes[slug].store.current(resource["resourceType"], local)
        assert version is not None
        found: Json = orjson.loads(version.raw)
        return found


def address(broker: Broker) -> str:
    """Where a broker can be reached, whatever it calls itself."""
    return f"http://127.0.0.1:{broker.running.settings.port}"


async def send(
    broker: Broker, method: str, target: str, body: Json | str | bytes | None = None, **headers: str
) -> Answered:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    data = orjson.dumps(body) if isinstance(body, dict) else body
    if data is not None:
        sent.setdefault("Content-Type", FHIR_JSON)
    url = f"{address(broker)}/fhir/{target}".rstrip("/")
    async with broker.http.request(method, url, data=data, headers=sent) as response:
        return Answered(response.status, response.headers, await response.read())


@asynccontextmanager
async def writable(
    valkey: Valkey, *, options: SandboxOptions | None = None, **settings: Any
) -> AsyncIterator[World]:
    """Three managers, all checked, and a broker that names itself `PUBLIC`. `settings`: names of `Settings`."""
    async with AsyncExitStack() as stack:
        boxes = {slug: await stack.enter_async_context(running_sandbox(options=options)) for slug in REGION}
        managers = tuple(
            Gestionnaire(
                slug,
                f"Gestionnaire {REGIONS[region]}",
                region,
                boxes[slug].base_url,
                territory=TERRITORY[slug],
            )
            for slug, region in REGION.items()
        )
        given = {"public_url": PUBLIC} | settings
        broker = await stack.enter_async_context(federation(valkey, *managers, checked=True, **given))
        yield World(broker, boxes, managers)


def someone(people: People, *, family: str = "Riou", **changes: Any) -> Json:
    """A person of Rennes (department 35)."""
    made = people.patient(
        f"{family}{people.token}", "Gaël", "1960-02-03", gender="male", city="Rennes", born_at="Redon"
    )
    return made | changes


def living(resource: Json, postal_code: str | None) -> Json:
    """The same with its address elsewhere; None: without one."""
    kept = {name: value for name, value in resource.items() if name != "address"}
    return kept if postal_code is None else kept | {"address": [{"postalCode": postal_code}]}


def key(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def home_of(resource: Json) -> str:
    return str(resource["id"]).partition(".")[0]


def token(resource: Json) -> str:
    """`system|value` of a resource's first identifier."""
    first = resource["identifier"][0]
    return f"{first['system']}|{first['value']}"


def told(answered: Answered) -> list[Told]:
    """The issues of an answer, whatever holds them."""
    found = []
    for outcome in outcomes_of(answered.json):
        for issue in outcome["issue"]:
            details = issue["details"]
            codes = {coding["system"]: coding["code"] for coding in details["coding"]}
            other = details["_text"]["extension"][0]["extension"]
            texts = [details["text"], *(one["valueString"] for one in other if one["url"] == "content")]
            found.append(
                Told(
                    codes["urn:cds-broker:outcome"],
                    issue["severity"],
                    tuple(issue.get("expression", ())),
                    codes.get("urn:cds-broker:gestionnaire"),
                    tuple(texts),
                )
            )
    return found


def keys_told(answered: Answered) -> list[str]:
    return [one.key for one in told(answered)]


async def covered(broker: Broker) -> None:
    """Wait until the index holds everything of every manager."""

    async def complete() -> bool:
        async with broker.http.get(f"{address(broker)}/registry/locator") as response:
            states = [one["state"] for one in (await response.json())["managers"]]
        return bool(states) and set(states) == {"complete"}

    await until(complete, seconds=20)


async def whole_store(valkey: Valkey) -> bytes:
    """Every key that the broker has in the store, and every value, whatever its kind."""
    client: Any = connect(valkey.url)
    found: list[bytes] = []
    try:
        async for name in client.scan_iter(f"{valkey.keys.prefix}:*"):
            match await client.type(name):
                case b"string":
                    held = [await client.get(name) or b""]
                case b"hash":
                    held = [part for pair in (await client.hgetall(name)).items() for part in pair]
                case b"set":
                    held = list(await client.smembers(name))
                case b"zset":
                    held = await client.zrange(name, 0, -1)
                case b"list":
                    held = await client.lrange(name, 0, -1)
                case b"stream":
                    entries = await client.xrange(name)
                    held = [part for _, fields in entries for pair in fields.items() for part in pair]
                case b"none":
                    held = []  # it expired meanwhile
                case kind:
                    raise AssertionError(f"a kind that is not looked at: {kind!r}")
            found += [name, *held]
    finally:
        await client.aclose()
    return b"\n".join(found)


async def asked_for(broker: Broker, search: str) -> list[str]:
    """Slugs of the managers that a search would be sent to."""
    async with broker.http.post(f"{address(broker)}/registry/plan", json={"search": search}) as response:
        assert response.status == 200, await response.text()
        return [one["id"] for one in (await response.json())["managers"] if one["asked"]]
