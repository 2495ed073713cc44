"""Writes that are refused: what the client is told, all of it at once, and that no manager holds anything of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from adapters.sandbox.options import SandboxOptions
from registry.model import Status
from registry.redis_keys import RedisKeys
from tests.contract.gestionnaire.people import CDS, People
from tests.support.federation import Answered, Json
from tests.support.fhir_builders import Resource, bundle, operation_outcome
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
    told,
    writable,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(valkey_server: ValkeyServer) -> AsyncIterator[World]:
    """Its managers check no profile: what is refused is refused by the broker."""
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    async with writable(Valkey(valkey_server.url, keys), options=SandboxOptions(check_profiles=False)) as it:
        yield it


@pytest.fixture
def people() -> People:
    return People()


def writes(world: World) -> int:
    """How many there have been at all managers."""
    kinds = ("CareTeam", "Patient", "RelatedPerson", "Practitioner", "PractitionerRole", "Organization")
    return sum(len(box.store.changes(kind)) for box in world.boxes.values() for kind in kinds)


async def refused(world: World, status: int, method: str, target: str, body: Any, **headers: str) -> Answered:
    """The answer, the managers being as they were."""
    before = writes(world)
    answered = await world.send(method, target, body, **headers)
    assert answered.status == status, answered.body
    assert writes(world) == before
    issues = told(answered)
    assert issues[0].severity == "error"
    for issue in issues:
        assert len(set(issue.texts)) == 2, "French and English"
        assert not any("{" in text for text in issue.texts)
    return answered


# --- what is written


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "Patient?identifier=urn:x|1"),  # so fhirpy's get_or_create asks
        ("PUT", "Patient/bre.1?_lastUpdated=gt2026"),
        ("POST", "?identifier=urn:x|1"),
    ],
)
async def test_a_condition_in_the_address_is_not_left_out(
    world: World, people: People, method: str, target: str
) -> None:
    answered = await refused(world, 400, method, target, living(someone(people), "35000"))
    assert keys_told(answered) == ["request.criteria-in-address"]


async def test_the_format_may_stand_in_the_address(world: World, people: People) -> None:
    answered = await world.send("POST", "Patient?_format=json&_pretty=true", living(someone(people), "35000"))
    assert answered.status == 201, answered.body


async def test_all_problems_are_told_at_once_each_with_its_place(world: World, people: People) -> None:
    body = people.circle("a", "Organization/bre.1", [("Patient/bre.1", "2024-01-10", None)])
    body["participant"].append({"member": {"reference": "Organization/bre.2"}, "period": {"end": "2024"}})
    body["identifier"] *= 2
    del body["name"], body["period"]["start"]
    body["period"]["end"] = "2025"
    answered = await refused(world, 422, "POST", "CareTeam", body)
    assert [(one.key.removeprefix("write.rule."), one.paths) for one in told(answered)] == [
        ("careteam-identifier", ("CareTeam.identifier",)),
        ("careteam-name", ("CareTeam.name",)),
        ("careteam-subject-type", ("CareTeam.subject",)),
        ("careteam-start", ("CareTeam.period.start",)),
        ("careteam-member-type", ("CareTeam.participant[0].member",)),
        ("careteam-participant-start", ("CareTeam.participant[1].period.start",)),
    ]


async def test_what_is_no_fhir_comes_first_with_the_broken_rules(world: World, people: People) -> None:
    body = people.circle("a", "Patient/bre.1", []) | {"status": "open", "colour": "blue"}
    body["period"]["start"] = "10/01/2024"
    del body["name"]
    answered = await refused(world, 400, "POST", "CareTeam", body)
    issues = {one.key: one.paths for one in told(answered)}
    assert issues == {
        "write.structure.unknown-element": ("CareTeam.colour",),
        "write.structure.code": ("CareTeam.status",),
        "write.structure.format": ("CareTeam.period.start",),
        "write.rule.careteam-name": ("CareTeam.name",),
    }


RELATIVE: Json = {"resourceType": "RelatedPerson", "patient": {"reference": "Patient/bre.1"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            RELATIVE,
            {
                "relatedperson-identifier",
                "relatedperson-role",
                "relatedperson-name",
                "relatedperson-telecom",
            },
        ),
        (
            {"resourceType": "PractitionerRole", "practitioner": {"reference": "Patient/bre.1"}},
            {"reference-type"},
        ),
        ({"resourceType": "Practitioner", "meta": {"tag": [SUBSETTED]}}, {"subsetted"}),
        ({"resourceType": "Patient", "meta": {"tag": [COPY, SUBSETTED]}}, {"subsetted"}),
    ],
)
async def test_every_type_has_its_rules(world: World, body: Json, expected: set[str]) -> None:
    answered = await refused(world, 422, "POST", body["resourceType"], body, X_Gestionnaire="bre")
    assert {one.key.removeprefix("write.rule.") for one in told(answered)} == expected


async def test_an_update_is_checked_as_a_creation(world: World, people: People) -> None:
    made = await world.circle(people)
    broken = {name: value for name, value in made.items() if name != "name"}
    answered = await refused(world, 422, "PUT", key(made), broken)
    assert keys_told(answered) == ["write.rule.careteam-name"]
    part = made | {"meta": made["meta"] | {"tag": [SUBSETTED]}}
    answered = await refused(world, 422, "PUT", key(made), part)
    assert [one.paths for one in told(answered)] == [("CareTeam.meta.tag[0]",)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ('{"resourceType": "Organization"}', 400),
        ('{"resourceType": "CareTeam", "status": "active", "status": "inactive"}', 400),
        ('{"status": "active"}', 400),
        ("", 400),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(world: World, body: str, status: int) -> None:
    await refused(world, status, "POST", "CareTeam", body)


async def test_a_body_of_another_kind_is_refused(world: World) -> None:
    await refused(world, 415, "POST", "CareTeam", "x", Content_Type="application/pdf")


# --- where


async def test_nothing_says_where_to(world: World, people: People) -> None:
    answered = await refused(world, 422, "POST", "Practitioner", people.practitioner("A", "B"))
    assert keys_told(answered) == [
        "write.home-unknown",
        "home.no-subject",
        "home.no-own",
        "home.no-department",
        "home.no-default",
        "home.candidates",
    ]
    assert "bre, cor, idf" in told(answered)[-1].texts[0]
    answered = await refused(world, 422, "POST", "Patient", living(someone(people), "64000"))
    assert "home.territory-unclaimed" in keys_told(answered)


@pytest.mark.parametrize("stated", ["xyz", "295109912611193", "Not a slug"])
async def test_the_manager_that_is_stated_is_not_registered(
    world: World, people: People, stated: str
) -> None:
    answered = await refused(world, 422, "POST", "Patient", someone(people), X_Gestionnaire=stated)
    assert keys_told(answered) == ["write.home-not-registered", "home.candidates"]
    assert stated.encode() not in answered.body


async def test_a_circle_of_nobody_of_ours_is_refused(world: World, people: People) -> None:
    for subject in ("Patient/bre.none", "Patient/zzz.none"):
        answered = await refused(world, 422, "POST", "CareTeam", people.circle("a", subject, []))
        first = told(answered)[0]
        assert (first.key, first.paths) == ("write.reference-unknown", ("CareTeam.subject",))


async def test_a_manager_that_is_suspended_is_no_home(valkey: Valkey, people: People) -> None:
    async with writable(valkey) as world:
        patient = await world.made(someone(people))
        made = await world.circle(people)
        await world.broker.running.registry.set_status("bre", Status.SUSPENDED)
        stated = await refused(world, 422, "POST", "Patient", someone(people), X_Gestionnaire="bre")
        assert keys_told(stated) == ["write.home-suspended", "home.stated"]
        assert told(stated)[0].slug == "bre"
        subjects = await world.send("POST", "CareTeam", people.circle("b", key(patient), []))
        assert subjects.status in (422, 503), subjects.body
        territory = await refused(world, 422, "POST", "Patient", someone(people))
        assert {"write.home-unknown", "write.home-suspended"} <= set(keys_told(territory))
        update = await world.send("PUT", key(made), made | {"status": "inactive"})
        assert update.status == 503, update.body
        assert world.at_home(made)["status"] == "active"
        await world.broker.running.registry.set_status("bre", Status.ACTIVE)
        assert (await world.send("PUT", key(made), made | {"status": "inactive"})).status == 200


async def test_a_manager_that_takes_no_writes_is_no_home(valkey: Valkey, people: People) -> None:
    reads = [{"code": "read"}, {"code": "search-type"}]
    statement: Resource = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "fhirVersion": "4.0.1",
        "rest": [
            {
                "mode": "server",
                "resource": [{"type": kind, "interaction": reads} for kind in ("Patient", "CareTeam")],
            }
        ],
    }
    async with writable(valkey) as world, scripted_manager() as lazy:
        lazy.replies["metadata"] = reply(statement)
        await world.register(lazy.gestionnaire("occ", region="76", territory=("31",)))
        stated = await refused(world, 422, "POST", "Patient", someone(people), X_Gestionnaire="occ")
        assert keys_told(stated) == ["write.home-no-writes", "home.stated"]
        territory = await refused(world, 422, "POST", "Patient", living(someone(people), "31000"))
        assert {"write.home-unknown", "write.home-no-writes"} <= set(keys_told(territory))
        assert not any(one.method == "POST" and one.path == "Patient" for one in lazy.requests)


async def test_a_territory_that_two_claim_does_not_decide(valkey: Valkey, people: People) -> None:
    async with writable(valkey) as world, scripted_manager() as second:
        await world.register(second.gestionnaire("bis", territory=("35",)))
        answered = await refused(world, 422, "POST", "Patient", someone(people))
        assert "home.territory-shared" in keys_told(answered)


# --- one circle per person


async def test_a_second_circle_is_refused_with_the_address_of_the_first(world: World, people: People) -> None:
    made = await world.circle(people, home="cor")
    subject = made["subject"]["reference"]
    answered = await refused(world, 409, "POST", "CareTeam", people.circle("b", subject, []))
    assert answered.headers["Location"] == f"{PUBLIC}/{key(made)}"
    [issue] = told(answered)
    assert issue.key == "write.second-circle"
    assert all(key(made) in text and "cor" in text for text in issue.texts)
    elsewhere = await refused(
        world, 409, "POST", "CareTeam", people.circle("c", subject, []), X_Gestionnaire="idf"
    )
    assert elsewhere.headers["Location"] == answered.headers["Location"]


async def test_one_person_under_two_patients_has_one_circle(world: World, people: People) -> None:
    """The same INS at two managers; and a reference that holds it beside a Patient that does not."""
    person = someone(people)
    here = await world.made(person, X_Gestionnaire="bre")
    there = await world.made(person, X_Gestionnaire="idf")
    made = await world.made(people.circle("a", key(here), []))
    answered = await refused(world, 409, "POST", "CareTeam", people.circle("b", key(there), []))
    assert answered.headers["Location"] == f"{PUBLIC}/{key(made)}"
    without = {name: value for name, value in someone(people).items() if name != "identifier"}
    nameless = await world.made(without, X_Gestionnaire="cor")
    third = people.circle("c", key(nameless), [])
    third["subject"]["identifier"] = person["identifier"][0]
    await refused(world, 409, "POST", "CareTeam", third)


async def test_a_circle_given_to_another_person_is_not_that_ones_second(world: World, people: People) -> None:
    first, second = await world.circle(people, name="a"), await world.circle(people, name="b")
    answered = await refused(world, 409, "PUT", key(first), first | {"subject": second["subject"]})
    assert answered.headers["Location"] == f"{PUBLIC}/{key(second)}"


async def test_a_circle_is_not_given_the_identifier_of_another(world: World, people: People) -> None:
    """Two circles of one business identifier would be shown as one: the other could no longer be found."""
    first = await world.circle(people, home="bre", name="a")
    second = await world.circle(people, home="cor", name="b")
    changed = first | {"identifier": second["identifier"]}
    answered = await refused(world, 409, "PUT", key(first), changed)
    assert answered.headers["Location"] == f"{PUBLIC}/{key(second)}"
    bundle_of = {"resourceType": "Bundle", "type": "transaction"}
    entry = {"resource": changed, "request": {"method": "PUT", "url": key(first)}}
    await refused(world, 409, "POST", "", bundle_of | {"entry": [entry]})
    own = first | {"identifier": [first["identifier"][0] | {"value": f"{people.token}-new"}]}
    assert (await world.send("PUT", key(first), own)).status == 200


async def test_a_circle_entered_in_error_makes_room_and_cannot_come_back(
    world: World, people: People
) -> None:
    wrong = await world.circle(people, name="a")
    error = await world.send("PUT", key(wrong), wrong | {"status": "entered-in-error"})
    assert error.status == 200
    right = await world.made(people.circle("b", wrong["subject"]["reference"], []))
    back = await refused(world, 409, "PUT", key(wrong), wrong | {"status": "active"})
    assert back.headers["Location"] == f"{PUBLIC}/{key(right)}"
    noted = wrong | {"status": "entered-in-error", "name": "Erreur"}
    assert (await world.send("PUT", key(wrong), noted)).status == 200


async def test_unsure_names_who_could_not_be_asked_and_the_risk_can_be_taken(
    valkey: Valkey, people: People
) -> None:
    async with writable(valkey) as world, scripted_manager() as away:
        await world.register(away.gestionnaire("occ", region="76"))
        made = await world.circle(people)
        patient = await world.made(someone(people))
        await away.refuse()
        sent = people.circle("x", key(patient), [])
        answered = await refused(world, 503, "POST", "CareTeam", sent)
        first, *named = told(answered)
        assert first.key == "write.uniqueness-unsure"
        assert [(one.key, one.slug, one.severity) for one in named] == [
            ("manager.unreachable", "occ", "error")
        ]
        assert answered.headers["Retry-After"]
        other = await refused(world, 503, "POST", "CareTeam", sent, If_None_Exist="identifier=urn:x|1")
        assert "occ" in [one.slug for one in told(other)]
        risked = await world.send("POST", "CareTeam", sent, Prefer="uniqueness=accept-risk")
        assert risked.status == 201
        assert risked.headers["Preference-Applied"] == "uniqueness=accept-risk"
        again = people.circle("y", made["subject"]["reference"], [])
        await refused(world, 409, "POST", "CareTeam", again, Prefer="uniqueness=accept-risk")


async def test_a_suspended_manager_of_which_nothing_is_known_leaves_it_unsure(
    valkey: Valkey, people: People
) -> None:
    async with writable(valkey) as world:
        patient = await world.made(someone(people))
        await world.broker.running.registry.set_status("cor", Status.SUSPENDED)
        sent = people.circle("x", key(patient), [])
        answered = await refused(world, 503, "POST", "CareTeam", sent)
        assert ("manager.suspended", "cor") in [(one.key, one.slug) for one in told(answered)]
        assert (await world.send("POST", "CareTeam", sent, Prefer="uniqueness=accept-risk")).status == 201


# --- updates


async def test_an_update_creates_nothing(world: World, people: People) -> None:
    body = people.circle("a", "Patient/bre.1", [])
    for identity in ("bre.none", "none", "zzz.none"):
        answered = await refused(world, 404, "PUT", f"CareTeam/{identity}", body | {"id": identity})
        assert keys_told(answered) == ["request.not-found"]


async def test_what_was_deleted_is_gone(world: World, people: People) -> None:
    made = await world.made(people.practitioner("Hamon", "Lise"), X_Gestionnaire="idf")
    world.boxes["idf"].store.delete("Practitioner", made["id"].removeprefix("idf."))
    answered = await refused(world, 410, "PUT", key(made), made)
    assert keys_told(answered) == ["request.deleted"]


async def test_the_id_of_the_body_is_that_of_the_address(world: World, people: People) -> None:
    made = await world.circle(people)
    for body in (made | {"id": "bre.other"}, made | {"id": made["id"].removeprefix("bre.")}):
        answered = await refused(world, 400, "PUT", key(made), body)
        assert keys_told(answered) == ["request.id-mismatch"]
    without = {name: value for name, value in made.items() if name != "id"}
    await refused(world, 400, "PUT", key(made), without)


@pytest.mark.parametrize("named", ["public", "manager", "elsewhere"])
async def test_a_replica_is_refused_with_its_home(world: World, people: People, named: str) -> None:
    """Its source names the home's circle by public address, or as the manager does; anything else is not passed on."""
    home = await world.circle(people, home="bre")
    local = home["id"].removeprefix("bre.")
    source = {
        "public": f"{PUBLIC}/{key(home)}",
        "manager": f"{world.boxes['bre'].base_url}/CareTeam/{local}/_history/1",
        "elsewhere": "http://10.0.0.7/fhir/CareTeam/1",
    }[named]
    copy = people.circle("copy", "Patient/none", []) | {
        "id": f"copy{people.token}",
        "meta": {"profile": [CDS + "cds-ihe-careteam"], "tag": [COPY], "source": source},
    }
    world.boxes["cor"].store.load([copy])
    public = (await world.send("GET", f"CareTeam/cor.copy{people.token}")).json
    answered = await refused(world, 409, "PUT", key(public), public | {"name": "Autre"})
    [issue] = told(answered)
    assert issue.key == "write.replica"
    if named == "elsewhere":
        assert "Location" not in answered.headers
        assert b"10.0.0.7" not in answered.body
    else:
        assert answered.headers["Location"] == f"{PUBLIC}/{key(home)}"
        assert all(key(home) in text for text in issue.texts)


