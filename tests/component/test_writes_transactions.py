"""Transactions through the federation (flux 1c, 4c): whole at one manager, or refused with the reason."""

from __future__ import annotations

import json
import re
import tarfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from registry.redis_keys import RedisKeys
from tests.contract.gestionnaire.people import People
from tests.contract.gestionnaire.test_writing_transaction import creation, entry, urn
from tests.support.federation import Answered, Json
from tests.support.fhir_builders import operation_outcome
from tests.support.scripted_manager import Received, Reply, reply, scripted_manager
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.write_federation import (
    COPY,
    PUBLIC,
    World,
    home_of,
    key,
    keys_told,
    living,
    someone,
    token,
    told,
    writable,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGE = Path(__file__).parents[3] / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"
EXAMPLE = "package/example/Bundle-cds-bundle-transaction-creation-example.json"
KINDS = ("CareTeam", "Patient", "Organization", "Practitioner", "PractitionerRole")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(valkey_server: ValkeyServer) -> AsyncIterator[World]:
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    async with writable(Valkey(valkey_server.url, keys)) as running:
        yield running


@pytest.fixture
def people() -> People:
    return People()


def bundle(*entries: Json) -> Json:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


async def transact(world: World, *entries: Json, **headers: str) -> Answered:
    return await world.send("POST", "", bundle(*entries), **headers)


async def done(world: World, *entries: Json, **headers: str) -> list[Json]:
    """The entries of the answer to a transaction that succeeds."""
    answered = await transact(world, *entries, **headers)
    assert answered.status == 200, answered.body
    body = answered.json
    assert (body["resourceType"], body["type"]) == ("Bundle", "transaction-response")
    found: list[Json] = body["entry"]
    return found


def places(entries: list[Json]) -> list[str]:
    """`Type/public id` of each entry, by its response's location, which must be the federation's."""
    found = []
    for one in entries:
        location, _, version = one["response"]["location"].partition("/_history/")
        assert location.startswith(PUBLIC + "/")
        assert version
        found.append(location.removeprefix(PUBLIC + "/"))
    return found


def untouched(world: World, people: People) -> bool:
    return not any(world.counted(kind, people.token) for kind in KINDS)


# --- done


async def test_a_creation_goes_whole_to_one_manager_in_order(world: World, people: People) -> None:
    answer = await done(world, *creation(people))
    _, patient, structure, doctor, role = places(answer)
    assert [place.partition("/")[0] for place in places(answer)] == list(KINDS)
    assert {place.partition("/")[2].partition(".")[0] for place in places(answer)} == {"bre"}
    for place, one in zip(places(answer), answer, strict=True):
        assert one["response"]["status"].startswith("201")
        assert one["response"]["etag"] == 'W/"1"'
        assert one["response"]["lastModified"]
        assert one["fullUrl"] == f"{PUBLIC}/{place}"
        assert key(one["resource"]) == place
        assert (await world.send("GET", place)).json == one["resource"]
    held = answer[0]["resource"]
    assert held["subject"]["reference"] == patient
    assert held["managingOrganization"][0]["reference"] == structure
    assert held["participant"][0]["member"]["reference"] == role
    assert answer[4]["resource"]["practitioner"]["reference"] == doctor
    for kind in KINDS:
        assert all(b"urn:uuid" not in one.raw for one in world.boxes["bre"].store.changes(kind))


async def test_it_goes_where_it_is_said_to(world: World, people: People) -> None:
    answer = await done(world, *creation(people), X_Gestionnaire="cor")
    assert all("/cor." in place for place in places(answer))
    entries = creation(People())
    entries[1]["resource"] = living(entries[1]["resource"], "75012")
    assert all("/idf." in place for place in places(await done(world, *entries)))


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [("minimal", None), ("representation", "resource"), ("OperationOutcome", "outcome")],
)
async def test_the_client_gets_back_what_it_prefers(
    world: World, people: People, wanted: str, kind: str | None
) -> None:
    answer = await done(world, *creation(people), Prefer=f"return={wanted}")
    for one in answer:
        assert ("resource" in one) is (kind == "resource")
        assert ("outcome" in one["response"]) is (kind == "outcome")
        assert one["response"]["location"].startswith(PUBLIC)


