"""Flux 1c and 4c: transactions, whole or not at all (cds.md section 1; FHIR R4, http.html#transaction)."""

from __future__ import annotations

import uuid

import pytest

from .client import Answer, Gestionnaire, Json, key, keys, refused, target_of
from .people import People
from .world import World, create_resource, token


@pytest.fixture
def people() -> People:
    return People()


def entry(method: str, url: str, resource: Json, full_url: str | None = None, **request: str) -> Json:
    made = {"resource": resource, "request": {"method": method, "url": url, **request}}
    return made if full_url is None else {"fullUrl": full_url, **made}


def urn() -> str:
    return f"urn:uuid:{uuid.uuid4()}"


async def transact(gestionnaire: Gestionnaire, *entries: Json) -> Answer:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return await gestionnaire.send("POST", "", body=bundle)


def creation(people: People) -> list[Json]:
    """A circle first, then everybody it refers to by `urn:uuid:`."""
    patient, structure, doctor, role = urn(), urn(), urn(), urn()
    person = people.patient(
        f"Riou{people.token}", "Gaël", "1960-02-03", gender="male", city="Vitré", born_at="Redon"
    )
    circle = people.circle("i", patient, [(role, "2024-01-10", None)], managed_by=(structure,))
    return [
        entry("POST", "CareTeam", circle, urn()),
        entry("POST", "Patient", person, patient),
        entry("POST", "Organization", people.organization(f"Cabinet {people.token}"), structure),
        entry("POST", "Practitioner", people.practitioner(f"Hamon{people.token}", "Lise"), doctor),
        entry("POST", "PractitionerRole", people.role(doctor, structure, "10"), role),
    ]


def locations(answer: Answer) -> list[str]:
    """`Type/id` of each entry of a transaction-response, in order."""
    body = answer.json
    assert (body["resourceType"], body["type"]) == ("Bundle", "transaction-response")
    return [target_of(item["response"]["location"]) for item in body["entry"]]


async def absent(gestionnaire: Gestionnaire, *resources: Json) -> None:
    for resource in resources:
        criterion = ("identifier", token(resource["identifier"][0]))
        assert await gestionnaire.search_all(resource["resourceType"], [criterion]) == []


async def test_a_creation_answers_each_entry_in_order_and_links_them(
    gestionnaire: Gestionnaire, people: People
) -> None:
    answer = await transact(gestionnaire, *creation(people))
    assert answer.status == 200
    circle, patient, structure, doctor, role = places = locations(answer)
    assert [place.partition("/")[0] for place in places] == [
        "CareTeam",
        "Patient",
        "Organization",
        "Practitioner",
        "PractitionerRole",
    ]
    assert all(item["response"]["status"].startswith("201") for item in answer.json["entry"])
    held = (await gestionnaire.get(circle)).json
    assert target_of(held["subject"]["reference"]) == patient
    assert target_of(held["participant"][0]["member"]["reference"]) == role
    assert target_of(held["managingOrganization"][0]["reference"]) == structure
    held = (await gestionnaire.get(role)).json
    assert target_of(held["practitioner"]["reference"]) == doctor


async def test_an_update_takes_the_circle_with_new_and_old_actors(
    gestionnaire: Gestionnaire, people: People
) -> None:
    made = await transact(gestionnaire, *creation(people))
    circle, patient, structure, _, role = locations(made)
    held, old = (await gestionnaire.get(circle)).json, (await gestionnaire.get(structure)).json
    contact = urn()
    joined = {"member": {"reference": contact}, "period": {"start": "2024-05-02"}}
    changed = held | {"participant": [*held["participant"], joined]}
    person = people.contact(patient, f"Riou{people.token}", "Nolwenn", role="QUAL", city="Vitré")
    answer = await transact(
        gestionnaire,
        entry("PUT", circle, changed),
        entry("POST", "RelatedPerson", person, contact),
        entry("PUT", structure, old | {"name": f"Maison {people.token}"}),
    )
    assert answer.status == 200
    statuses = [item["response"]["status"][:3] for item in answer.json["entry"]]
    assert statuses == ["200", "201", "200"]
    after = (await gestionnaire.get(circle)).json
    assert after["meta"]["versionId"] != held["meta"]["versionId"]
    members = [target_of(participant["member"]["reference"]) for participant in after["participant"]]
    assert members == [role, locations(answer)[1]]
    assert (await gestionnaire.get(structure)).json["name"] == f"Maison {people.token}"


async def test_a_failed_creation_leaves_nothing_behind(gestionnaire: Gestionnaire, people: People) -> None:
    entries = creation(people)
    wrong = entry("POST", "CareTeam", {"resourceType": "CareTeam", "status": "active"}, urn())
    refused(await transact(gestionnaire, *entries, wrong), 500)
    made = [item["resource"] for item in entries]
    await absent(gestionnaire, *(item for item in made if item["resourceType"] != "PractitionerRole"))


async def test_a_failed_update_changes_nothing(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    structure = await create_resource(gestionnaire, people.organization(f"Cabinet {people.token}"))
    circle = world.circles[0]
    newcomer = people.organization(f"Maison {people.token}")
    answer = await transact(
        gestionnaire,
        entry("PUT", key(structure), structure | {"name": "changed"}),
        entry("POST", "Organization", newcomer, urn()),
        entry("PUT", key(circle), circle | {"id": "another"}),
    )
    refused(answer, 500)
    assert (await gestionnaire.get(key(structure))).json == structure
    assert (await gestionnaire.get(key(circle))).json == circle
    await absent(gestionnaire, newcomer)


async def test_a_conditional_create_in_a_transaction_finds_who_is_there(
    gestionnaire: Gestionnaire, people: People
) -> None:
    entries = creation(people)
    structure = await create_resource(gestionnaire, entries[2]["resource"])
    condition = f"identifier={token(structure['identifier'][0])}"
    entries[2]["request"]["ifNoneExist"] = condition
    answer = await transact(gestionnaire, *entries)
    assert answer.status == 200
    assert answer.json["entry"][2]["response"]["status"].startswith("200")
    held = (await gestionnaire.get(locations(answer)[0])).json
    assert target_of(held["managingOrganization"][0]["reference"]) == key(structure)


async def test_a_circle_of_a_transaction_is_found_at_once(gestionnaire: Gestionnaire, people: People) -> None:
    entries = creation(people)
    answer = await transact(gestionnaire, *entries)
    identifier = token(entries[1]["resource"]["identifier"][0])
    found = await gestionnaire.search_all("CareTeam", [("patient.identifier", identifier)])
    assert keys(found) == [locations(answer)[0]]


async def test_what_is_no_transaction_is_refused(gestionnaire: Gestionnaire) -> None:
    refused(await gestionnaire.send("POST", "", body={"resourceType": "Patient"}), 400, 422, 500)
    bundle = {"resourceType": "Bundle", "type": "searchset"}
    refused(await gestionnaire.send("POST", "", body=bundle), 400, 422, 500)
