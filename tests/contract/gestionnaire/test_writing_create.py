"""Flux 1a and 1b: create, conditional create (cds.md sections 1, 3; FHIR R4, http.html#create, #ccreate)."""

from __future__ import annotations

import pytest

from .client import FHIR_JSON, FHIR_XML, Gestionnaire, Json, key, refused, target_of
from .people import People
from .test_metadata import resource as stated
from .world import World, create_resource, token

WRITING = {
    "CareTeam": {"create", "update"},
    "Patient": {"create", "update"},
    "RelatedPerson": {"create", "update"},
    "Practitioner": {"create", "update"},
    "PractitionerRole": {"create", "update"},
    "Organization": {"create", "update"},
}


@pytest.fixture
def people() -> People:
    return People()


def without_meta(resource: Json) -> Json:
    kept = {name: value for name, value in resource.items() if name not in {"id", "meta"}}
    return kept | {"profile": resource.get("meta", {}).get("profile")}


@pytest.mark.parametrize("resource_type", WRITING)
async def test_the_statement_lists_the_writing_interactions(
    gestionnaire: Gestionnaire, resource_type: str
) -> None:
    offered = {item["code"] for item in (await stated(gestionnaire, resource_type))["interaction"]}
    assert offered >= WRITING[resource_type]


async def test_a_created_resource_says_where_it_is_and_which_version(
    gestionnaire: Gestionnaire, people: People
) -> None:
    sent = people.organization(f"Cabinet {people.token}")
    answer = await gestionnaire.send(
        "POST", "Organization", body=sent, headers={"Prefer": "return=representation"}
    )
    assert answer.status == 201
    body = answer.json
    assert without_meta(body) == without_meta(sent)
    version = body["meta"]["versionId"]
    assert answer.headers["location"].endswith(f"/{key(body)}/_history/{version}")
    assert answer.headers["etag"] == f'W/"{version}"'
    assert answer.headers["last-modified"]
    assert (await gestionnaire.get(key(body))).json == body


async def test_every_kind_of_actor_and_a_circle_are_held_as_sent(
    gestionnaire: Gestionnaire, people: People
) -> None:
    async def create(sent: Json) -> str:
        held = await create_resource(gestionnaire, sent)
        assert without_meta(held) == without_meta(sent)
        return key(held)

    patient = await create(
        people.patient(
            f"Riou{people.token}", "Gaël", "1960-02-03", gender="male", city="Vitré", born_at="Redon"
        )
    )
    structure = await create(people.organization(f"Cabinet {people.token}"))
    doctor = await create(people.practitioner(f"Hamon{people.token}", "Lise"))
    role = await create(people.role(doctor, structure, "10"))
    contact = await create(
        people.contact(patient, f"Riou{people.token}", "Nolwenn", role="CAREGIVER", city="Vitré")
    )
    members: list[tuple[str, str, str | None]] = [
        (role, "2024-01-10", "2024-03-01"),
        (contact, "2024-01-10", None),
    ]
    await create(people.circle("e", patient, [*members, (role, "2024-09-01", None)], managed_by=(structure,)))


async def test_the_server_gives_the_id(gestionnaire: Gestionnaire, people: People) -> None:
    sent = people.organization(f"Cabinet {people.token}") | {"id": "chosen-by-the-client"}
    held = await create_resource(gestionnaire, sent)
    assert held["id"] != "chosen-by-the-client"


@pytest.mark.parametrize(("wanted", "kind"), [("minimal", None), ("OperationOutcome", "OperationOutcome")])
async def test_the_client_may_want_less_back(
    gestionnaire: Gestionnaire, people: People, wanted: str, kind: str | None
) -> None:
    sent = people.organization(f"Cabinet {people.token}")
    answer = await gestionnaire.send(
        "POST", "Organization", body=sent, headers={"Prefer": f"return={wanted}"}
    )
    assert answer.status == 201
    if kind is None:
        assert answer.text == ""
    else:
        assert answer.json["resourceType"] == kind
    assert (await gestionnaire.get(target_of(answer.headers["location"]))).status == 200


async def test_xml_is_taken(gestionnaire: Gestionnaire, people: People) -> None:
    name = f"Cabinet {people.token}"
    body = f'<Organization xmlns="http://hl7.org/fhir"><name value="{name}"/></Organization>'
    answer = await gestionnaire.send("POST", "Organization", body=body, headers={"Content-Type": FHIR_XML})
    assert answer.status == 201
    held = (await gestionnaire.get(target_of(answer.headers["location"]))).json
    assert held["name"] == name


@pytest.mark.parametrize("element", ["identifier", "status", "name", "subject", "period"])
async def test_a_circle_without_what_the_profile_asks_for_is_refused(
    gestionnaire: Gestionnaire, world: World, people: People, element: str
) -> None:
    circle = people.circle("f", key(world.of_type("Patient")[0]), [])
    del circle[element]
    refused(await gestionnaire.send("POST", "CareTeam", body=circle), 400, 422)


async def test_a_member_of_another_kind_is_refused(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    patient = key(world.of_type("Patient")[0])
    circle = people.circle("g", patient, [(patient, "2024-01-10", None)])
    refused(await gestionnaire.send("POST", "CareTeam", body=circle), 400, 422)


@pytest.mark.parametrize(
    "body", ["{", "[]", "null", '{"resourceType": "Organization"}', '{"status": "active"}']
)
async def test_a_body_that_is_no_circle_is_refused(gestionnaire: Gestionnaire, body: str) -> None:
    refused(await gestionnaire.send("POST", "CareTeam", body=body), 400, 422)


async def test_another_content_type_is_refused(gestionnaire: Gestionnaire) -> None:
    answer = await gestionnaire.send(
        "POST", "CareTeam", body="{}", headers={"Content-Type": "application/pdf"}
    )
    refused(answer, 415)


async def test_a_conditional_create_creates_once(gestionnaire: Gestionnaire, people: People) -> None:
    sent = people.organization(f"Cabinet {people.token}")
    condition = {"If-None-Exist": f"identifier={token(sent['identifier'][0])}"}
    first = await gestionnaire.send("POST", "Organization", body=sent, headers=condition)
    second = await gestionnaire.send("POST", "Organization", body=sent, headers=condition)
    assert (first.status, second.status) == (201, 200)
    assert target_of(second.headers["location"]) == target_of(first.headers["location"])
    assert len(await gestionnaire.search_all("Organization", [("name:exact", sent["name"])])) == 1


async def test_a_conditional_create_that_several_meet_is_refused(
    gestionnaire: Gestionnaire, people: People
) -> None:
    """Two structures of one name and of two identifiers: a server may hold no more than one of each identifier."""
    name = f"Cabinet {people.token}"
    held = [await create_resource(gestionnaire, people.organization(name)) for _ in range(2)]
    sent = people.organization(name)
    both = ",".join(token(one["identifier"][0]) for one in held)
    for condition in (f"name:exact={name}", f"identifier={both}"):
        answer = await gestionnaire.send(
            "POST", "Organization", body=sent, headers={"If-None-Exist": condition}
        )
        refused(answer, 412)
        assert answer.media_type == FHIR_JSON
    assert await gestionnaire.search_all("Organization", [("identifier", token(sent["identifier"][0]))]) == []
