"""`POST /registry/plan`: who a search asks and why, and never what for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from broker.core.access.principal import Principal
from broker.core.messages import MESSAGES
from broker.core.query import SearchQuery
from broker.core.routing import Plan, plan_search
from broker.core.search_parameters import PARAMETERS
from broker.gateway.openapi_document import openapi_document
from broker.gateway.plan_api import plan_routes
from broker.gateway.registry_operations import PLAN_PATH
from registry.model import Gestionnaire, Registered, Skills, Status
from tests.support.access import as_local

INS = "295109912611193"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def registered(slug: str, skills: Skills, **changes: Any) -> Registered:
    declared = Gestionnaire(slug, f"Gestionnaire {slug}", "53", f"https://{slug}.example/fhir", **changes)
    return Registered(declared, 1, "2026-01-01T00:00:00Z", skills)


WORKING = {kind: tuple(parameters) for kind, parameters in PARAMETERS.items()}
ABLE = Skills(search_params=WORKING, chaining=True, include=True, sort=True)
POOR = Skills(search_params=WORKING | {"CareTeam": ("status", "subject", "patient")}, sort=False)
MANAGERS = (
    registered("able", ABLE),
    registered("poor", POOR),
    registered("mute", Skills(search_params={"Patient": ()})),
    registered("off", ABLE, status=Status.SUSPENDED),
)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def explain(query: SearchQuery, principal: Principal) -> Plan:
        def skills_of(one: Registered) -> Skills:
            return one.skills or Skills()

        return plan_search(
            query,
            MANAGERS,
            public_base="http://b.example/fhir",
            aliases={},
            skills_of=skills_of,
            principal=principal,
        )

    app = web.Application(middlewares=[as_local])
    app.add_routes(plan_routes(explain, max_count=200))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}{PLAN_PATH}"
    await runner.cleanup()


async def post(url: str, **sent: Any) -> tuple[int, str, Any]:
    async with aiohttp.ClientSession() as http, http.post(url, **sent) as answer:
        return answer.status, await answer.text(), await answer.json(content_type=None)


async def test_asked_left_out_unable_and_what_is_done_for_them(url: str) -> None:
    search = f"CareTeam?patient.identifier={INS}&start=ge2026&status=active&colour=Zorglub&_include=*"
    status, text, plan = await post(url, json={"search": search})
    assert status == 200
    assert plan["type"] == "CareTeam"
    assert plan["criteria"] == ["patient.identifier", "start", "status"]
    assert plan["ignored"] == ["colour"]
    managers = {one["id"]: one for one in plan["managers"]}
    assert list(managers) == ["able", "mute", "off", "poor"]
    assert managers["able"]["asked"]
    assert managers["able"]["native"] == ["patient.identifier", "start", "status"]
    assert managers["poor"]["asked"]
    assert managers["poor"]["resolved_here"] == ["patient.identifier"]
    assert managers["poor"]["filtered_here"] == ["start"]
    assert managers["poor"]["includes_here"]
    assert managers["poor"]["sorted_here"]
    assert (managers["off"]["asked"], managers["off"]["reason"]) == (False, "plan.suspended")
    assert (managers["mute"]["asked"], managers["mute"]["reason"]) == (False, "manager.not-supported")
    assert "patient.identifier" in managers["mute"]["en"]
    assert managers["mute"]["fr"] != managers["mute"]["en"]
    for value in (INS, "2026", "active", "Zorglub"):
        assert value not in text


async def test_a_public_id_names_its_manager(url: str) -> None:
    _, _, plan = await post(url, data={"search": "/Careteam?patient=Patient/able.1"})
    reasons = {one["id"]: (one["asked"], one["reason"]) for one in plan["managers"]}
    assert reasons["able"] == (True, "plan.named")
    assert reasons["poor"] == (False, "plan.elsewhere")
    assert all(reason in MESSAGES for _, reason in reasons.values())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {"search": f"CareTeam?start={INS}x"}}, 400),
        ({"json": {"search": f"CareTeam?patient:resembles={INS}"}}, 400),
        ({"json": {"search": "Caretam?status=active"}}, 404),
        ({"json": {"search": "CareTeam?" + "&".join(["status=active"] * 101)}}, 400),
        ({"json": {"search": 5}}, 400),
        ({"json": {"searched": "CareTeam"}}, 400),
        ({"json": [INS]}, 400),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b'"\xff"', "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": {"wanted": "CareTeam"}}, 400),
        ({"data": {"search": "CareTeam", "wanted": INS}}, 400),
        ({"data": b"search=CareTeam&search=Patient", "headers": FORM}, 400),
        ({"data": b"search=%ff", "headers": FORM}, 400),
        ({"data": b"CareTeam", "headers": {"Content-Type": "text/plain"}}, 415),
    ],
)
async def test_bad_input_is_a_problem_document(url: str, sent: dict[str, Any], status: int) -> None:
    got, text, problem = await post(url, **sent)
    assert (got, problem["status"]) == (status, status)
    assert problem["fr"]
    assert problem["en"]
    assert INS not in text


def test_it_is_in_the_openapi_document() -> None:
    document = openapi_document()
    operation = document["paths"][PLAN_PATH]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    answered = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    schemas = document["components"]["schemas"]
    assert "search" in schemas[asked.rpartition("/")[2]]["properties"]
    assert "managers" in schemas[answered.rpartition("/")[2]]["properties"]
    assert "ManagerInPlan" in schemas
