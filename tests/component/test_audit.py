"""Every access leaves its trace: what is in it, what never is, and what is not traced at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from adapters.audit.segments import lines_of, segments
from adapters.audit.verification import verify_files
from adapters.sandbox.app import RunningSandbox, running_sandbox
from broker.core.audit.chain import ChainKey
from broker.core.audit.event import BALP
from registry.model import Gestionnaire
from tests.support.audited import (
    Json,
    client,
    codes,
    details,
    events,
    objects,
    persons,
    query,
    request_entity,
)
from tests.support.federation import SECRET, Broker, federation, ids
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.valkey import Valkey
from tests.support.waiting import until

INS = "295109912611193"


@dataclass(frozen=True)
class World:
    broker: Broker
    box: RunningSandbox
    directory: Path

    @property
    def events(self) -> list[Json]:
        return events(self.directory / "audit")

    def url(self, path: str) -> str:
        return self.broker.base_url.removesuffix("/fhir") + path


@pytest.fixture
async def world(valkey: Valkey, tmp_path: Path) -> AsyncIterator[World]:
    held = [
        patient("p1", ins=INS),
        patient("p2", ins="160036999999919"),
        care_team("c1", identifier="1", subject="Patient/p1"),
        care_team("c2", identifier="2", subject="Patient/p2"),
    ]
    async with (
        running_sandbox(held) as box,
        federation(
            valkey, Gestionnaire("bre", "Bretagne", "53", box.base_url), audit="file", data_dir=tmp_path
        ) as broker,
    ):
        yield World(broker, box, tmp_path)


async def test_a_search_leaves_one_event_for_each_person(world: World) -> None:
    asked = {"patient.identifier": f"{INS_TEST}|{INS}"}
    answered = await world.broker.post("CareTeam/_search", asked, X_Request_Id="one")
    assert ids(answered.json) == ["bre.c1"]
    await world.broker.bundle("CareTeam?_count=5", X_Request_Id="two")
    first, *others = world.events
    assert codes([first, *others]) == ["search-type"] * 3
    assert first["action"] == "E"
    assert first["outcome"] == "0"
    assert persons(first) == [f"{world.broker.base_url}/Patient/bre.p1"]
    assert (
        query(first)
        == f"POST /fhir/CareTeam/_search\n\npatient.identifier={INS_TEST.replace(':', '%3A')}%7C{INS}"
    )
    assert request_entity(first)["what"]["identifier"]["value"] == "one"
    assert ("manager", "bre") in details(first)
    assert client(first) == "local"
    assert [persons(one) for one in others] == [
        [f"{world.broker.base_url}/Patient/bre.p{number}"] for number in (1, 2)
    ]
    assert {query(one) for one in others} == {"GET /fhir/CareTeam?_count=5"}


async def test_each_event_is_fhir_and_names_its_profile(world: World) -> None:
    await world.broker.get("CareTeam?patient=Patient/bre.p1")
    await world.broker.get("CareTeam/bre.c1")
    await world.broker.get("CareTeam/bre.absent")
    await world.broker.get("CareTeam?patient.family=Nobody")
    for event in world.events:
        AuditEvent.model_validate_json(json.dumps(event))
    searched, read, absent, empty = world.events
    assert searched["meta"]["profile"] == [BALP + "PatientQuery"]
    assert read["meta"]["profile"] == [BALP + "PatientRead"]
    assert objects(read) == [f"{world.broker.base_url}/CareTeam/bre.c1"]
    assert persons(read) == [f"{world.broker.base_url}/Patient/bre.p1"]
    assert (absent["outcome"], absent["outcomeDesc"]) == ("4", "request.not-found")
    assert "meta" not in absent
    assert persons(absent) == []
    assert empty["meta"]["profile"] == [BALP + "Query"]
    assert persons(empty) == []


async def test_results_are_never_in_it(world: World) -> None:
    await world.broker.get("CareTeam?_include=CareTeam:subject")
    await world.broker.get("Patient/bre.p1")
    written = "".join(path.read_text() for path in (world.directory / "audit").glob("*.ndjson"))
    person = (await world.broker.get("Patient/bre.p1")).json
    for value in (INS, person["name"][0]["family"]):
        assert value not in written
    assert len(world.events) >= 3


async def test_a_write_is_traced_with_what_was_written(world: World) -> None:
    body = patient("ignored", ins="260096999999965")
    del body["id"]
    async with world.broker.http.post(
        f"{world.broker.base_url}/Patient",
        json=body,
        headers={"Content-Type": "application/fhir+json", "X-Gestionnaire": "bre"},
    ) as response:
        assert response.status == 201, await response.text()
        made = response.headers["Location"].partition("/_history")[0]
    (event,) = world.events
    AuditEvent.model_validate_json(json.dumps(event))
    assert (codes([event]), event["action"], event["outcome"]) == (["create"], "C", "0")
    assert objects(event) == [made]
    assert persons(event) == [made]
    assert event["meta"]["profile"] == [BALP + "PatientCreate"]
    assert query(event) is None


async def test_administration_is_traced_and_so_is_who_reads_the_trail(world: World) -> None:
    async with world.broker.http.post(world.url("/registry/gestionnaires/bre/suspend")) as response:
        assert response.status == 200
    async with world.broker.http.get(world.url("/registry/audit?count=1")) as response:
        page = await response.json()
    assert codes([one["event"] for one in page["records"]]) == ["registry/gestionnaires/suspend"]
    changed, looked = world.events
    assert changed["type"]["code"] == "administration"
    assert looked["type"]["code"] == "110101"
    assert query(looked) == "GET /registry/audit?count=1"


@pytest.mark.parametrize(
    "path",
    ["/health/live", "/health/ready", "/metrics", "/fhir/metadata", "/registry/openapi.json", "/nowhere"],
)
async def test_what_tells_of_nobody_is_not_traced(world: World, path: str) -> None:
    async with world.broker.http.get(world.url(path)) as response:
        assert response.status in (200, 404)
    assert world.events == []


async def test_a_token_in_the_address_is_not_kept(world: World) -> None:
    await world.broker.get("CareTeam?access_token=eyJhbGciOi.secret&status=active")
    await world.broker.post("CareTeam/_search", {"status": "active", "access_token": "eyJhbGciOi.secret"})
    assert len(world.events) >= 2
    for event in world.events:
        asked = query(event)
        assert asked is not None
        assert "access_token=" in asked
        assert "secret" not in asked


async def test_what_no_route_takes_is_traced(world: World) -> None:
    async with world.broker.http.get(world.url("/fhir/CareTeam/1/2/3/4")) as response:
        assert response.status == 404
    (event,) = world.events
    assert event["outcome"] == "4"
    assert query(event) == "GET /fhir/CareTeam/1/2/3/4"


async def test_a_client_that_leaves_is_traced(valkey: Valkey, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fhir"
    slow = Gestionnaire("bre", "Bretagne", "53", url)
    async with server, federation(valkey, slow, audit="file", data_dir=tmp_path) as broker:
        with pytest.raises(TimeoutError):
            async with broker.http.get(
                f"{broker.base_url}/CareTeam", timeout=aiohttp.ClientTimeout(total=1.0)
            ):
                pass
        assert reached.is_set()
        await until(lambda: bool(events(tmp_path / "audit")))
        (event,) = events(tmp_path / "audit")
    assert codes([event]) == ["search-type"]
    assert ("status", "499") in details(event)
    assert event["outcome"] == "4"


async def test_a_write_whose_client_left_is_traced_with_how_it_ended(valkey: Valkey, tmp_path: Path) -> None:
    going_on = asyncio.Event()
    begun = asyncio.Event()
    async with running_sandbox() as box:

        async def held_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            host, port = box.base_url.split("/")[2].split(":")
            behind_reader, behind = await asyncio.open_connection(host, int(port))
            begun.set()

            async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, wait: bool) -> None:
                while data := await source.read(65_536):
                    if wait:
                        await going_on.wait()
                    to.write(data)
                    await to.drain()
                to.close()

            await asyncio.gather(
                pass_on(reader, behind, False), pass_on(behind_reader, writer, True), return_exceptions=True
            )

        server = await asyncio.start_server(held_up, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fhir"
        manager = Gestionnaire("bre", "Bretagne", "53", url, dialect="gestionnaire")
        async with server, federation(valkey, manager, audit="file", data_dir=tmp_path) as broker:
            body = patient("ignored", ins="260096999999965")
            del body["id"]
            with pytest.raises(TimeoutError):
                async with broker.http.post(
                    f"{broker.base_url}/Patient",
                    json=body,
                    headers={"Content-Type": "application/fhir+json", "X-Gestionnaire": "bre"},
                    timeout=aiohttp.ClientTimeout(total=1.0),
                ):
                    pass
            assert begun.is_set()
            assert events(tmp_path / "audit") == []
            going_on.set()
            await until(lambda: bool(events(tmp_path / "audit")))
            (event,) = events(tmp_path / "audit")
    assert codes([event]) == ["create"]
    assert event["outcome"] == "0"
    assert persons(event)


async def test_pages_of_the_trail_hold_each_record_once(world: World) -> None:
    for number in range(7):
        await world.broker.get("CareTeam?patient=Patient/bre.p1", X_Request_Id=f"r{number}")
    found: list[str] = []
    after = ""
    for _ in range(10):
        async with world.broker.http.get(
            world.url("/registry/audit"), params={"count": "3", "person": "Patient/bre.p1"} | after_of(after)
        ) as response:
            page = await response.json()
            assert response.status == 200, page
        found += [request_entity(one["event"])["what"]["identifier"]["value"] for one in page["records"]]
        after = page["next"] or ""
        if not after:
            break
    assert found == [f"r{number}" for number in reversed(range(7))]
    async with world.broker.http.get(world.url("/registry/audit?client=nobody")) as response:
        assert (await response.json())["records"] == []
    async with world.broker.http.get(world.url("/registry/audit?request=r3")) as response:
        assert len((await response.json())["records"]) == 1


def after_of(after: str) -> dict[str, str]:
    return {"after": after} if after else {}


@pytest.mark.parametrize(
    "asked",
    ["count=0", "since=yesterday", "since=2026-01-01T00:00:00", "after=@@", "name=x", "after=eyJhIjoxfQ"],
)
async def test_what_cannot_be_asked_of_the_trail_is_refused(world: World, asked: str) -> None:
    async with world.broker.http.get(world.url(f"/registry/audit?{asked}")) as response:
        assert response.status == 400, await response.text()
        assert response.content_type == "application/problem+json"


async def test_times_bound_what_is_shown(world: World) -> None:
    await world.broker.get("CareTeam/bre.c1")
    at = world.events[0]["recorded"]
    for bounds, count in (
        ({"since": at}, 1),
        ({"until": at}, 1),
        ({"since": "2099-01-01T00:00:00+01:00"}, 0),
    ):
        async with world.broker.http.get(
            world.url("/registry/audit"), params=bounds | {"person": "Patient/bre.p1"}
        ) as response:
            assert len((await response.json())["records"]) == count, bounds


async def test_a_node_without_files_says_so(valkey: Valkey) -> None:
    async with (
        federation(valkey) as broker,
        broker.http.get(broker.base_url.removesuffix("/fhir") + "/registry/audit") as response,
    ):
        assert response.status == 404
        assert (await response.json())["type"].endswith("#audit.not-here")


async def test_the_chain_goes_on_over_a_restart(valkey: Valkey, tmp_path: Path) -> None:
    for _ in range(3):
        async with federation(valkey, audit="file", data_dir=tmp_path) as broker:
            await broker.get("CareTeam")
    held = segments(tmp_path / "audit")
    assert [one.first for one in held] == [1, 2, 3]
    assert len({one.stream for one in held}) == 1
    key = ChainKey.of(SECRET)
    assert verify_files(tmp_path / "audit", {key.id: key}, None).intact
    assert all(whole for one in held for _, whole in lines_of(one.path))
    assert all(one.path.stat().st_mode & 0o777 == 0o600 for one in held)