async def test_an_update_takes_old_and_new(world: World, people: People) -> None:
    made = await done(world, *creation(people))
    circle, patient, structure, *_ = (one["resource"] for one in made)
    contact = urn()
    joined = {"member": {"reference": contact}, "period": {"start": "2024-05-02"}}
    changed = circle | {"participant": [*circle["participant"], joined], "status": "suspended"}
    relative = people.contact(key(patient), f"Riou{people.token}", "Nolwenn", role="QUAL", city="Vitré")
    answer = await done(
        world,
        entry("PUT", key(circle), changed, ifMatch='W/"1"'),
        entry("POST", "RelatedPerson", relative, contact),
        entry("PUT", f"{PUBLIC}/{key(structure)}", structure | {"name": f"Maison {people.token}"}),
    )
    assert [one["response"]["status"][:3] for one in answer] == ["200", "201", "200"]
    assert answer[0]["response"]["etag"] == 'W/"2"'
    held = world.at_home(circle)
    assert held["status"] == "suspended"
    new = places(answer)[1]
    assert held["participant"][1]["member"]["reference"] == new.replace("bre.", "")
    assert answer[0]["resource"]["participant"][1]["member"]["reference"] == new
    assert world.at_home(structure)["name"] == f"Maison {people.token}"


async def test_relative_references_lead_to_the_entry_of_that_id(world: World, people: People) -> None:
    """As in the guide's example: `urn:uuid:` as fullUrl, and `Patient/the-id-in-the-entry` as reference."""
    person = someone(people) | {"id": "p"}
    circle = people.circle("r", "Patient/p", [("Organization/o", "2024-01-10", None)])
    structure = people.organization(f"Cabinet {people.token}") | {"id": "o"}
    answer = await done(
        world,
        entry("POST", "CareTeam", circle, urn()),
        entry("POST", "Organization", structure, urn()),
        entry("POST", "Patient", person, urn()),
    )
    held = answer[0]["resource"]
    assert held["subject"]["reference"] == places(answer)[2]
    assert held["participant"][0]["member"]["reference"] == places(answer)[1]


@pytest.mark.guide
@pytest.mark.skipif(not PACKAGE.exists(), reason="the guide's package is not beside the repository")
async def test_the_guides_own_example(world: World) -> None:
    """As published it is no FHIR: three translations are empty strings (FHIR R4, json.html#primitive). Told where, and,
    once they hold a text, done: by the address of its structure, its wrong INS key being a warning."""
    with tarfile.open(PACKAGE) as package:
        file = package.extractfile(EXAMPLE)
        assert file is not None
        published = file.read().decode("utf-8-sig")
    answered = await world.send("POST", "", published)
    assert answered.status == 500
    first, *empty = told(answered)
    assert first.key == "transaction.failed"
    assert {one.key for one in empty} == {"write.structure.empty"}
    assert [one.paths[0].partition(".extension")[0] for one in empty] == [
        "Bundle.entry[0].resource.name",
        "Bundle.entry[1].resource.name",
        "Bundle.entry[1].resource.alias[0]",
    ]
    mended = json.loads(re.sub(r'"valueString"\s*:\s*""', '"valueString":"-"', published))
    answered = await world.send("POST", "", mended)
    assert answered.status == 200, answered.body
    answer = [one for one in answered.json["entry"] if "location" in one["response"]]
    circle, structure, patient, relative = places(answer)
    assert all("/bre." in place for place in (circle, structure, patient, relative))
    held = world.at_home(answer[0]["resource"])
    assert held["subject"]["reference"] == patient.replace("bre.", "")
    assert [one["member"]["reference"] for one in held["participant"]] == [
        relative.replace("bre.", ""),
        structure.replace("bre.", ""),
    ]
    sent = mended["entry"][1]["resource"]
    stored = world.at_home(answer[1]["resource"])
    assert {name: stored[name] for name in sent if name not in ("id", "meta")} == {
        name: value for name, value in sent.items() if name not in ("id", "meta")
    }
    [warning] = answer[2]["response"]["outcome"]["issue"]
    assert warning["severity"] == "warning"
    assert warning["expression"] == ["Bundle.entry[2].resource.identifier[0].value"]
    assert ["outcome" in one["response"] for one in answer] == [False, False, True, False]
    again = await world.send("POST", "", mended)
    assert again.status == 409
    assert again.headers["Location"] == f"{PUBLIC}/{circle}"


async def test_conditions_find_who_is_there(world: World, people: People) -> None:
    entries = creation(people)
    structure = await world.made(entries[2]["resource"], X_Gestionnaire="bre")
    entries[2]["request"]["ifNoneExist"] = f"name:exact=Cabinet {people.token}"
    answer = await done(world, *entries)
    assert answer[2]["response"]["status"].startswith("200")
    assert places(answer)[2] == key(structure)
    assert answer[0]["resource"]["managingOrganization"][0]["reference"] == key(structure)


