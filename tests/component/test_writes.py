"""Creating and updating through the federation (flux 1a, 1b, 4a, 4b): what is answered, and what the home then holds."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest
import pytest_asyncio

from adapters.sandbox.options import SandboxOptions
from registry.redis_keys import RedisKeys
from tests.contract.gestionnaire.people import CIRCLE_SYSTEM, RPPS, People
from tests.support.federation import Json, ids
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.write_federation import (
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

FHIR_XML = "application/fhir+xml"
AT_IDF = {"X-Gestionnaire": "idf"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(valkey_server: ValkeyServer) -> AsyncIterator[World]:
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    async with writable(Valkey(valkey_server.url, keys), options=SandboxOptions(check_profiles=False)) as it:
        yield it


@pytest.fixture
def people() -> People:
    return People()


# --- what an answer says


async def test_a_creation_says_where_when_and_which_version(world: World, people: People) -> None:
    answered = await world.send("POST", "Patient", someone(people))
    made = answered.json
    assert answered.status == 201
    assert home_of(made) == "bre"
    assert answered.headers["Location"] == f"{PUBLIC}/{key(made)}/_history/1"
    assert answered.headers["ETag"] == 'W/"1"'
    stated = parsedate_to_datetime(answered.headers["Last-Modified"])
    assert stated.isoformat()[:19] == made["meta"]["lastUpdated"][:19]
    assert answered.headers["X-Intermediary"] == "cds-broker"
    assert (await world.send("GET", key(made))).json == made


async def test_what_the_broker_adds_does_not_reach_the_home(world: World, people: People) -> None:
    """Source and region are said going out; a client that sends them back writes what it read."""
    made = await world.circle(people)
    held = world.at_home(made)
    assert {"source", "tag"} <= made["meta"].keys()
    assert not {"source", "tag"} & held["meta"].keys()
    answered = await world.send("PUT", key(made), made | {"name": "Autre nom"})
    assert answered.status == 200
    after = world.at_home(made)
    assert after | {"meta": None} == held | {"meta": None, "name": "Autre nom"}
    assert not {"source", "tag"} & after["meta"].keys()
    assert after["subject"]["reference"] == made["subject"]["reference"].replace("bre.", "")


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [("minimal", None), ("representation", "Practitioner"), ("OperationOutcome", "OperationOutcome")],
)
async def test_the_client_gets_back_what_it_prefers(
    world: World, people: People, wanted: str, kind: str | None
) -> None:
    sent = people.practitioner(f"Hamon{people.token}", "Lise")
    prefer = {"X_Gestionnaire": "idf", "Prefer": f"return={wanted}"}
    created = await world.send("POST", "Practitioner", sent, **prefer)
    held = (await world.send("GET", created.headers["Location"].removeprefix(PUBLIC + "/"))).json
    updated = await world.send("PUT", key(held), held | {"gender": "female"}, **prefer)
    assert (created.status, updated.status) == (201, 200)
    for answered, version in ((created, "1"), (updated, "2")):
        assert answered.headers["ETag"] == f'W/"{version}"'
        assert answered.headers["Preference-Applied"] == f"return={wanted}"
        assert (answered.body == b"") if kind is None else answered.json["resourceType"] == kind
    if wanted == "OperationOutcome":
        assert keys_told(created) == keys_told(updated) == ["write.stored"]


async def test_xml_goes_in_and_comes_out(world: World, people: People) -> None:
    body = (
        '<Practitioner xmlns="http://hl7.org/fhir">'
        f'<identifier><system value="{RPPS}"/><value value="x{people.token}"/></identifier>'
        f'<name><family value="Hamon{people.token}"/></name></Practitioner>'
    )
    answered = await world.send(
        "POST",
        "Practitioner",
        body,
        Content_Type=f"{FHIR_XML}; charset=utf-8",
        Accept=FHIR_XML,
        X_Gestionnaire="cor",
    )
    assert answered.status == 201
    assert answered.headers["Content-Type"].startswith(FHIR_XML)
    assert f'<family value="Hamon{people.token}"/>'.encode() in answered.body
    [version] = world.held("cor", "Practitioner", people.token)
    assert version.content["name"] == [{"family": f"Hamon{people.token}"}]
    wrong = await world.send("POST", "Practitioner", "<Practitioner", Content_Type=FHIR_XML, Accept=FHIR_XML)
    assert wrong.status == 400
    assert b"<OperationOutcome " in wrong.body


async def test_an_ins_with_a_wrong_key_is_a_warning(world: World, people: People) -> None:
    sent = someone(people)
    value = sent["identifier"][0]["value"]
    sent["identifier"][0]["value"] = f"{value[:13]}{(int(value[13:]) + 1) % 98:02}"
    answered = await world.send("POST", "Patient", sent)
    assert answered.status == 201
    assert answered.headers["Warning"] == '199 cds-broker "write.ins-key Patient.identifier[0].value"'
    again = await world.send(
        "PUT", key(answered.json), answered.json | {"gender": "other"}, Prefer="return=OperationOutcome"
    )
    assert again.status == 200
    [stored, warning] = told(again)
    assert (stored.key, warning.key, warning.severity) == ("write.stored", "write.ins-key", "warning")
    assert warning.paths == ("Patient.identifier[0].value",)
    assert value[:13] not in str(warning.texts) + again.headers["Warning"]
    right = await world.send("POST", "Patient", someone(people))
    assert "Warning" not in right.headers


# --- versions and conditions


async def test_if_match_names_the_version_that_is_there(world: World, people: People) -> None:
    made = await world.circle(people)
    stale, fresh = {"If_Match": 'W/"77"'}, {"If_Match": 'W/"1"'}
    refused = await world.send("PUT", key(made), made | {"status": "suspended"}, **stale)
    assert (refused.status, keys_told(refused)) == (412, ["request.precondition"])
    assert world.at_home(made)["status"] == "active"
    done = await world.send("PUT", key(made), made | {"status": "suspended"}, **fresh)
    assert (done.status, done.headers["ETag"]) == (200, 'W/"2"')
    late = await world.send("PUT", key(made), made | {"status": "inactive"}, **fresh)
    assert late.status == 412
    any_version = await world.send("PUT", key(made), made | {"status": "inactive"}, If_Match="*")
    assert any_version.status == 200
    assert world.at_home(made)["status"] == "inactive"


async def test_the_same_actor_is_created_once_at_one_manager(world: World, people: People) -> None:
    sent = people.practitioner(f"Hamon{people.token}", "Lise")
    first = await world.send("POST", "Practitioner", sent, X_Gestionnaire="bre")
    second = await world.send("POST", "Practitioner", sent | {"gender": "female"}, X_Gestionnaire="bre")
    elsewhere = await world.send("POST", "Practitioner", sent, X_Gestionnaire="idf")
    assert [one.status for one in (first, second, elsewhere)] == [201, 200, 201]
    assert second.json == first.json
    assert second.headers["Location"] == first.headers["Location"]
    assert world.counted("Practitioner", people.token) == {"bre": 1, "idf": 1}


async def test_if_none_exist_of_an_actor_is_its_homes(world: World, people: People) -> None:
    name = f"Cabinet {people.token}"
    condition = {"If_None_Exist": f"name:exact={name}"}
    sent = people.organization(name)
    first = await world.send("POST", "Organization", sent, X_Gestionnaire="bre", **condition)
    again = people.organization(name)
    second = await world.send("POST", "Organization", again, X_Gestionnaire="bre", **condition)
    other = await world.send("POST", "Organization", again, X_Gestionnaire="idf", **condition)
    assert [one.status for one in (first, second, other)] == [201, 200, 201]
    assert second.json["id"] == first.json["id"]
    assert home_of(other.json) == "idf"


async def test_if_none_exist_of_a_circle_is_the_federations(world: World, people: People) -> None:
    made = await world.circle(people, home="cor")
    patient = await world.made(someone(people), X_Gestionnaire="idf")
    sent = people.circle("b", key(patient), [])
    condition = f"identifier={CIRCLE_SYSTEM}|{made['identifier'][0]['value']}"
    answered = await world.send("POST", "CareTeam", sent, If_None_Exist=condition)
    assert (answered.status, answered.json) == (200, made)
    assert answered.headers["Location"].startswith(f"{PUBLIC}/{key(made)}")
    none = await world.send(
        "POST", "CareTeam", sent, If_None_Exist=f"identifier={CIRCLE_SYSTEM}|none-{people.token}"
    )
    assert (none.status, home_of(none.json)) == (201, "idf")


async def test_if_none_exist_that_several_meet_is_refused(world: World, people: People) -> None:
    name = f"Cabinet {people.token}"
    for _ in range(2):
        await world.made(people.organization(name), X_Gestionnaire="idf")
    answered = await world.send(
        "POST", "Organization", people.organization(name), X_Gestionnaire="idf", If_None_Exist=f"name={name}"
    )
    assert (answered.status, keys_told(answered)) == (412, ["request.several-matches"])
    for home in ("bre", "cor"):
        await world.circle(people, home=home, name=home)
    patient = await world.made(someone(people))
    circles = ",".join(f"{CIRCLE_SYSTEM}|{people.token}-{home}" for home in ("bre", "cor"))
    answered = await world.send(
        "POST", "CareTeam", people.circle("c", key(patient), []), If_None_Exist=f"identifier={circles}"
    )
    assert (answered.status, keys_told(answered)) == (412, ["request.several-matches"])


async def test_a_condition_is_never_applied_in_part(world: World, people: People) -> None:
    sent = people.organization(f"Cabinet {people.token}")
    for condition in ("colour=blue", "name:loudest=x", "_count=1", ""):
        answered = await world.send(
            "POST", "Organization", sent, X_Gestionnaire="bre", If_None_Exist=condition
        )
        assert answered.status == 400, (condition, answered.body)
    assert world.counted("Organization", people.token) == {}


# --- homes


@pytest.mark.parametrize(("stated", "home"), [(None, "bre"), ("idf", "idf"), (" cor ", "cor")])
async def test_a_person_goes_where_it_is_said_or_lives(
    world: World, people: People, stated: str | None, home: str
) -> None:
    headers = {} if stated is None else {"X_Gestionnaire": stated}
    made = await world.made(someone(people), **headers)
    assert home_of(made) == home
    assert world.counted("Patient", people.token) == {home: 1}


async def test_what_belongs_with_something_goes_to_its_manager(world: World, people: People) -> None:
    """A circle and a relative with their person, a role with its carer, a department with its structure."""
    patient = await world.made(someone(people), X_Gestionnaire="cor")
    structure = await world.made(people.organization(f"A {people.token}"), X_Gestionnaire="cor")
    doctor = await world.made(people.practitioner("Hamon", "Lise"), X_Gestionnaire="cor")
    contact = people.contact(key(patient), "Riou", "Nolwenn", role="QUAL", city="Rennes")
    for sent in (
        people.circle("c", key(patient), []),
        contact,
        people.role(key(doctor), key(structure), "10"),
        people.organization(f"B {people.token}", part_of=key(structure)),
    ):
        assert home_of(await world.made(sent)) == "cor", sent["resourceType"]


async def test_the_structures_address_decides_where_it_has_one(world: World, people: People) -> None:
    sent = people.organization(f"A {people.token}") | {"address": [{"postalCode": "75011"}]}
    assert home_of(await world.made(sent)) == "idf"


# --- what is written is found


async def test_a_new_circle_and_its_changes_are_found(world: World, people: People) -> None:
    patient = await world.made(someone(people))
    made = await world.made(people.circle("e", key(patient), []))
    found = await world.send("GET", f"CareTeam?patient.identifier={token(patient)}")
    assert ids(found.json) == [made["id"]]
    await world.send("PUT", key(made), made | {"status": "inactive"})
    inactive = f"CareTeam?patient.identifier={token(patient)}&status=inactive"
    assert ids((await world.send("GET", inactive)).json) == [made["id"]]
    history = (await world.send("GET", f"{key(made)}/_history")).json
    assert [one["resource"]["status"] for one in history["entry"]] == ["inactive", "active"]


async def test_a_member_of_the_home_is_held_by_its_own_id(world: World, people: People) -> None:
    """References of any form a client may use: relative, absolute, with a version."""
    structure = await world.made(people.organization(f"A {people.token}"), X_Gestionnaire="bre")
    patient = await world.made(someone(people))
    local = structure["id"].removeprefix("bre.")
    forms = [key(structure), f"{PUBLIC}/{key(structure)}", f"{key(structure)}/_history/1"]
    made = await world.made(people.circle("f", key(patient), [(one, "2024-01-10", None) for one in forms]))
    members = [one["member"]["reference"] for one in world.at_home(made)["participant"]]
    assert [member.rpartition(local)[1:] for member in members] == [
        (local, ""),
        (local, ""),
        (local, "/_history/1"),
    ]
    assert not any(slug_in(one) for one in members)
    shown: list[Json] = (await world.send("GET", key(made))).json["participant"]
    assert all(key(structure) in one["member"]["reference"] for one in shown)


def slug_in(reference: str) -> bool:
    return "bre." in reference or PUBLIC in reference
