"""Members from other managers: mirrored at the home by their business identifier, marked as copies, once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from registry.redis_keys import RedisKeys
from tests.contract.gestionnaire.people import People
from tests.support.federation import Json
from tests.support.scripted_manager import scripted_manager
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.write_federation import (
    COPY,
    PUBLIC,
    World,
    home_of,
    key,
    keys_told,
    someone,
    token,
    told,
    writable,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = "2024-01-10"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(valkey_server: ValkeyServer) -> AsyncIterator[World]:
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    async with writable(Valkey(valkey_server.url, keys)) as running:
        yield running


@pytest.fixture
def people() -> People:
    return People()


async def carer(world: World, people: People, home: str) -> tuple[Json, Json, Json]:
    """A role, its practitioner and its structure."""
    doctor = await world.made(people.practitioner(f"Hamon{people.token}", "Lise"), X_Gestionnaire=home)
    structure = await world.made(people.organization(f"Cabinet {people.token}"), X_Gestionnaire=home)
    return await world.made(people.role(key(doctor), key(structure), "10")), doctor, structure


async def test_a_carer_of_another_region_is_mirrored_at_the_home(world: World, people: People) -> None:
    role, doctor, structure = await carer(world, people, "idf")
    patient = await world.made(someone(people))
    made = await world.made(people.circle("a", key(patient), [(key(role), START, None)]))
    member = made["participant"][0]["member"]["reference"]
    assert home_of(made) == "bre"
    assert member.startswith("PractitionerRole/bre.")
    mirrored = (await world.send("GET", member)).json
    copies = [
        mirrored,
        (await world.send("GET", mirrored["practitioner"]["reference"])).json,
        (await world.send("GET", mirrored["organization"]["reference"])).json,
    ]
    for copy, original in zip(copies, (role, doctor, structure), strict=True):
        assert home_of(copy) == "bre"
        assert COPY in copy["meta"]["tag"]
        assert copy["meta"]["source"] == f"{PUBLIC}/{key(original)}"
        assert copy["identifier"] == original["identifier"]
    assert COPY not in made["meta"].get("tag", [])


async def test_a_carer_is_mirrored_once(world: World, people: People) -> None:
    role, _, _ = await carer(world, people, "cor")
    patients = [await world.made(someone(people)) for _ in range(4)]
    circles = [
        people.circle(f"c{n}", key(patient), [(key(role), START, None), (key(role), "2025-01-01", None)])
        for n, patient in enumerate(patients)
    ]
    first = await world.made(circles[0])
    rest = await asyncio.gather(*(world.made(one) for one in circles[1:]))
    members = {one["member"]["reference"] for circle in (first, *rest) for one in circle["participant"]}
    assert len(members) == 1
    assert world.counted("Practitioner", people.token) == {"bre": 1, "cor": 1}
    assert world.counted("Organization", people.token) == {"bre": 1, "cor": 1}
    role_value = role["identifier"][0]["value"]
    assert world.counted("PractitionerRole", role_value) == {"bre": 1, "cor": 1}


async def test_whom_the_home_knows_already_is_not_mirrored(world: World, people: People) -> None:
    sent = people.organization(f"Cabinet {people.token}")
    here = await world.made(sent, X_Gestionnaire="bre")
    there = await world.made(sent, X_Gestionnaire="idf")
    patient = await world.made(someone(people))
    made = await world.made(people.circle("a", key(patient), [(key(there), START, None)]))
    assert made["participant"][0]["member"]["reference"] == key(here)
    assert world.counted("Organization", people.token) == {"bre": 1, "idf": 1}
    assert COPY not in world.at_home(here)["meta"].get("tag", [])


async def test_an_update_brings_in_a_carer_too(world: World, people: People) -> None:
    made = await world.circle(people)
    role, _, _ = await carer(world, people, "idf")
    joined = {"member": {"reference": key(role)}, "period": {"start": START}}
    answered = await world.send(
        "PUT", key(made), made | {"participant": [*made["participant"], joined]}, If_Match='W/"1"'
    )
    assert answered.status == 200
    members = [one["member"]["reference"] for one in answered.json["participant"]]
    assert members[0] == made["participant"][0]["member"]["reference"]
    assert members[1].startswith("PractitionerRole/bre.")


async def test_a_circle_may_be_asked_for_elsewhere_than_its_person_is(world: World, people: People) -> None:
    """The client says so. The person is mirrored there, and still has one circle in all."""
    patient = await world.made(someone(people))
    made = await world.made(people.circle("a", key(patient), []), X_Gestionnaire="idf")
    assert home_of(made) == "idf"
    mirrored = (await world.send("GET", made["subject"]["reference"])).json
    assert home_of(mirrored) == "idf"
    assert COPY in mirrored["meta"]["tag"]
    assert token(mirrored) == token(patient)
    for subject in (key(patient), key(mirrored)):
        again = await world.send("POST", "CareTeam", people.circle("b", subject, []))
        assert again.status == 409
        assert again.headers["Location"] == f"{PUBLIC}/{key(made)}"


async def test_a_copy_is_changed_at_its_home_alone(world: World, people: People) -> None:
    structure = await world.made(people.organization(f"Cabinet {people.token}"), X_Gestionnaire="idf")
    patient = await world.made(someone(people))
    made = await world.made(people.circle("a", key(patient), [(key(structure), START, None)]))
    copy = (await world.send("GET", made["participant"][0]["member"]["reference"])).json
    refused = await world.send("PUT", key(copy), copy | {"name": "Autre"})
    assert refused.status == 409
    assert refused.headers["Location"] == f"{PUBLIC}/{key(structure)}"
    assert keys_told(refused) == ["write.replica"]
    done = await world.send("PUT", key(structure), structure | {"name": "Autre"})
    assert done.status == 200


async def test_who_is_unknown_or_has_no_identifier_is_named_with_its_path(
    world: World, people: People
) -> None:
    nameless = await world.made(
        {"resourceType": "Organization", "name": f"Sans {people.token}"}, X_Gestionnaire="idf"
    )
    known = await world.made(people.organization(f"Cabinet {people.token}"), X_Gestionnaire="idf")
    patient = await world.made(someone(people))
    members = ["Organization/idf.none", key(nameless), key(known), "Organization/zzz.1", "Organization/1"]
    sent = people.circle("a", key(patient), [(one, START, None) for one in members])
    sent["managingOrganization"] = [{"reference": key(nameless)}]
    answered = await world.send("POST", "CareTeam", sent)
    assert answered.status == 422
    places = {(one.key, path) for one in told(answered) for path in one.paths}
    assert places == {
        ("write.reference-unknown", "CareTeam.participant[0].member"),
        ("write.reference-no-identifier", "CareTeam.participant[1].member"),
        ("write.reference-unknown", "CareTeam.participant[3].member"),
        ("write.reference-unknown", "CareTeam.participant[4].member"),
        ("write.reference-no-identifier", "CareTeam.managingOrganization[0]"),
    }
    assert world.counted("Organization", people.token) == {"idf": 2}, "nothing is mirrored in part"
    assert world.counted("CareTeam", people.token) == {}
    # The person is as free as before.
    assert home_of(await world.made(people.circle("b", key(patient), [(key(known), START, None)]))) == "bre"


async def test_what_is_elsewhere_altogether_stays_as_it_is(world: World, people: People) -> None:
    patient = await world.made(someone(people))
    sent = people.circle("a", key(patient), [("https://elsewhere.example/fhir/Organization/7", START, None)])
    sent["contained"] = [{"resourceType": "Organization", "id": "in", "name": "Dedans"}]
    sent["participant"].append({"member": {"reference": "#in"}, "period": {"start": START}})
    sent["participant"].append({"member": {"display": "Quelqu'un"}, "period": {"start": START}})
    made = await world.made(sent)
    assert world.at_home(made)["participant"] == sent["participant"]


async def test_a_carer_whose_manager_is_away_cannot_be_mirrored(valkey: Valkey, people: People) -> None:
    async with writable(valkey) as world, scripted_manager() as away:
        await world.register(away.gestionnaire("occ", region="76"))
        patient = await world.made(someone(people))
        await away.refuse()
        sent = people.circle("a", key(patient), [("Organization/occ.1", START, None)])
        answered = await world.send("POST", "CareTeam", sent, Prefer="uniqueness=accept-risk")
        assert answered.status == 503
        first, why = told(answered)
        assert (first.key, first.slug) == ("write.reference-unavailable", "occ")
        assert first.paths == ("CareTeam.participant[0].member",)
        assert (why.key.partition(".")[0], why.slug) == ("manager", "occ")
        assert world.counted("CareTeam", people.token) == {}
