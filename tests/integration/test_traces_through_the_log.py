"""One write is one trace, from the client's request over the outbox and the change log to another region's manager."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web

from broker.core.trace_context import TraceContext
from tests.support.collector import Collector, Taken, collector
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.sync_world import SyncWorld, replication_topic, sync_world, told_of
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import key

Json = dict[str, Any]

THEIRS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUIET: Mapping[str, Any] = {"locator_poll": 20.0}
"""So that a write is told of by itself, and not by a look at its manager that came first."""


@dataclass
class Hook:
    """A subscriber's endpoint. `told`: the headers of each notification with an event."""

    url: str = ""
    told: list[Mapping[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        if b"event-notification" in await request.read():
            self.told.append(dict(request.headers))
        return web.Response()


@dataclass
class World:
    """`proxy`: before the manager that has an agent."""

    sync: SyncWorld
    collector: Collector
    proxy: FaultyProxy
    hook: Hook

    async def changed(self, circle: Json, **headers: str) -> Json:
        """A circle is suspended, at its home and, once this returns, at the other region."""
        self.proxy.seen.clear()
        answered = await self.sync.send("PUT", key(circle), circle | {"status": "suspended"}, **headers)
        assert answered.status == 200, answered.body
        await self.sync.replica("idf", circle["id"], status="suspended")
        await until(lambda: bool(self.hook.told), seconds=15)
        await self.sync.at_rest("idf")
        return answered.json

    def told_to_the_manager(self) -> list[TraceContext | None]:
        return [_trace_in(one.raw) for one in self.proxy.seen]

    async def headers(self, circle: Json) -> dict[str, str]:
        """Of the last event of a circle on the other region's topic."""
        records = told_of(await self.sync.records(replication_topic(self.sync, "idf")), circle["id"])
        return {name: value.decode() for name, value in records[-1].headers}


@asynccontextmanager
async def world(valkey: Valkey, engine: str | None, *, traced: bool) -> AsyncIterator[World]:
    """A circle's changes go from Bretagne to Île-de-France, and to a subscriber by HTTP."""
    async with AsyncExitStack() as stack:
        taken = await stack.enter_async_context(collector())
        hook = Hook()
        await stack.enter_async_context(listening(hook))
        given = {"otel_endpoint": taken.url} if traced else {}
        sync = await stack.enter_async_context(sync_world(valkey, kafka=engine, **QUIET, **given))
        proxy = await stack.enter_async_context(faulty_proxy(sync.boxes["idf"].base_url))
        declared = {"idf": msgspec.structs.replace(sync.managers["idf"], base_url=proxy.base_url)}
        sync.managers = {**sync.managers, **declared}
        await sync.start()
        await sync.subscribe("idf")
        await sync.send("POST", "Subscription", by_http(hook.url))
        await stack.enter_async_context(sync.agent("idf"))
        yield World(sync, taken, proxy, hook)


@asynccontextmanager
async def listening(hook: Hook) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/hook", hook.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield
    finally:
        await runner.cleanup()


def by_http(url: str) -> Json:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Suivi",
        "criteria": "CareTeam?status=suspended",
        "channel": {"type": "rest-hook", "endpoint": url},
    }


def _trace_in(request: bytes) -> TraceContext | None:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    found = [line.partition(": ")[2] for line in lines if line.lower().startswith("traceparent:")]
    assert len(found) <= 1
    return TraceContext(found[0]) if found else None


@pytest.fixture(params=["redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def engine(request: pytest.FixtureRequest) -> str | None:
    """`host:port` of a real Kafka; None: Redis Streams."""
    if request.param == "redis":
        return None
    server: Any = request.getfixturevalue("kafka_server")
    return str(server.bootstrap)


async def test_a_write_is_one_trace_up_to_the_other_regions_manager(
    valkey: Valkey, engine: str | None
) -> None:
    async with world(valkey, engine, traced=True) as w:
        circle = await w.sync.circle("bre")
        await w.sync.replica("idf", circle["id"])
        await w.sync.at_rest("idf")
        await w.changed(circle)
        headers = await w.headers(circle)
        asked = w.told_to_the_manager()
        server = await w.collector.span("PUT /fhir/{type}/{id}")
        await until(
            lambda: (
                {"apply change", "post notification"} <= {one.name for one in w.collector.of(server.trace)}
            ),
            seconds=15,
        )
        spans = w.collector.of(server.trace)
    (published,) = of(spans, "publish change")
    assert (published.kind, published.parent, published.links) == ("PRODUCER", server.id, ())
    assert published.attributes["cds.home"] == "bre"
    assert published.attributes["cds.outcome"] == "sent"
    read = [one for one in spans if one.parent == published.id and one.kind == "CLIENT"]
    assert {one.attributes.get("cds.manager") for one in read} >= {"bre"}
    # The event bears the context of what published it, in both forms.
    told = TraceContext(headers["ce_traceparent"])
    assert (told.trace_id, told.span_id) == (server.trace, published.id)
    assert headers["traceparent"] == headers["ce_traceparent"]
    # The agent goes on from there, and its manager with it.
    (applied,) = of(spans, "apply change")
    assert (applied.kind, applied.parent) == ("CONSUMER", published.id)
    assert applied.attributes["cds.outcome"] == "applied"
    assert applied.resource["service.name"] == "cds-broker-agent"
    exchanges = [one for one in spans if one.parent == applied.id]
    assert {one.attributes["cds.manager"] for one in exchanges} == {"idf"}
    assert "PUT CareTeam/{id}" in {one.name for one in exchanges}
    within = [one.span_id for one in asked if one is not None and one.trace_id == server.trace]
    assert {one.id for one in exchanges} <= set(within)
    # So does whoever is told by HTTP.
    (posted,) = of(spans, "post notification")
    assert (posted.kind, posted.parent) == ("CLIENT", published.id)
    heard = TraceContext(w.hook.told[-1]["traceparent"])
    assert (heard.trace_id, heard.span_id) == (server.trace, posted.id)
    assert not any(one.failed for one in spans)


def of(spans: list[Taken], name: str) -> list[Taken]:
    return [one for one in spans if one.name == name]


async def test_without_tracing_a_clients_trace_reaches_the_other_regions_manager(
    valkey: Valkey, engine: str | None
) -> None:
    async with world(valkey, engine, traced=False) as w:
        circle = await w.sync.circle("bre")
        await w.sync.replica("idf", circle["id"])
        await w.sync.at_rest("idf")
        assert not {"traceparent", "ce_traceparent"} & set(await w.headers(circle))
        assert set(w.told_to_the_manager()) == {None}
        await w.changed(circle, traceparent=THEIRS, tracestate="vendor=secret")
        headers = await w.headers(circle)
        assert headers["ce_traceparent"] == headers["traceparent"] == THEIRS
        assert (
            "tracestate" not in headers
        )  # a client's own text: it goes no further than the managers of its request
        assert TraceContext(THEIRS) in w.told_to_the_manager()
        assert w.hook.told[-1]["traceparent"] == THEIRS
        assert "tracestate" not in w.hook.told[-1]
    assert w.collector.bodies == []
