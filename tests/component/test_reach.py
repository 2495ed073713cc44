"""Managers out of a client's reach: not asked, named, and nothing of them shown, whatever is asked and however."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.access.principal import EVERYTHING, Principal
from registry.model import Status
from tests.support.access import scopes
from tests.support.entitled import ALL, INS_TEST, EntitledWorld, Json, entitled, organization, told
from tests.support.federation import ids, link, outcome_codes
from tests.support.locator_broker import fresh
from tests.support.valkey import Valkey

REFUSED = "manager.not-authorised"

REACHES = {
    "its slug": {"managers": frozenset({"bre"})},
    "its region": {"regions": frozenset({"53"})},
    "its region beside another's slug": {"managers": frozenset({"occ"}), "regions": frozenset({"53"})},
    "everybody": {},
}
DOES_NOT = {
    "another slug": {"managers": frozenset({"occ"})},
    "another region": {"regions": frozenset({"76"})},
    "nobody": {"managers": frozenset[str](), "regions": frozenset[str]()},
}


def client(reach: dict[str, Any], *granted: str, **more: Any) -> Principal:
    return Principal("c", scopes=scopes(*granted) if granted else EVERYTHING, **reach, **more)


NEAR = DOES_NOT["another slug"]  # reaches occ alone


def fresh_organization(number: str, home: str | None = None) -> Json:
    made = organization(number)
    del made["meta"]
    if home is None:
        del made["id"]
    else:
        made["id"] = f"{home}.{number}"
    return made


def transaction(method: str, url: str, resource: Json) -> Json:
    entry = {"resource": resource, "request": {"method": method, "url": url}}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


def circle(subject: str, identifier: str, *members: str) -> Json:
    made: Json = {
        "resourceType": "CareTeam",
        "meta": {
            "profile": ["https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"]
        },
        "identifier": [{"system": "urn:test:circles", "value": identifier}],
        "status": "active",
        "name": "Cercle",
        "subject": {"reference": subject},
        "period": {"start": "2025-01-01"},
    }
    if members:
        made["participant"] = [
            {"member": {"reference": member}, "period": {"start": "2025-01-01"}} for member in members
        ]
    return made


def person(slug: str) -> str:
    return f"patient.identifier={INS_TEST}%7Cins-{slug}"


def at_bre(number: int) -> list[tuple[str, str, Json | str | None, int]]:
    """What leads to one manager: method, path, body, and what it is answered where that is reached."""
    name = f"n{number}"
    return [
        ("GET", "/fhir/CareTeam/bre.c1", None, 200),
        ("GET", "/fhir/CareTeam/bre.nobody", None, 404),
        ("GET", "/fhir/Patient/bre.p1", None, 200),
        ("GET", "/fhir/CareTeam/bre.c1/_history/1", None, 200),
        ("GET", "/fhir/CareTeam/bre.c1/_history", None, 200),
        ("GET", "/fhir/CareTeam/bre.nobody/_history", None, 404),
        ("GET", "/fhir/CareTeam?_id=bre.c1", None, 200),
        ("GET", "/fhir/CareTeam?patient=Patient/bre.p1&_summary=count", None, 200),
        ("POST", "/fhir/CareTeam/_search", "participant=Organization/bre.o1", 200),
        ("POST", "/fhir/Organization", fresh_organization(name), 201),
        ("PUT", "/fhir/Organization/bre.o2", fresh_organization("o2", "bre"), 200),
        ("PUT", "/fhir/Organization/bre.nobody", fresh_organization("nobody", "bre"), 404),
        ("POST", "/fhir", transaction("POST", "Organization", fresh_organization(f"t{name}")), 200),
        ("POST", "/fhir", transaction("PUT", "Organization/bre.o2", fresh_organization("o2", "bre")), 200),
    ]


@pytest.fixture
async def world(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Any:
    async with entitled(valkey, monkeypatch) as made:
        yield made


async def test_every_interaction_at_a_manager_that_is_reached_and_at_one_that_is_not(
    world: EntitledWorld,
) -> None:
    for number, (name, reach) in enumerate((REACHES | DOES_NOT).items()):
        for method, path, body, status in at_bre(number):
            home = (
                {"X_Gestionnaire": "bre"}
                if method == "POST" and path in ("/fhir", "/fhir/Organization")
                else {}
            )
            answered = await world.ask(client(reach), method, path, body, **home)
            said = (name, method, path, answered.status, answered.body[:300])
            if name in REACHES:
                assert answered.status == status, said
            else:
                assert answered.status == 403, said
                assert told(answered)[0] in ("access.manager", "access.no-manager"), said
                assert b"ins-bre" not in answered.body


async def test_a_search_over_all_answers_with_what_is_reached_and_names_the_rest(
    world: EntitledWorld,
) -> None:
    for target in ("CareTeam", f"CareTeam?{person('bre')}", "Patient?family=EXEMPLE", "CareTeam/_history"):
        answered = await world.ask(client(NEAR), "GET", f"/fhir/{target}")
        assert answered.status == 200
        assert (REFUSED, "bre") in outcome_codes(answered.json)
        assert b"bre." not in answered.body
        assert world.touched[-1].managers <= {"occ"}
        denied = await world.ask(client(NEAR), "GET", f"/fhir/{target}", Prefer="partial=deny")
        assert denied.status == 503
        assert ("federation.partial-denied", None) in outcome_codes(denied.json)
        nobody = await world.ask(client(DOES_NOT["nobody"]), "GET", f"/fhir/{target}")
        assert nobody.status == 403
        assert outcome_codes(nobody.json)[0][0] == "access.no-manager"
        everybody = await world.ask(client({}), "GET", f"/fhir/{target}")
        assert REFUSED not in {code for code, _ in outcome_codes(everybody.json)}


async def test_pages_name_those_out_of_reach_to_the_last(world: EntitledWorld) -> None:
    principal = client(NEAR)
    answered = await world.ask(principal, "GET", "/fhir/Organization?_count=1")
    pages = 0
    while True:
        pages += 1
        assert (REFUSED, "bre") in outcome_codes(answered.json)
        url = link(answered.json, "next")
        if url is None:
            break
        answered = await world.ask(principal, "GET", "/fhir" + url.partition("/fhir")[2])
    assert pages == 2


async def test_a_page_link_does_not_outlive_the_reach(world: EntitledWorld) -> None:
    first = await world.ask(client({}), "GET", "/fhir/Organization?_count=1")
    url = link(first.json, "next")
    assert url is not None
    path = "/fhir" + url.partition("/fhir")[2]
    assert (await world.ask(Principal("d"), "GET", path)).status == 400, "another client's link"
    later = await world.ask(client(NEAR), "GET", path)
    assert later.status == 200
    assert (REFUSED, "bre") in outcome_codes(later.json)
    assert all(one.startswith("occ.") for one in ids(later.json))


async def test_the_index_tells_nothing_of_those_out_of_reach(world: EntitledWorld) -> None:
    await fresh(_Open(world), "bre", "occ")  # type: ignore[arg-type]  # what it uses of a Broker
    for slug in ("bre", "occ"):
        search = f"CareTeam?{person(slug)}"
        plans = await world.ask(
            client(NEAR), "POST", "/registry/plan", {"search": search.replace("%7C", "|")}
        )
        lines = {one["id"]: (one["asked"], one["reason"]) for one in plans.json["managers"]}
        assert lines["bre"] == (False, REFUSED), "the same whether the index knows of a circle there or not"
        assert lines["occ"] == ((True, "plan.all") if slug == "occ" else (False, "plan.not-holder"))
        answered = await world.ask(client(NEAR), "GET", f"/fhir/{search}")
        assert answered.status == 200
        assert outcome_codes(answered.json) == [(REFUSED, "bre")]
        located = await world.ask(client(NEAR), "GET", f"/fhir/CareTeam/$locate?{person(slug)}")
        names = [one["name"] for one in located.json["parameter"]]
        assert names == (["circle"] if slug == "occ" else []) + ["not-authorised"]
        assert world.touched[-1].resources == ({"CareTeam/occ.c1"} if slug == "occ" else set())
    nobody = await world.ask(client(DOES_NOT["nobody"]), "GET", f"/fhir/CareTeam/$locate?{person('bre')}")
    assert (nobody.status, told(nobody)) == (403, ["access.no-manager"])


class _Open:
    """The broker as `locator_broker` asks it, by one who may do everything."""

    def __init__(self, world: EntitledWorld) -> None:
        self.base_url = world.broker.base_url
        self.http = _Http(world)


class _Http:
    def __init__(self, world: EntitledWorld) -> None:
        self._world = world

    def request(self, method: str, url: str) -> Any:
        return self._world.broker.http.request(method, url, headers=self._world.callers.header(ALL))


async def test_includes_without_a_right_are_left_out_and_said(world: EntitledWorld) -> None:
    target = "/fhir/CareTeam?_id=bre.c1&_include=CareTeam:subject&_include=CareTeam:participant"
    answered = await world.ask(client({}, "CareTeam.s", "Organization.r"), "GET", target)
    assert answered.status == 200
    assert ids(answered.json, "include") == ["bre.o1"]
    assert outcome_codes(answered.json) == [("access.include", None)]
    assert b"ins-bre" not in answered.body
    whole = await world.ask(client({}, "*.s"), "GET", target)
    assert sorted(ids(whole.json, "include")) == ["bre.o1", "bre.p1"]
    assert outcome_codes(whole.json) == []


async def test_what_was_there_is_shown_to_whoever_may_see_it(world: EntitledWorld) -> None:
    there = fresh_organization("o1")
    home = {"X_Gestionnaire": "bre"}
    answered = await world.ask(client({}, "Organization.c"), "POST", "/fhir/Organization", there, **home)
    assert (answered.status, answered.body) == (200, b"")
    assert "/Organization/bre.o1" in answered.headers["Location"]
    seen = await world.ask(client({}, "Organization.cr"), "POST", "/fhir/Organization", there, **home)
    assert (seen.status, seen.json["id"]) == (200, "bre.o1")
    bundle = transaction("POST", "Organization", there)
    for granted, shown in ((("Organization.c",), False), (("Organization.cs",), True)):
        done = await world.ask(client({}, *granted), "POST", "/fhir", bundle, **home)
        assert done.status == 200
        assert ("resource" in done.json["entry"][0]) is shown


async def test_a_condition_on_more_than_an_identifier_is_a_search(world: EntitledWorld) -> None:
    body, home = fresh_organization("new"), {"X_Gestionnaire": "bre"}
    by_name = {"If_None_Exist": "name=Structure", **home}
    refused = await world.ask(client({}, "Organization.c"), "POST", "/fhir/Organization", body, **by_name)
    assert (refused.status, told(refused)) == (403, ["access.scope"])
    several = await world.ask(client({}, "Organization.cs"), "POST", "/fhir/Organization", body, **by_name)
    assert several.status == 412
    exactly = {"If_None_Exist": "identifier=urn:test:structures|structure o1", **home}
    found = await world.ask(client({}, "Organization.c"), "POST", "/fhir/Organization", body, **exactly)
    assert found.status == 200
    bundle = transaction("POST", "Organization", body)
    bundle["entry"][0]["request"]["ifNoneExist"] = "name=Structure"
    whole = await world.ask(client({}, "Organization.c"), "POST", "/fhir", bundle, **home)
    assert (whole.status, told(whole)) == (403, ["access.transaction", "access.scope"])
    assert whole.json["issue"][1]["expression"] == ["Bundle.entry[0].request.ifNoneExist"]


async def test_a_condition_looks_where_the_client_reaches(world: EntitledWorld) -> None:
    """A search of everybody's circles by way of a creation would be one."""
    body = circle("Patient/occ.p1", "circle-occ")
    for condition in ("identifier=urn:test:circles|circle-bre", "patient.family=EXEMPLE"):
        answered = await world.ask(client(NEAR), "POST", "/fhir/CareTeam", body, If_None_Exist=condition)
        assert b"bre." not in answered.body
        assert "bre." not in answered.headers.get("Location", "")
    assert answered.status == 200
    assert answered.json["id"] == "occ.c1"