async def test_actors_whom_the_home_knows_are_taken_by_their_identifier(world: World, people: People) -> None:
    """Nobody said If-None-Exist: a second creation at the same manager is the first all the same."""
    entries = creation(people)
    person = await world.made(entries[1]["resource"])
    doctor = await world.made(entries[3]["resource"], X_Gestionnaire="bre")
    answer = await done(world, *entries)
    assert [one["response"]["status"][:3] for one in answer] == ["201", "200", "201", "200", "201"]
    assert (places(answer)[1], places(answer)[3]) == (key(person), key(doctor))
    assert world.counted("Practitioner", people.token) == {"bre": 1}


async def test_foreign_actors_go_along_and_are_not_shown(world: World, people: People) -> None:
    doctor = await world.made(people.practitioner(f"Le Goff{people.token}", "Yann"), X_Gestionnaire="idf")
    structure = await world.made(people.organization(f"Pôle {people.token}"), X_Gestionnaire="idf")
    role = await world.made(people.role(key(doctor), key(structure), "60"))
    entries = creation(people)
    joined = {"member": {"reference": key(role)}, "period": {"start": "2024-01-10"}}
    entries[0]["resource"]["participant"].append(joined)
    answer = await done(world, *entries)
    assert len(answer) == len(entries)
    member = answer[0]["resource"]["participant"][1]["member"]["reference"]
    assert member.startswith("PractitionerRole/bre.")
    copy = (await world.send("GET", member)).json
    assert COPY in copy["meta"]["tag"]
    assert copy["meta"]["source"] == f"{PUBLIC}/{key(role)}"
    assert home_of((await world.send("GET", copy["practitioner"]["reference"])).json) == "bre"
    assert world.counted("Practitioner", f"Le Goff{people.token}") == {"bre": 1, "idf": 1}


async def test_what_a_transaction_writes_is_found_at_once(world: World, people: People) -> None:
    answer = await done(world, *creation(people))
    found = await world.send("GET", f"CareTeam?patient.identifier={token(answer[1]['resource'])}")
    assert [one["resource"]["id"] for one in found.json["entry"]] == [answer[0]["resource"]["id"]]


# --- refused


async def test_every_problem_of_every_entry_is_told(world: World, people: People) -> None:
    entries = creation(people)
    del entries[0]["resource"]["name"]
    entries[2]["request"]["method"] = "DELETE"
    entries[4]["resource"]["practitioner"]["reference"] = urn()
    answered = await transact(world, *entries)
    assert answered.status == 500
    assert answered.json["resourceType"] == "OperationOutcome"
    assert {(one.key, one.paths) for one in told(answered)} == {
        ("transaction.failed", ()),
        ("write.rule.careteam-name", ("Bundle.entry[0].resource.name",)),
        ("transaction.method", ("Bundle.entry[2].request.method",)),
        ("transaction.dangling", ("Bundle.entry[4].resource.practitioner",)),
    }
    assert untouched(world, people)


@pytest.mark.parametrize(
    "body",
    [
        {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "x"}}]},
        {"resourceType": "Bundle", "type": "searchset"},
        {"resourceType": "Patient"},
        {"resourceType": "Bundle", "type": "transaction", "entry": []},
        {},
        "{",
    ],
)
async def test_what_is_no_transaction_is_refused(world: World, body: Any) -> None:
    answered = await world.send("POST", "", body or "{}")
    assert answered.status == 400
    assert answered.json["resourceType"] == "OperationOutcome"


async def test_one_that_cannot_go_to_one_manager_is_refused_with_the_reason(
    world: World, people: People
) -> None:
    circle = await world.circle(people, home="bre")
    structure = await world.made(people.organization(f"Pôle {people.token}"), X_Gestionnaire="idf")
    answered = await transact(
        world,
        entry("PUT", key(circle), circle | {"status": "inactive"}),
        entry("PUT", key(structure), structure | {"name": "Autre"}),
    )
    assert answered.status == 422
    assert [(one.key, one.paths, one.slug) for one in told(answered)] == [
        ("transaction.several-managers", (), None),
        ("transaction.entry-manager", ("Bundle.entry[0].request.url",), "bre"),
        ("transaction.entry-manager", ("Bundle.entry[1].request.url",), "idf"),
    ]
    stated = await transact(
        world, entry("PUT", key(circle), circle | {"status": "inactive"}), X_Gestionnaire="cor"
    )
    assert (stated.status, keys_told(stated)) == (422, ["transaction.several-managers"])
    assert world.at_home(circle)["status"] == "active"


