"""Subscriptions whole: routes, store, queues and delivery workers, over a real Valkey, and subscribers' endpoints."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from adapters.clock import SystemClock
from adapters.hook_http import HttpHookClient
from broker.core.backoff import Backoff
from broker.core.change_event import Change, Operation
from broker.core.entry import Entry
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.core.sealing import Sealer
from broker.core.signature import HEADER, is_signed
from broker.errors import StoreError
from broker.gateway.app import SURROUNDINGS, build_app
from broker.gateway.fhir_request import RequestRules
from broker.gateway.subscription_routes import SubscriptionRoutes
from broker.sync.rest_hook import HookOptions, RestHooks
from broker.sync.routing import ChangeRouter, Destinations
from broker.sync.subscriptions import SubscriptionOptions, SubscriptionService
from broker.sync.subscriptions_view import SubscriptionForm, SubscriptionsView
from broker.sync.tasks import end
from registry.hook_queue import RedisHookQueue
from registry.model import Gestionnaire, Registered
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.sent_circles import RedisSentCircles
from registry.subscription_model import QueueBounds
from registry.subscription_store import RedisSubscriptionStore
from tests.support.access import as_local
from tests.support.gestionnaires import gestionnaire

BASE = "https://cds.example/fhir"
SECRET = "a-shared-secret-of-some-forty-characters"
TRE_R30 = "https://mos.esante.gouv.fr/NOS/TRE_R30-RegionOM/FHIR/TRE-R30-RegionOM"
INS_SYSTEM = "urn:oid:1.2.250.1.213.1.4.10"
INS = "160017523497812"

QUICK = HookOptions(
    look=0.1,
    lease=1.0,
    patience=2.0,
    events=Backoff(first=0.02, most=0.1, give_up=60),
    handshake=Backoff(first=0.02, most=0.1, give_up=60),
)


def a_circle(number: int = 12, *, manager: str = "bre", region: str = "53", status: str = "active") -> Entry:
    public = f"{manager}.{number}"
    resource = {
        "resourceType": "CareTeam",
        "id": public,
        "meta": {"versionId": "1", "tag": [{"system": TRE_R30, "code": region}]},
        "status": status,
        "subject": {"reference": f"Patient/{manager}.p{number}"},
    }
    tags = ((TRE_R30, region),)
    return Entry("match", "CareTeam", str(number), public, "1", None, None, tags, orjson.dumps(resource))


def a_patient(number: int = 12, *, manager: str = "bre", ins: str = INS) -> Entry:
    public = f"{manager}.p{number}"
    resource = {
        "resourceType": "Patient",
        "id": public,
        "identifier": [{"system": INS_SYSTEM, "value": ins}],
    }
    return Entry("include", "Patient", f"p{number}", public, "1", None, None, (), orjson.dumps(resource))


def a_change(
    number: int = 12,
    sequence: int = 1,
    *,
    manager: str = "bre",
    region: str = "53",
    operation: Operation = Operation.UPDATED,
) -> Change:
    return Change(
        manager,
        region,
        str(number),
        f"{manager}.{number}",
        str(sequence),
        "2026-01-01T00:00:00Z",
        operation,
        sequence,
    )


def a_subscription(
    endpoint: str = "https://hooks.example/cds",
    criteria: str = "CareTeam?status=active",
    **channel: Any,
) -> dict[str, Any]:
    kind = "message" if endpoint.startswith("kafka:") else "rest-hook"
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Tenir la région à jour",
        "criteria": criteria,
        "channel": {
            "type": kind,
            "endpoint": endpoint,
            "payload": "application/fhir+json",
            **({} if kind == "message" else signing()),
            **channel,
        },
    }


def signing(secret: str = SECRET) -> dict[str, Any]:
    return {"extension": [{"url": "urn:cds-broker:subscription-secret", "valueString": secret}]}


@dataclass
class Subscriber:
    """An endpoint. `status`: what it answers; `delay`: seconds before it does; `gate`: cleared, it answers nothing."""

    url: str = ""
    status: int = 200
    delay: float = 0.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    forged: int = 0
    refused: int = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not is_signed(request.headers.get(HEADER, ""), body, SECRET, SystemClock().now().timestamp()):
            self.forged += 1
        await asyncio.sleep(self.delay)
        if self.status >= 300:
            self.refused += 1
            return web.Response(status=self.status, headers={"Location": "http://127.0.0.1:1/"})
        self.bodies.append(json.loads(body))
        self.headers.append(request.headers)
        await self.gate.wait()
        return web.Response(status=self.status)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [body for body in self.bodies if kind_of(body) == kind]

    @property
    def numbers(self) -> list[int]:
        """Of the events as they came, repeated ones too."""
        return [number for body in self.of("event-notification") for number in numbers_of(body)]

    @property
    def circles(self) -> list[str]:
        """Addresses of the circles told of, in order."""
        return [
            entry["fullUrl"].removeprefix(f"{BASE}/")
            for body in self.of("event-notification")
            for entry in body["entry"][1:]
            if "/CareTeam/" in entry["fullUrl"]
        ]


def parameters_of(body: dict[str, Any]) -> dict[str, Any]:
    status = body["entry"][0]["resource"]["parameter"]
    return {
        one["name"]: next(value for name, value in one.items() if name.startswith("value"))
        for one in status
        if "part" not in one
    }


def kind_of(body: dict[str, Any]) -> str:
    return str(parameters_of(body)["type"])


def numbers_of(body: dict[str, Any]) -> list[int]:
    events = [one for one in body["entry"][0]["resource"]["parameter"] if "part" in one]
    return [
        int(part["valueString"]) for one in events for part in one["part"] if part["name"] == "event-number"
    ]


@asynccontextmanager
async def subscriber() -> AsyncIterator[Subscriber]:
    one = Subscriber()
    one.gate.set()
    app = web.Application()
    app.router.add_post("/hook", one.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield one
    finally:
        one.gate.set()
        await runner.cleanup()


class Managers:
    """`broker.ports.Managers` of a few."""

    def __init__(self, *slugs: str) -> None:
        self._known = {slug: Registered(_manager(slug), 1, "2026-01-01T00:00:00Z") for slug in slugs}

    def all(self) -> Sequence[Registered]:
        return list(self._known.values())

    def get(self, slug: str) -> Registered | None:
        return self._known.get(slug)


def _manager(slug: str) -> Gestionnaire:
    return gestionnaire(slug, base_url=f"https://{slug}.example/fhir")


@dataclass
class Topics:
    """`opened`: slugs. `down`: the log is out."""

    opened: list[str] = field(default_factory=list)
    down: bool = False

    async def open(self, slug: str) -> None:
        if self.down:
            raise StoreError("federation.log")
        self.opened.append(slug)


class _Gone:
    """A store that a dead process does not reach."""

    def __getattr__(self, name: str) -> Any:
        raise StoreError("federation.store")


@dataclass
class Node:
    """One worker of the broker, as far as subscriptions go."""

    url: str
    session: aiohttp.ClientSession
    service: SubscriptionService
    view: SubscriptionsView
    router: ChangeRouter
    hooks: RestHooks
    queue: RedisHookQueue
    topics: Topics
    tasks: list[asyncio.Task[None]]

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """Status, parsed body (None where empty) and headers."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = orjson.dumps(body) if isinstance(body, dict) else body
        if data is not None:
            sent.setdefault("Content-Type", "application/fhir+json")
        async with self.session.request(
            method, f"{self.url}/fhir/{path}", data=data, headers=sent
        ) as response:
            content = await response.read()
            json_like = content and "json" in response.headers["Content-Type"]
            return response.status, orjson.loads(content) if json_like else content, response.headers

    async def subscribe(self, endpoint: str, criteria: str = "CareTeam?status=active", **channel: Any) -> str:
        status, made, _ = await self.ask(
            "POST", "Subscription", a_subscription(endpoint, criteria, **channel)
        )
        assert status == 201, made
        return str(made["id"])

    async def tell(
        self, change: Change, circle: Entry | None = None, actors: Sequence[Entry] = ()
    ) -> Destinations:
        """What the publisher does with a change."""
        if circle is None and change.operation is not Operation.DELETED:
            number = int(change.local_id)
            circle = a_circle(number, manager=change.manager, region=change.region)
            actors = [a_patient(number, manager=change.manager)]
        destinations = await self.router.route(change, circle, actors)
        await self.router.hand_over(change, circle, actors, destinations)
        await self.router.settle(change, destinations)
        return destinations

    async def status_of(self, name: str) -> str:
        _, found, _ = await self.ask("GET", f"Subscription/{name}")
        return str(found["status"])

    async def stop_delivery(self) -> None:
        """As a process that is told to end does."""
        await end([self.tasks[-1]])

    async def kill_delivery(self) -> None:
        """As if the process were gone, whatever it was at: it writes nothing any more."""
        self.hooks.queue = cast("RedisHookQueue", _Gone())
        await end([self.tasks[-1]])