async def test_a_copy_would_show_an_actor_out_of_reach(world: EntitledWorld) -> None:
    body = circle("Patient/occ.p1", "new-circle", "Organization/bre.o1")
    before = len([*world.boxes["occ"].store.changes("Organization")])
    current = await world.ask(ALL, "GET", "/fhir/CareTeam/occ.c1")
    changed = current.json | {"participant": body["participant"]}
    for method, path, sent in (
        ("PUT", "/fhir/CareTeam/occ.c1", changed),
        ("POST", "/fhir", transaction("PUT", "CareTeam/occ.c1", changed)),
    ):
        answered = await world.ask(client(NEAR), method, path, sent)
        assert (answered.status, told(answered)) == (403, ["access.reference"]), answered.body
    assert len([*world.boxes["occ"].store.changes("Organization")]) == before
    assert (await world.ask(ALL, "PUT", "/fhir/CareTeam/occ.c1", changed)).status == 200


async def test_one_circle_per_person_holds_beyond_the_reach_and_tells_its_address_alone(
    world: EntitledWorld,
) -> None:
    """The same person, known to the manager that is reached too."""
    made = await world.ask(ALL, "POST", "/fhir/Patient", _same_person(), X_Gestionnaire="occ")
    assert made.status == 201
    body = circle(f"Patient/{made.json['id']}", "second")
    answered = await world.ask(client(NEAR), "POST", "/fhir/CareTeam", body)
    assert (answered.status, told(answered)) == (409, ["write.second-circle"])
    assert answered.headers["Location"].endswith("/CareTeam/bre.c1")
    assert b"ins-bre" not in answered.body
    touched = world.touched[-1]
    assert touched.resources == {"CareTeam/bre.c1"}
    assert touched.persons == {f"Patient/{made.json['id']}"}
    far = await world.ask(client(NEAR), "POST", "/fhir/CareTeam", circle("Patient/bre.p1", "third"))
    assert (far.status, told(far)) == (403, ["access.manager"]), "of a person out of reach not even that"


