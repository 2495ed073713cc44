"""A little FHIR repository of AuditEvents on a real socket, whose faults are fields."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]


@dataclass
class Repository:
    """`status`: what every request is answered with, 0 to cut the connection. `no_batch`: refuses bundles. `reject`:
    record codes that are refused for good; `later`: refused this time. `lose`: takes what comes, and cuts the
    connection."""

    base_url: str = ""
    status: int = 200
    no_batch: bool = False
    lose: bool = False
    reject: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    events: list[Json] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def records(self) -> list[str]:
        return [record_of(event) for event in self.events]

    async def taken(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        self.headers.append(dict(request.headers))
        resource = json.loads(await request.read())
        if self.status == 0:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if self.status >= 300:
            return web.Response(status=self.status, headers={"Location": "/elsewhere"})
        batch = resource["resourceType"] == "Bundle"
        if batch and self.no_batch:
            return web.Response(status=400)
        events = [one["resource"] for one in resource["entry"]] if batch else [resource]
        statuses = [self._one(event) for event in events]
        if self.lose:
            assert request.transport is not None
            request.transport.close()
        if not batch:
            return web.Response(status=statuses[0])
        answer = {
            "resourceType": "Bundle",
            "type": "batch-response",
            "entry": [{"response": {"status": f"{one} Said"}} for one in statuses],
        }
        return web.json_response(answer, content_type="application/fhir+json")

    def _one(self, event: Json) -> int:
        assert event["resourceType"] == "AuditEvent"
        if record_of(event) in self.reject:
            return 422
        if record_of(event) in self.later:
            return 503
        self.events.append(event)
        return 201


def record_of(event: Json) -> str:
    return str(event["meta"]["tag"][0]["code"])


@asynccontextmanager
async def repository() -> AsyncIterator[Repository]:
    one = Repository()
    app = web.Application(client_max_size=10_000_000)
    app.add_routes([web.post("/fhir", one.taken), web.post("/fhir/AuditEvent", one.taken)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        one.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/fhir"
        yield one
    finally:
        await runner.cleanup()