@asynccontextmanager
async def node(
    url: str,
    keys: RedisKeys | None = None,
    *,
    options: HookOptions = QUICK,
    bounds: QueueBounds | None = None,
    allowed: bool = True,
    managers: Sequence[str] = ("bre", "occ"),
    deliver: bool = True,
    limit: int = 1000,
    authenticated: Middleware = as_local,
) -> AsyncIterator[Node]:
    keys = keys or RedisKeys("subs")
    clock = SystemClock()
    client = connect(url)
    sealer = Sealer([b"a secret of the tests"])
    rules = AddressRules(LOOPBACK if allowed else ())
    store = RedisSubscriptionStore(client, sealer, clock, keys=keys)
    queue = RedisHookQueue(client, sealer, clock, keys=keys)
    form = SubscriptionForm(BASE, "cds", clock)
    view = SubscriptionsView(store, form, clock, refresh_seconds=0.5)
    topics = Topics()
    service = SubscriptionService(
        store,
        queue,
        view,
        Managers(*managers),
        form,
        clock,
        topics.open,
        lambda: secrets.token_hex(8),
        lambda: secrets.token_urlsafe(32),
        SubscriptionOptions(limit, rules),
    )
    post = HttpHookClient(rules)
    numbers = itertools.cycle((0.0, 0.5))
    hooks = RestHooks(store, queue, post, form, clock, lambda: next(numbers), options)
    router = ChangeRouter(view, RedisSentCircles(client, keys=keys), queue, BASE, bounds)
    routes = SubscriptionRoutes(service, BASE, RequestRules("test", 5.0), clock)
    runner = web.AppRunner(
        build_app(routes.routes(), surroundings=(*SURROUNDINGS, authenticated), max_request_bytes=256 * 1024)
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await view.refresh()
    work = [view.run(), service.run(0.2), *((hooks.run(),) if deliver else ())]
    tasks = [asyncio.ensure_future(one) for one in work]
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        try:
            yield Node(address, session, service, view, router, hooks, queue, topics, tasks)
        finally:
            await end(tasks)
            await post.aclose()
            await runner.cleanup()
            await client.aclose()
