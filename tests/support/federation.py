"""A whole broker over managers, for component tests: real HTTP, a real Valkey, one event loop.

async with federation(valkey, Gestionnaire("bre", "Bretagne", "53", box.base_url)) as broker:
    bundle = await broker.bundle("CareTeam?_count=5")
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from broker.settings import Settings
from broker.wiring import RunningBroker, running_broker
from registry.model import Gestionnaire
from tests.support.valkey import Valkey

SECRET = b"a secret for tests, long enough"

Json = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        parsed: Json = json.loads(self.body)
        return parsed


@dataclass(frozen=True)
class Broker:
    """A running broker and a client of it."""

    running: RunningBroker
    http: aiohttp.ClientSession

    @property
    def base_url(self) -> str:
        return self.running.base_url

    async def get(self, target: str, **headers: str) -> Answered:
        """`target`: relative to the FHIR base, or absolute. Header names with `_` for `-`."""
        url = target if target.startswith("http") else f"{self.base_url}/{target}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.get(url, headers=sent) as response:
            return Answered(response.status, response.headers, await response.read())

    async def post(self, target: str, form: Mapping[str, str], **headers: str) -> Answered:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(f"{self.base_url}/{target}", data=form, headers=sent) as response:
            return Answered(response.status, response.headers, await response.read())

    async def bundle(self, target: str, **headers: str) -> Json:
        answered = await self.get(target, **headers)
        assert answered.status == 200, answered.body
        return answered.json

    async def pages(self, target: str, **headers: str) -> list[Json]:
        """Every page, from the first to the last."""
        pages = [await self.bundle(target, **headers)]
        while (url := link(pages[-1], "next")) is not None:
            assert len(pages) < 200, "paging never ends"
            pages.append(await self.bundle(url, **headers))
        return pages

    async def check(self) -> None:
        """Learn what every manager can do, now."""
        for one in self.running.managers.all():
            await self.running.registry.check(one.gestionnaire.id)
        await self.running.managers.refresh()


@asynccontextmanager
async def federation(
    valkey: Valkey, *managers: Gestionnaire, checked: bool = False, secret: bytes = SECRET, **settings: Any
) -> AsyncIterator[Broker]:
    """A broker on a free port with these managers registered. `settings`: names of `Settings`."""
    # Their requests would be counted with those that a test looks at.
    given = {"locator": False, "sync": False, "audit": "none", "auth": "none"} | settings
    made = Settings.load(port=0, redis_prefix=valkey.keys.prefix, **given)
    async with running_broker(made, redis_url=valkey.url, secret=secret) as running:
        for manager in managers:
            await running.store.put(manager)
        await running.managers.refresh()
        async with aiohttp.ClientSession() as http:
            broker = Broker(running, http)
            if checked:
                await broker.check()
            yield broker


def link(bundle: Json, relation: str) -> str | None:
    return next((one["url"] for one in bundle.get("link", ()) if one["relation"] == relation), None)


def ids(bundle: Json, mode: str = "match") -> list[str]:
    """Public ids of the entries of a mode, in order."""
    return [
        entry["resource"]["id"]
        for entry in bundle.get("entry", ())
        if entry.get("search", {}).get("mode") == mode and "id" in entry["resource"]
    ]


def outcomes_of(bundle: Json) -> list[Json]:
    """The outcome of a searchset (`resource`) or of a history (`response.outcome`), or an OperationOutcome itself."""
    if bundle["resourceType"] == "OperationOutcome":
        return [bundle]
    held = [
        entry.get("resource") or entry.get("response", {}).get("outcome", {})
        for entry in bundle.get("entry", ())
    ]
    return [one for one in held if one.get("resourceType") == "OperationOutcome"]


def outcome_codes(bundle: Json) -> list[tuple[str, str | None]]:
    """(message key, manager's slug) of each issue: of a Bundle's outcome entry, or of an OperationOutcome."""
    found = []
    for outcome in outcomes_of(bundle):
        for issue in outcome["issue"]:
            codes = {coding["system"]: coding["code"] for coding in issue["details"]["coding"]}
            found.append((codes["urn:cds-broker:outcome"], codes.get("urn:cds-broker:gestionnaire")))
    return found