# --- the manager's own refusal


@pytest.mark.parametrize(
    ("status", "answered", "keys"),
    [
        (422, 422, ["write.refused", "manager.reported"]),
        (400, 400, ["write.refused", "manager.reported"]),
        (412, 412, ["write.refused", "manager.reported"]),
        (401, 502, ["manager.refused"]),
        (403, 502, ["manager.refused"]),
    ],
)
async def test_a_managers_refusal_is_told_in_its_own_words(
    valkey: Valkey, people: People, status: int, answered: int, keys: list[str]
) -> None:
    def own(received: Received) -> Reply:
        if received.method == "GET":
            return reply(bundle())
        return reply(operation_outcome("the region's own rule 17", code="business-rule"), status)

    async with writable(valkey) as world, scripted_manager() as strict:
        strict.replies["Practitioner"] = own
        await world.register(strict.gestionnaire("occ", region="76"))
        sent = people.practitioner("Hamon", "Lise")
        got = await refused(world, answered, "POST", "Practitioner", sent, X_Gestionnaire="occ")
        assert keys_told(got) == keys
        assert {one.slug for one in told(got)} == {"occ"}
        if "manager.reported" in keys:
            assert b"the region's own rule 17" in got.body
        # Nothing is left behind: the same may be tried again at once.
        del strict.replies["Practitioner"]
        assert home_of(await world.made(sent, X_Gestionnaire="idf")) == "idf"
