"""The whole application over two managers, asked by whoever a test says: what tests of rights are written with.

async with entitled(valkey, monkeypatch) as world:
    answered = await world.ask(Principal("c", scopes=scopes("CareTeam.s")), "GET", "/fhir/CareTeam")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web

from adapters.sandbox.app import RunningSandbox, running_sandbox
from broker import wiring
from broker.core.access.principal import EVERYTHING, Principal
from broker.core.access.touched import Touched
from broker.gateway.fhir_request import TOUCHED
from registry.model import REGIONS, Gestionnaire
from tests.support.access import NOBODY, Callers
from tests.support.federation import Answered, Broker, federation, outcome_codes
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.valkey import Valkey

Json = dict[str, Any]

REGION = {"bre": "53", "occ": "76"}
FHIR_JSON = "application/fhir+json"
FORM = "application/x-www-form-urlencoded"
ALL = Principal("c", scopes=EVERYTHING)


def organization(number: str) -> Json:
    return {
        "resourceType": "Organization",
        "id": number,
        "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"},
        "identifier": [{"system": "urn:test:structures", "value": f"structure {number}"}],
        "name": f"Structure {number}",
    }


def held(slug: str) -> list[Json]:
    """One person with a circle, one structure in it, and one that is not."""
    circle = care_team("c1", subject="Patient/p1", last_updated="2026-01-01T10:00:00Z")
    circle["identifier"] = [{"system": "urn:test:circles", "value": f"circle-{slug}"}]
    circle["participant"] = [{"member": {"reference": "Organization/o1"}, "period": {"start": "2025-01-01"}}]
    return [patient("p1", ins=f"ins-{slug}"), circle, organization("o1"), organization("o2")]


@dataclass
class EntitledWorld:
    broker: Broker
    callers: Callers
    boxes: Mapping[str, RunningSandbox]
    app: web.Application
    touched: list[Touched] = field(default_factory=list)

    async def ask(
        self,
        principal: Principal | None,
        method: str,
        path: str,
        body: Json | str | None = None,
        **headers: str,
    ) -> Answered:
        """`body`: JSON, or a form where it is text. Header names with `_` for `-`. None: whoever shows nothing."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if principal is not None:
            sent |= self.callers.header(principal)
        data: bytes | str | None = None
        if isinstance(body, dict):
            kind = "application/json" if path.startswith("/registry") else FHIR_JSON
            data, sent = orjson.dumps(body), {"Content-Type": kind, **sent}
        elif body is not None:
            data, sent = body, {"Content-Type": FORM, **sent}
        url = f"http://127.0.0.1:{self.broker.running.settings.port}{path}"
        async with self.broker.http.request(method, url, data=data, headers=sent) as answer:
            endless = answer.content_type == "text/event-stream"
            return Answered(answer.status, answer.headers, b"" if endless else await answer.read())


def told(answered: Answered) -> list[str]:
    """Keys of what an answer says went wrong, in an OperationOutcome or in a problem document."""
    body = answered.json
    if "resourceType" in body:
        return [key for key, _ in outcome_codes(body)]
    return [str(body["type"]).partition("#")[2]]


@asynccontextmanager
async def entitled(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[EntitledWorld]:
    """`touched`: of each request in turn, as the audit is told of it."""
    callers, apps, touched = Callers(NOBODY), [], []
    build = wiring.build_app

    @web.middleware
    async def watched(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
            return response
        finally:
            touched.append(request.get(TOUCHED, Touched()))

    def recorded(routes: Any, *, surroundings: Any, **more: Any) -> web.Application:
        apps.append(build(routes, surroundings=[watched, *surroundings], **more))
        return apps[-1]

    monkeypatch.setattr(wiring, "authenticated", callers.authenticated)
    monkeypatch.setattr(wiring, "build_app", recorded)
    async with AsyncExitStack() as stack:
        boxes = {slug: await stack.enter_async_context(running_sandbox(held(slug))) for slug in REGION}
        managers = [
            Gestionnaire(slug, REGIONS[code], code, boxes[slug].base_url, territory=())
            for slug, code in REGION.items()
        ]
        # Whoever tries everything asks often.
        unhurried = {"limit_rate": 100_000, "limit_address_rate": 100_000}
        given = {"locator": True, "sync": True, "locator_poll": 0.2} | unhurried | settings
        broker = await stack.enter_async_context(federation(valkey, *managers, checked=True, **given))
        yield EntitledWorld(broker, callers, boxes, apps[0], touched)


__all__ = ["ALL", "INS_TEST", "EntitledWorld", "entitled", "organization", "told"]
