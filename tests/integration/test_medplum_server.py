"""What Medplum's in-memory server really does and lacks: the facts that bridging has to cope with.

Three circles: `A` (patient ducros; members role and contact), `B` (patient martin; member role), `C` (patient
ducrosse; member organisation; inactive). Where FHIR R4 asks for something else, a comment says so.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.medplum_server import MedplumServer, medplum_or_skip

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

Json = dict[str, Any]
INS_TEST = "urn:oid:1.2.250.1.213.1.4.10"
INS = {"ducros": "295109912611193", "martin": "253072A07300443", "ducrosse": "253072B07300470"}


@dataclass(frozen=True, slots=True)
class World:
    """The server and what it was loaded with: resources as it answered them, by their names in the tests."""

    server: MedplumServer
    session: aiohttp.ClientSession
    held: dict[str, Json] = field(default_factory=dict)

    async def call(self, method: str, path: str, **how: Any) -> tuple[int, Json, aiohttp.ClientResponse]:
        async with self.session.request(method, f"{self.server.base_url}{path}", **how) as response:
            body = await response.json(content_type=None) if method != "HEAD" else {}
            return response.status, body, response

    async def create(self, key: str, resource: Json) -> None:
        status, body, _ = await self.call("POST", f"/{resource['resourceType']}", json=resource)
        assert status == 201
        self.held[key] = body

    def ref(self, key: str) -> str:
        return f"{self.held[key]['resourceType']}/{self.held[key]['id']}"

    def fill(self, text: str) -> str:
        """`{ducros}` → Patient/…, `{ducros.id}` → its id, `{A.updated}` → its lastUpdated."""
        for key, resource in self.held.items():
            text = text.replace(f"{{{key}}}", self.ref(key)).replace(f"{{{key}.id}}", resource["id"])
            text = text.replace(f"{{{key}.updated}}", resource["meta"]["lastUpdated"])
        return text

    async def search(self, query: str, **how: Any) -> Json:
        path, _, criteria = self.fill(query).rpartition("?")
        status, body, _ = await self.call("GET", f"/{path or 'CareTeam'}?{criteria}", **how)
        assert status == 200, body
        assert (body["resourceType"], body["type"]) == ("Bundle", "searchset")
        return body

    async def found(self, query: str) -> str:
        """The names in `held` of what a search gives, in its order: `AB`, or `ducros martin` for people."""
        names = {self.ref(key): key for key in self.held}
        entries = (await self.search(query)).get("entry", [])
        keys = [names[f"{e['resource']['resourceType']}/{e['resource']['id']}"] for e in entries]
        return ("" if all(len(key) == 1 for key in keys) else " ").join(keys)


def _patient(family: str) -> Json:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": INS_TEST, "value": INS[family.lower()]}],
        "name": [{"family": family, "given": ["Zoé"]}],
        "birthDate": "1953-07-01",
        "gender": "female",
        "address": [{"city": "Rennes", "postalCode": "35000"}],
    }


def _circle(name: str, patient: str, status: str, start: str, members: list[str], organization: str) -> Json:
    return {
        "resourceType": "CareTeam",
        "identifier": [{"system": "urn:oid:1.2.250.1.999.1", "value": f"cercle-{name}"}],
        "status": status,
        "name": f"Cercle {name}",
        "subject": {"reference": patient},
        "period": {"start": start},
        "participant": [{"member": {"reference": member}, "period": {"start": start}} for member in members],
        "managingOrganization": [{"reference": organization}],
    }


def _searchset(*, total: int) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "total": total}


async def _fill(world: World) -> None:
    for family in ("Ducros", "Martin", "Ducrosse"):
        await world.create(family.lower(), _patient(family))
    await world.create(
        "org",
        {
            "resourceType": "Organization",
            "identifier": [{"system": "https://finess.esante.gouv.fr", "value": "350000022"}],
            "name": "Centre de santé des Lices",
        },
    )
    await world.create(
        "doctor",
        {
            "resourceType": "Practitioner",
            "identifier": [{"system": "https://rpps.esante.gouv.fr", "value": "10101919190"}],
            "name": [{"family": "Le Goff"}],
        },
    )
    await world.create(
        "role",
        {
            "resourceType": "PractitionerRole",
            "practitioner": {"reference": world.ref("doctor")},
            "organization": {"reference": world.ref("org")},
            "code": [{"coding": [{"system": "urn:oid:1.2.250.1.71.1.2.7", "code": "10"}]}],
        },
    )
    await world.create(
        "contact",
        {
            "resourceType": "RelatedPerson",
            "patient": {"reference": world.ref("ducros")},
            "relationship": [{"coding": [{"code": "GUARD"}]}],
            "name": [{"family": "Ducros"}],
        },
    )
    role, contact, org = world.ref("role"), world.ref("contact"), world.ref("org")
    for circle in (
        _circle("A", world.ref("ducros"), "active", "2024-01-10", [role, contact], org),
        _circle("B", world.ref("martin"), "active", "2024-02-10", [role], org),
        _circle("C", world.ref("ducrosse"), "inactive", "2023-05-05", [org], org),
    ):
        await world.create(circle["name"][-1], circle)
        await asyncio.sleep(0.002)  # lastUpdated has milliseconds: no two circles of one instant


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    async with medplum_or_skip() as server, aiohttp.ClientSession() as session:
        world = World(server, session)
        await _fill(world)
        yield world


# --- the shape of what comes back


async def test_a_searchset_has_resources_and_a_total_and_nothing_else(world: World) -> None:
    bundle = await world.search("status=active")
    assert set(bundle) == {
        "resourceType",
        "type",
        "entry",
        "total",
    }  # no link, not even self
    assert {key for entry in bundle["entry"] for key in entry} == {"resource"}  # no fullUrl, no search.mode
    assert bundle["total"] == 2


async def test_an_empty_searchset_has_no_entry(world: World) -> None:
    assert await world.search("status=nonsense") == {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 0,
    }


async def test_a_created_resource_has_its_id_and_meta_last(world: World) -> None:
    resource = (await world.search("_id={A.id}"))["entry"][0]["resource"]
    assert list(resource)[-2:] == ["id", "meta"]
    assert list(resource["meta"]) == ["versionId", "lastUpdated"]
    for value in (resource["id"], resource["meta"]["versionId"]):
        assert str(uuid.UUID(value)) == value


async def test_answers_carry_no_etag_last_modified_or_location(world: World) -> None:
    _, _, read = await world.call("GET", f"/{world.ref('A')}")
    _, _, created = await world.call("POST", "/Organization", json={"resourceType": "Organization"})
    for response in (read, created):
        assert not {"ETag", "Last-Modified", "Location"} & set(response.headers)
        assert response.headers["Content-Type"] == "application/fhir+json; charset=utf-8"


# --- criteria

CASES = [
    ("", "ABC"),
    ("status=active", "AB"),
    ("status=active,inactive", "ABC"),
    ("status=active&status=inactive", ""),
    ("status:not=active", "C"),
    ("status:missing=true", ""),
    ("identifier=urn:oid:1.2.250.1.999.1|cercle-B", "B"),
    ("identifier=cercle-B", "B"),
    ("identifier=urn:oid:1.2.250.1.999.2|cercle-B", ""),
    ("_id={A.id}", "A"),
    ("_id={A.id},{B.id}", "AB"),
    ("_lastUpdated=ge{B.updated}", "BC"),
    ("_lastUpdated=gt{B.updated}", "C"),
    ("patient={ducros}", "A"),
    ("subject={ducros}", "A"),
    ("patient={ducros},{martin}", "AB"),
    ("participant={role}", "AB"),
    ("participant={contact},{org}", "AC"),
    # References are compared as text: a bare id, a typed one or a URL finds nothing (FHIR: A A A A AB).
    ("patient={ducros.id}", ""),
    ("subject={ducros.id}", ""),
    ("subject:Patient={ducros.id}", ""),
    ("patient=http://127.0.0.1/fhir/{ducros}", ""),
    ("participant:PractitionerRole={role.id}", ""),
    # The guide's own parameters, and any unknown one, match nothing instead of being ignored.
    ("start=ge2023-01-01", ""),
    ("end=ge2023-01-01", ""),
    ("participant-start=ge2023-01-01", ""),
    ("participant-end=ge2023-01-01", ""),
    ("managingOrganization={org}", ""),
    ("unknown=1", ""),
    # Chains match nothing either, however they are written (FHIR: A, A, A, A, AB, C).
    (f"patient.identifier={INS_TEST}|{INS['ducros']}", ""),
    (f"subject:Patient.identifier={INS_TEST}|{INS['ducros']}", ""),
    ("patient.family=Ducros&status=active", ""),
    ("participant:RelatedPerson.name=Ducros", ""),
    ("participant:PractitionerRole.practitioner.name=Le Goff", ""),
    ("participant:Organization.name=Centre", ""),
    ("_has:RelatedPerson:patient:name=Ducros", ""),
    # `date`: open periods overlap everything after their start; no prefix is taken for overlap (FHIR: none).
    ("date=ge2024-02-01", "ABC"),
    ("date=lt2024-01-01", "C"),
    ("date=2024-01-10", "AC"),
    # An unknown modifier is dropped without a word.
    ("status:nonsense=active", "AB"),
    # Paging is by a parameter of its own, and `_count` has no upper bound.
    ("_count=2", "AB"),
    ("_count=2&_offset=2", "C"),
    ("_count=100000", "ABC"),
    ("_sort=_lastUpdated", "ABC"),
    ("_sort=-_lastUpdated", "CBA"),
    ("_sort=-_lastUpdated&_count=2", "CB"),
    ("_sort=-date", "BAC"),
    # A sort key it does not know is dropped; of several the last one weighs most (FHIR: BAC, BAC).
    ("_sort=-start", "ABC"),
    ("_sort=status,-_lastUpdated", "CBA"),
]


@pytest.mark.parametrize(("query", "circles"), CASES)
async def test_care_team_search(world: World, query: str, circles: str) -> None:
    assert await world.found(f"?{query}") == circles


ACTOR_CASES = [
    (f"Patient?identifier={INS_TEST}|{INS['ducros']}", "ducros"),
    (f"Patient?identifier={INS['ducros']}", "ducros"),
    ("Patient?name=ducros", "ducros ducrosse"),
    ("Patient?family=Ducros", "ducros ducrosse"),
    ("Patient?given=Zoé", "ducros martin ducrosse"),
    ("Patient?given=Zoe", ""),  # accents count (FHIR: should not)
    ("Patient?address=rennes", "ducros martin ducrosse"),
    ("Patient?birthdate=1953-07-01", "ducros martin ducrosse"),
    ("Patient?gender=female", "ducros martin ducrosse"),
    ("Patient?family:exact=Ducros", "ducros ducrosse"),  # :exact is dropped (FHIR: ducros)
    ("Patient?family:contains=cross", "ducrosse"),
    ("Patient?family=cross", "ducrosse"),  # a plain string looks anywhere (FHIR: at the start)
    ("Patient?birthplace=Rennes", ""),
    ("Patient?_id={ducros.id},{martin.id}", "ducros martin"),
    ("RelatedPerson?name=ducros", "contact"),
    ("RelatedPerson?relationship=GUARD", "contact"),
    ("RelatedPerson?patient={ducros}", "contact"),
    ("PractitionerRole?practitioner={doctor}", "role"),
    ("PractitionerRole?role=10", "role"),
    ("PractitionerRole?practitioner.name=Le Goff", ""),  # a chain
    ("Practitioner?name=le goff", "doctor"),
    ("Practitioner?identifier=https://rpps.esante.gouv.fr|10101919190", "doctor"),
    ("Organization?identifier=350000022", "org"),
    ("Organization?name=centre", "org"),
]


@pytest.mark.parametrize(("query", "actors"), ACTOR_CASES)
async def test_actor_search(world: World, query: str, actors: str) -> None:
    assert await world.found(query) == actors


# --- result parameters


@pytest.mark.parametrize(
    "query",
    [
        "_include=CareTeam:subject",
        "_include=CareTeam:participant&_include:iterate=PractitionerRole:practitioner",
        "_revinclude=RelatedPerson:patient",
    ],
)
async def test_includes_bring_nothing(world: World, query: str) -> None:
    bundle = await world.search(query)
    assert [entry["resource"]["resourceType"] for entry in bundle["entry"]] == ["CareTeam"] * 3


@pytest.mark.parametrize("query", ["_include=*", "_include:iterate=*", "_revinclude=*"])
async def test_include_star_is_refused(world: World, query: str) -> None:
    status, outcome, _ = await world.call("GET", f"/CareTeam?{query}")
    assert status == 400
    assert outcome["resourceType"] == "OperationOutcome"


async def test_there_is_never_a_next_link_and_the_total_tells_what_is_missing(world: World) -> None:
    bundle = await world.search("_count=1")
    assert (len(bundle["entry"]), bundle["total"], "link" in bundle) == (1, 3, False)


async def test_there_is_no_default_page_size(world: World) -> None:
    await world.server.load(
        {"resourceType": "Practitioner", "id": f"extra-{number}", "active": False} for number in range(120)
    )
    bundle = await world.search("Practitioner?")
    assert (len(bundle["entry"]), bundle["total"]) == (121, 121)


@pytest.mark.parametrize("query", ["_count=0", "_summary=count"])
async def test_counting(world: World, query: str) -> None:
    assert await world.search(query) == _searchset(total=3)


@pytest.mark.parametrize("query", ["_elements=name", "_summary=true", "_summary=text"])
async def test_elements_and_summary_are_ignored(world: World, query: str) -> None:
    entries = (await world.search(query))["entry"]
    assert [entry["resource"] for entry in entries] == [
        world.held[name] for name in "ABC"
    ]  # nor any SUBSETTED tag


@pytest.mark.parametrize("mode", ["none", "estimate", "accurate"])
async def test_the_total_is_always_given_and_true(world: World, mode: str) -> None:
    assert (await world.search(f"_total={mode}&_count=1"))["total"] == 3


async def test_post_search_answers_what_get_answers(world: World) -> None:
    form = [("patient", f"{world.ref('ducros')},{world.ref('martin')}"), ("status", "active")]
    status, body, _ = await world.call("POST", "/CareTeam/_search", data=form)
    assert (status, body) == (200, await world.search("patient={ducros},{martin}&status=active"))


async def test_post_search_drops_the_query_of_its_address(world: World) -> None:
    _, body, _ = await world.call("POST", "/CareTeam/_search?status=inactive", data={"_sort": "_lastUpdated"})
    assert body["total"] == 3


# --- reading


async def test_read_and_vread(world: World) -> None:
    circle = world.held["A"]
    status, body, _ = await world.call("GET", f"/{world.ref('A')}")
    assert (status, body) == (200, circle)
    status, body, _ = await world.call("GET", f"/{world.ref('A')}/_history/{circle['meta']['versionId']}")
    assert (status, body) == (200, circle)
    for path in ("/CareTeam/nobody", f"/{world.ref('A')}/_history/1", "/CareTeam/nobody/_history"):
        status, body, _ = await world.call("GET", path)
        assert (status, body["resourceType"]) == (404, "OperationOutcome")


async def test_conditional_reads_and_head_are_not_offered(world: World) -> None:
    version = world.held["A"]["meta"]["versionId"]
    status, _, _ = await world.call("GET", f"/{world.ref('A')}", headers={"If-None-Match": f'W/"{version}"'})
    assert status == 200  # FHIR: 304
    status, _, _ = await world.call("HEAD", f"/{world.ref('A')}")
    assert status == 404


async def test_instance_history_flips_its_order_at_every_reading(world: World) -> None:
    first = {"resourceType": "Organization", "id": "history", "name": "first"}
    await world.server.load([first, first | {"name": "second"}])
    orders = []
    for _ in range(3):
        status, bundle, _ = await world.call("GET", "/Organization/history/_history?_count=1")
        assert (status, bundle["type"]) == (200, "history")
        # no total, no link, no fullUrl, no request, no response; _count ignored
        assert set(bundle) == {"resourceType", "type", "entry"}
        assert {key for entry in bundle["entry"] for key in entry} == {"resource"}
        orders.append([entry["resource"]["name"] for entry in bundle["entry"]])
    assert orders == [["second", "first"], ["first", "second"], ["second", "first"]]


async def test_there_is_no_type_history(world: World) -> None:
    status, body, _ = await world.call("GET", "/CareTeam/_history")
    assert (status, body["resourceType"]) == (404, "OperationOutcome")


@pytest.mark.parametrize("path", ["/metadata", "/_history", "/Nonsense"])
async def test_there_is_no_statement_any_word_is_taken_for_a_type(world: World, path: str) -> None:
    status, body, _ = await world.call("GET", path)
    assert (status, body) == (200, _searchset(total=0))


# --- the protocol


@pytest.mark.parametrize(
    ("query", "headers"),
    [("_format=xml", {}), ("status=active", {"Accept": "application/fhir+xml"}), ("_format=nonsense", {})],
)
async def test_every_answer_is_json(world: World, query: str, headers: dict[str, str]) -> None:
    status, _, response = await world.call("GET", f"/CareTeam?{query}", headers=headers)
    assert (status, response.content_type) == (200, "application/fhir+json")


async def test_strict_handling_is_not_known(world: World) -> None:
    assert (await world.search("unknown=1", headers={"Prefer": "handling=strict"}))["total"] == 0


async def test_malformed_values(world: World) -> None:
    status, outcome, _ = await world.call("GET", "/CareTeam?date=nonsense")
    assert (status, outcome["resourceType"]) == (400, "OperationOutcome")
    assert await world.search("_count=x") == _searchset(total=3)
    assert await world.found("_count=-1") == "AB"  # all but the last


# --- writing


async def test_an_update_creates_where_there_was_nothing_and_keeps_the_order_of_keys(world: World) -> None:
    await world.server.load([{"resourceType": "Organization", "id": "chosen", "name": "Chosen"}])
    _, body, _ = await world.call("GET", "/Organization/chosen")
    assert list(body) == ["resourceType", "id", "name", "meta"]


async def test_update_checks_the_id_and_if_match(world: World) -> None:
    organization = {"resourceType": "Organization", "id": "matched"}
    await world.server.load([organization])
    status, _, _ = await world.call("PUT", "/Organization/another", json=organization)
    assert status == 400
    stale = {"If-Match": 'W/"stale"'}
    status, _, _ = await world.call("PUT", "/Organization/matched", json=organization, headers=stale)
    assert status == 412


async def test_conditional_create(world: World) -> None:
    organization = {"resourceType": "Organization", "name": "never"}
    for query, expected in (("identifier=350000022", 200), ("_id=nobody", 201), ("name=never,Centre", 412)):
        status, _, _ = await world.call(
            "POST", "/Organization", json=organization, headers={"If-None-Exist": query}
        )
        assert status == expected, query


async def test_anything_that_is_json_is_held_and_empty_values_are_dropped(world: World) -> None:
    extension = {"url": "urn:example", "valueString": ""}
    odd = {"resourceType": "Organization", "id": "odd", "nonsense": 1, "_name": {"extension": [extension]}}
    await world.server.load([odd])
    _, body, _ = await world.call("GET", "/Organization/odd")
    assert body["nonsense"] == 1
    assert body["_name"] == {"extension": [{"url": "urn:example"}]}


async def test_a_failed_transaction_is_not_undone(world: World) -> None:
    entries = [
        {
            "resource": {"resourceType": "Organization", "id": key},
            "request": {"method": "PUT", "url": f"Organization/{url}"},
        }
        for key, url in (("half", "half"), ("wrong", "other"))
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    status, outcome, _ = await world.call("POST", "", json=bundle)
    assert (status, outcome["resourceType"]) == (400, "OperationOutcome")
    status, _, _ = await world.call("GET", "/Organization/half")
    assert status == 200  # the first entry stayed


async def test_what_was_deleted_is_unknown(world: World) -> None:
    await world.server.load([{"resourceType": "Organization", "id": "gone"}])
    assert (await world.call("DELETE", "/Organization/gone"))[0] == 200
    assert (await world.call("GET", "/Organization/gone"))[0] == 404  # FHIR: 410