async def test_a_second_circle_is_refused_with_the_address_of_the_first(world: World, people: People) -> None:
    """Its person comes as a new entry, and is known by the INS in it."""
    made = await world.circle(people, home="cor")
    person = (await world.send("GET", made["subject"]["reference"])).json
    entries = creation(people)
    entries[1]["resource"]["identifier"] = person["identifier"]
    before = world.counted("Organization", people.token)
    answered = await transact(world, *entries)
    assert (answered.status, keys_told(answered)) == (409, ["write.second-circle"])
    assert answered.headers["Location"] == f"{PUBLIC}/{key(made)}"
    assert world.counted("Organization", people.token) == before


async def test_a_stale_or_missing_target_fails_the_whole(world: World, people: People) -> None:
    circle = await world.circle(people)
    structure = people.organization(f"Pôle {people.token}")
    answered = await transact(
        world,
        entry("POST", "Organization", structure, urn()),
        entry("PUT", key(circle), circle | {"status": "inactive"}, ifMatch='W/"9"'),
        entry("PUT", "Organization/bre.none", structure | {"id": "bre.none"}),
    )
    assert answered.status == 500
    assert [(one.key, one.paths) for one in told(answered)] == [
        ("transaction.failed", ()),
        ("request.precondition", ("Bundle.entry[1].request.ifMatch",)),
        ("request.not-found", ("Bundle.entry[2].request.url",)),
    ]
    assert world.at_home(circle)["status"] == "active"
    assert world.counted("Organization", f"Pôle {people.token}") == {}


async def test_a_copy_among_the_updates_is_refused_with_its_home(world: World, people: People) -> None:
    structure = await world.made(people.organization(f"Pôle {people.token}"), X_Gestionnaire="idf")
    patient = await world.made(someone(people))
    made = await world.made(people.circle("a", key(patient), [(key(structure), "2024-01-10", None)]))
    copy = (await world.send("GET", made["participant"][0]["member"]["reference"])).json
    answered = await transact(
        world, entry("PUT", key(made), made), entry("PUT", key(copy), copy | {"name": "x"})
    )
    assert answered.status == 409
    [issue] = told(answered)
    assert (issue.key, issue.paths) == ("write.replica", ("Bundle.entry[1].resource",))
    assert answered.headers["Location"] == f"{PUBLIC}/{key(structure)}"


async def test_who_is_unknown_or_has_no_identifier_is_named_with_its_path(
    world: World, people: People
) -> None:
    nameless = await world.made(
        {"resourceType": "Organization", "name": f"Sans {people.token}"}, X_Gestionnaire="idf"
    )
    entries = creation(people)
    for one in ("Organization/idf.none", key(nameless)):
        joined = {"member": {"reference": one}, "period": {"start": "2024-01-10"}}
        entries[0]["resource"]["participant"].append(joined)
    answered = await transact(world, *entries)
    assert answered.status == 422, answered.body
    assert {(one.key, path) for one in told(answered) for path in one.paths} == {
        ("write.reference-unknown", "Bundle.entry[0].resource.participant[1].member"),
        ("write.reference-no-identifier", "Bundle.entry[0].resource.participant[2].member"),
    }
    assert world.counted("CareTeam", people.token) == {}


@pytest.mark.parametrize("status", [400, 409, 412, 422, 500])
async def test_a_managers_failure_is_one_outcome_with_its_own_issues(
    valkey: Valkey, people: People, status: int
) -> None:
    outcome = operation_outcome("the region's own rule 17", code="business-rule")
    outcome["issue"][0]["expression"] = ["Bundle.entry[2].resource.name"]

    def own(received: Received) -> Reply:
        return reply(outcome, status)

    async with writable(valkey) as world, scripted_manager() as strict:
        strict.replies[""] = own
        await world.register(strict.gestionnaire("occ", region="76"))
        answered = await transact(world, *creation(people), X_Gestionnaire="occ")
        assert answered.status == 500
        assert answered.json["resourceType"] == "OperationOutcome"
        issues = told(answered)
        assert issues[0].key == "transaction.failed"
        [reported] = [one for one in issues if one.key == "manager.reported"]
        assert (reported.slug, reported.severity) == ("occ", "error")
        assert reported.paths == ("Bundle.entry[2].resource.name",)
        assert b"the region's own rule 17" in answered.body
        # Nothing holds the person: the same goes through elsewhere.
        await done(world, *creation(people), X_Gestionnaire="bre")
