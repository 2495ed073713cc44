"""Reading a circle with its actors at its home, over real HTTP: whole managers, those of little skill, faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import pytest

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store
from broker.core.change_event import Change, Operation
from broker.core.dialects import effective_skills
from broker.core.event_content import closure, full_content
from broker.errors import BrokerError, ManagerError, StoreError
from broker.federation.federation import Federation
from broker.federation.managers import ManagersView
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.federation.read import ReadService
from broker.sync.event_records import Content
from broker.sync.fetch import UNKNOWN_REGION, FederationHomes, is_older
from broker.sync.homes import Absence, StaleError
from registry.model import Gestionnaire, Status
from registry.outbox_model import CircleChange, Waiting
from tests.support.bridging import region
from tests.support.fake_stores import FakeAliasStore, FakeCursorStore, FakeGestionnaireStore

PUBLIC = "https://broker.example/fhir"
ABLE = {
    "include": True,
    "iterate": True,
    "sort": True,
    "post_search": True,
    "paging": True,
    "param:CareTeam:_id": True,
}
ACTORS = {
    "Patient/bre.p1",
    "RelatedPerson/bre.k1",
    "PractitionerRole/bre.role1",
    "Practitioner/bre.doctor1",
    "Organization/bre.centre",
    "Organization/bre.group",
}


@dataclass
class Fetching:
    homes: FederationHomes
    store: Store
    registry: FakeGestionnaireStore
    manager: Gestionnaire

    async def fetch(
        self, local_id: str = "c1", version: str | None = "1", **others: Any
    ) -> Content | Absence:
        return await self.homes.fetch(self.change(local_id, version, **others))

    def change(self, local_id: str, version: str | None, at: str | None = None) -> Change:
        change = CircleChange(self.manager.id, local_id, version, at, Operation.UPDATED)
        return self.homes.stated(Waiting(change, 7, "1-1", 0.0))

    async def put(self, manager: Gestionnaire) -> None:
        await self.registry.put(manager)
        await self.homes.view.refresh()


@asynccontextmanager
async def fetching(
    options: SandboxOptions | None = None, dialect: dict[str, bool | int] | None = None
) -> AsyncIterator[Fetching]:
    clock = SystemClock()
    async with running_sandbox(region("b", (0, 1, 2)), options=options) as box:
        manager = Gestionnaire(
            "bre", "Bretagne", "53", box.base_url, dialect=ABLE if dialect is None else dialect
        )
        registry = FakeGestionnaireStore()
        await registry.put(manager)
        view = ManagersView(registry, clock)
        await view.refresh()
        client = HttpManagerClient(clock)
        federation = Federation(
            managers=view,
            client=client,
            aliases=FakeAliasStore(),
            pages=PageKeeper(FakeCursorStore(), b"s" * 32, 900),
            origins=Origins(PUBLIC, view),
            options=FederationOptions(PUBLIC, "test"),
            skills_of=effective_skills,
        )
        homes = FederationHomes(view, federation, ReadService(federation), clock, "1.1 test", timeout=5.0)
        try:
            yield Fetching(homes, box.store, registry, manager)
        finally:
            await client.aclose()


def references(content: Content) -> set[str]:
    return {f"{one.type}/{one.public_id}" for one in content.actors}


@pytest.mark.parametrize(
    ("options", "dialect"),
    [
        (SandboxOptions(), ABLE),
        (SandboxOptions(), {}),
        (SandboxOptions(ignores_include=True, lying_statement=True), ABLE),
        (SandboxOptions(ignores_include=True, no_post_search=True), {**ABLE, "post_search": False}),
    ],
    ids=["whole", "unknown", "lies", "little skill"],
)
async def test_a_circle_comes_with_all_its_actors(
    options: SandboxOptions, dialect: dict[str, bool | int]
) -> None:
    async with fetching(options, dialect) as fetch:
        content = await fetch.fetch()
        assert isinstance(content, Content)
        assert references(content) == ACTORS
        assert closure(content.circle, content.actors, PUBLIC)[1] == ()
        change = fetch.change("c1", "1")
    bundle = orjson.loads(full_content(change, content.circle, content.actors, PUBLIC))
    assert bundle["entry"][0]["fullUrl"] == f"{PUBLIC}/CareTeam/bre.c1"
    assert {entry["resource"]["id"] for entry in bundle["entry"]} == {
        "bre.c1",
        *(one.partition("/")[2] for one in ACTORS),
    }


async def test_a_capable_home_is_asked_once() -> None:
    async with fetching() as fetch:
        sent = []
        client = fetch.homes.federation.client
        send = client.send

        async def counted(*args: Any, **kwargs: Any) -> Any:
            sent.append(args[1].target)
            return await send(*args, **kwargs)

        client.send = counted  # type: ignore[method-assign]
        await fetch.fetch()
    assert sent == ["CareTeam/_search"]


async def test_how_a_change_is_stated() -> None:
    async with fetching() as fetch:
        change = fetch.change("c1", "3", "2026-01-01T00:00:00Z")
        assert change == Change(
            "bre", "53", "c1", "bre.c1", "3", "2026-01-01T00:00:00Z", Operation.UPDATED, 7
        )
        odd = fetch.change("c1", "no version at all", "yesterday")
        assert (odd.version, odd.last_updated) == (None, None)
        long = fetch.change("x" * 64, "1")
        assert "alias--" in long.public_id
        await fetch.homes.remember()
        assert await fetch.homes.federation.aliases.resolve(long.public_id) == "x" * 64


async def test_a_newer_version_is_as_good() -> None:
    async with fetching() as fetch:
        held = dict(fetch.store.live("CareTeam")["c1"].content) | {"name": "autre"}
        fetch.store.put("CareTeam", "c1", orjson.dumps(held))
        content = await fetch.fetch(version="1")
        assert isinstance(content, Content)
        assert content.circle.version_id == "2"


async def test_an_older_version_is_said_to_be_one() -> None:
    async with fetching() as fetch:
        with pytest.raises(StaleError) as raised:
            await fetch.fetch(version="2")
        assert raised.value.content.circle.version_id == "1"
        assert references(raised.value.content) == ACTORS


async def test_gone_and_missing() -> None:
    async with fetching() as fetch:
        fetch.store.delete("CareTeam", "c1")
        assert await fetch.fetch("c1") is Absence.GONE
        assert await fetch.fetch("never") is Absence.MISSING


async def test_a_missing_actor_leads_nowhere() -> None:
    async with fetching() as fetch:
        fetch.store.delete("RelatedPerson", "k1")
        content = await fetch.fetch()
        assert isinstance(content, Content)
        assert references(content) == ACTORS - {"RelatedPerson/bre.k1"}


async def test_a_replica_is_none_of_ours_to_tell_of() -> None:
    async with fetching() as fetch:
        held = dict(fetch.store.live("CareTeam")["c1"].content)
        copy = [{"system": "urn:cds-broker:copy", "code": "replica"}]
        held["meta"] = {"tag": copy, "source": f"{PUBLIC}/CareTeam/occ.c9"}
        fetch.store.put("CareTeam", "c1", orjson.dumps(held))
        assert await fetch.fetch(version="2") is Absence.REPLICA


async def test_homes_that_do_not_answer() -> None:
    async with fetching() as fetch:
        await fetch.put(Gestionnaire("bre", "Bretagne", "53", "http://127.0.0.1:1"))
        with pytest.raises(ManagerError):
            await fetch.fetch()
        await fetch.put(Gestionnaire("bre", "Bretagne", "53", "http://127.0.0.1:1", status=Status.SUSPENDED))
        with pytest.raises(BrokerError) as raised:
            await fetch.fetch()
        assert raised.value.key == "manager.suspended"
        await fetch.registry.remove("bre")
        await fetch.homes.view.refresh()
        assert await fetch.fetch() is Absence.LEFT
        assert fetch.change("c1", "1").region == UNKNOWN_REGION
        fetch.registry.down = True
        await fetch.homes.view.refresh()
        with pytest.raises(StoreError):
            await fetch.fetch()


@pytest.mark.parametrize(
    ("shown", "told", "older"),
    [
        (("1", None), ("2", None), True),
        (("10", None), ("9", None), False),
        (("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-01T00:00:01Z"), True),
        (("a", "2026-01-01T00:00:01Z"), ("b", "2026-01-01T00:00:00Z"), False),
        (("b", "2026-01-01T00:00:00Z"), ("b", "2026-01-01T00:00:01Z"), False),
        ((None, None), ("b", "2026-01-01T00:00:01Z"), False),
    ],
)
async def test_what_is_older(
    shown: tuple[str | None, str | None], told: tuple[str | None, str | None], *, older: bool
) -> None:
    async with fetching() as fetch:
        content = await fetch.fetch()
        assert isinstance(content, Content)
        entry = msgspec.structs.replace(content.circle, version_id=shown[0], last_updated=shown[1])
        assert is_older(entry, fetch.change("c1", *told)) is older
