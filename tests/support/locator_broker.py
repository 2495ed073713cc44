"""A running broker with its index, as tests ask it; and managers' stores filled with made-up people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import orjson

from adapters.clock import SystemClock
from adapters.sandbox.store import Store
from tests.support.federation import Broker
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.waiting import until

Json = dict[str, Any]

QUICK: dict[str, Any] = {
    "locator": True,
    "locator_poll": 0.1,
    "locator_overlap": 2.0,
    "locator_freshness": 20.0,
}
"""Settings of a broker that follows its managers closely."""


def fill(store: Store, numbers: Sequence[int]) -> None:
    """Circles of as many people, one second apart in a past year: each person has a number of its own."""
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    for number in numbers:
        person = patient(f"p{number}", ins=f"ins{number}")
        circle = care_team(f"c{number}", subject=f"Patient/p{number}")
        for resource in (person, circle):
            at = start + dt.timedelta(seconds=number)
            store.put(resource["resourceType"], resource["id"], orjson.dumps(resource), at=at)


def write(store: Store, *resources: Json) -> None:
    """Now, by the manager's clock."""
    for resource in resources:
        store.put(resource["resourceType"], resource["id"], orjson.dumps(resource))


async def api(broker: Broker, method: str, path: str) -> tuple[int, Json]:
    async with broker.http.request(method, broker.base_url.removesuffix("/fhir") + path) as response:
        return response.status, await response.json(content_type=None)


async def line(broker: Broker, slug: str = "bre") -> Json:
    """One manager's part of the index."""
    status, found = await api(broker, "GET", "/registry/locator")
    if status != 200:
        return {"state": "unknown", "fresh": False, "circles": 0}
    return next((one for one in found["managers"] if one["id"] == slug), {"state": "unknown", "fresh": False})


async def fresh(broker: Broker, *slugs: str, seconds: float = 20.0) -> None:
    """Wait until every manager is followed, as of a moment after this one."""
    start = SystemClock().now()

    async def followed() -> bool:
        found = [await line(broker, slug) for slug in slugs or ("bre",)]
        return all(one["fresh"] and dt.datetime.fromisoformat(one["as_of"]) > start for one in found)

    await until(followed, seconds=seconds)


async def located(broker: Broker, number: int | str) -> list[str]:
    """The managers that a search for one person asks, by the index."""
    search = {"search": f"CareTeam?patient.identifier={INS_TEST}|ins{number}"}
    async with broker.http.post(
        broker.base_url.removesuffix("/fhir") + "/registry/plan", json=search
    ) as response:
        assert response.status == 200
        plan = await response.json()
    return [one["id"] for one in plan["managers"] if one["asked"]]