def _same_person() -> Json:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": INS_TEST, "value": "ins-bre"}],
        "name": [{"family": "EXEMPLE"}],
    }


async def test_a_manager_of_its_own_is_where_a_client_writes(world: EntitledWorld) -> None:
    own = client({}, manager="occ")
    answered = await world.ask(own, "POST", "/fhir/Organization", fresh_organization("own"))
    assert answered.status == 201
    assert answered.json["id"].startswith("occ.")
    unsaid = await world.ask(client(NEAR), "POST", "/fhir/Organization", fresh_organization("unsaid"))
    assert unsaid.status == 422
    candidates = [one for one in unsaid.json["issue"] if "occ" in one["details"]["text"]]
    assert candidates
    assert "bre" not in candidates[0]["details"]["text"]


async def test_whose_data_was_touched_is_known(world: EntitledWorld) -> None:
    person_of_bre, circle_of_bre = "Patient/bre.p1", "CareTeam/bre.c1"
    both = {person_of_bre, "Patient/occ.p1"}
    expected: list[tuple[str, str, Json | str | None, set[str], set[str], set[str]]] = [
        ("GET", "/fhir/CareTeam", None, both, set(), {"bre", "occ"}),
        ("GET", "/fhir/CareTeam?_elements=status", None, both, set(), {"bre", "occ"}),
        ("GET", "/fhir/CareTeam?_summary=count", None, set(), set(), {"bre", "occ"}),
        ("POST", "/fhir/Patient/_search", "_id=bre.p1", {person_of_bre}, set(), {"bre"}),
        ("GET", "/fhir/Organization", None, set(), set(), {"bre", "occ"}),
        ("GET", "/fhir/CareTeam/bre.c1", None, {person_of_bre}, {circle_of_bre}, {"bre"}),
        ("GET", "/fhir/CareTeam/bre.c1/_history/1", None, {person_of_bre}, {circle_of_bre}, {"bre"}),
        ("GET", "/fhir/CareTeam/bre.c1/_history", None, {person_of_bre}, {circle_of_bre}, {"bre"}),
        ("GET", "/fhir/CareTeam/_history", None, both, set(), {"bre", "occ"}),
        ("GET", "/fhir/Patient/bre.p1", None, {person_of_bre}, {person_of_bre}, {"bre"}),
        ("GET", "/fhir/Patient/bre.nobody", None, {"Patient/bre.nobody"}, {"Patient/bre.nobody"}, {"bre"}),
    ]
    for method, path, body, persons, resources, managers in expected:
        await world.ask(ALL, method, path, body)
        touched = world.touched[-1]
        assert (touched.persons, touched.resources, touched.managers) == (persons, resources, managers), path
        assert not touched.risk_accepted
    refused = await world.ask(client(NEAR), "GET", "/fhir/Patient/bre.p1")
    assert refused.status == 403
    assert world.touched[-1].resources == {person_of_bre}, "who was asked for in vain"
    assert world.touched[-1].managers == set()


