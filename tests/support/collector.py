"""A collector of traces: it takes OTLP over HTTP as a real one does, and keeps every span for a test to look at.

async with collector() as taken:
    …CDS_OTEL_ENDPOINT=taken.url…
    span = await taken.span("GET /fhir/{type}")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.waiting import until

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
ERROR = 2


@dataclass(frozen=True)
class Taken:
    """A span as it came. Ids in hexadecimal; `parent`: empty where there is none. `links`: (trace, span)."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]
    failed: bool
    state: str
    start: int
    end: int
    resource: Mapping[str, Any]


@dataclass
class Collector:
    """`bodies`: every request as it came, unpacked. `status`: what it answers; `hold`: it answers once this is set."""

    url: str = ""
    spans: list[Taken] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    status: int = 200
    hold: asyncio.Event | None = None

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # unpacked by the server
        if self.hold is not None:
            await self.hold.wait()
        self.headers.append(dict(request.headers))
        if self.status != 200:
            return web.Response(status=self.status)
        self.bodies.append(body)
        self.spans += spans_of(body)
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    def named(self, *names: str) -> list[Taken]:
        return [one for one in self.spans if one.name in names]

    def of(self, trace: str) -> list[Taken]:
        return [one for one in self.spans if one.trace == trace]

    async def span(self, name: str, count: int = 1) -> Taken:
        """The `count`-th of that name, once it is there."""
        await until(lambda: len(self.named(name)) >= count, seconds=15)
        return self.named(name)[count - 1]


def spans_of(body: bytes) -> list[Taken]:
    asked = ExportTraceServiceRequest.FromString(body)
    return [
        Taken(
            name=one.name,
            kind=KINDS[one.kind],
            trace=one.trace_id.hex(),
            id=one.span_id.hex(),
            parent=one.parent_span_id.hex(),
            attributes=_values(one.attributes),
            links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in one.links),
            failed=one.status.code == ERROR,
            state=one.trace_state,
            start=one.start_time_unix_nano,
            end=one.end_time_unix_nano,
            resource=_values(told.resource.attributes),
        )
        for told in asked.resource_spans
        for scope in told.scope_spans
        for one in scope.spans
    ]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    taken = Collector()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", taken.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        taken.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield taken
    finally:
        if taken.hold is not None:
            taken.hold.set()
        await runner.cleanup()