async def test_whose_data_a_write_touched_is_known(world: EntitledWorld) -> None:
    made = await world.ask(ALL, "POST", "/fhir/Patient", _someone("ins-new"), X_Gestionnaire="bre")
    someone = f"Patient/{made.json['id']}"
    assert (world.touched[-1].persons, world.touched[-1].resources) == ({someone}, {someone})
    new = await world.ask(ALL, "POST", "/fhir/CareTeam", circle(someone, "new"))
    name = f"CareTeam/{new.json['id']}"
    assert (world.touched[-1].persons, world.touched[-1].resources) == ({someone}, {name})
    assert world.touched[-1].managers == {"bre"}
    assert not world.touched[-1].risk_accepted
    await world.ask(ALL, "PUT", f"/fhir/{name}", new.json)
    assert (world.touched[-1].persons, world.touched[-1].resources) == ({someone}, {name})
    await world.ask(ALL, "POST", "/fhir", transaction("PUT", name, new.json))
    assert (world.touched[-1].persons, world.touched[-1].resources) == ({someone}, {name})


async def test_a_risk_that_was_accepted_is_known(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    async with entitled(valkey, monkeypatch, locator=False, sync=False) as world:
        made = await world.ask(ALL, "POST", "/fhir/Patient", _someone("ins-risk"), X_Gestionnaire="bre")
        await world.broker.running.registry.set_status("occ", Status.SUSPENDED)
        body = circle(f"Patient/{made.json['id']}", "risk")
        unsure = await world.ask(ALL, "POST", "/fhir/CareTeam", body)
        assert unsure.status == 503
        assert not world.touched[-1].risk_accepted
        taken = await world.ask(ALL, "POST", "/fhir/CareTeam", body, Prefer="uniqueness=accept-risk")
        assert taken.status == 201
        assert world.touched[-1].risk_accepted


def _someone(ins: str) -> Json:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": INS_TEST, "value": ins}],
        "name": [{"family": "EXEMPLE"}],
    }
