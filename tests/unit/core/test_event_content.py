"""The content of a change event: complete, without more, and read back as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.core.change_event import Operation, Poison, PoisonError, encode_headers
from broker.core.event_content import (
    closure,
    full_content,
    id_only_content,
    read_event,
    references_to_actors,
)
from broker.core.structure import structure_faults
from tests.support.change_events import (
    PUBLIC,
    actors,
    change,
    entry,
    event,
    organization,
    practitioner,
    role,
    team,
)
from tests.support.fhir_builders import patient, to_bytes

GONE = change(operation=Operation.DELETED, version="4", sequence=8)


def full(circle: dict[str, Any] | None = None, others: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    entries = [entry(one) for one in (actors() if others is None else others)]
    found: dict[str, Any] = json.loads(full_content(change(), entry(circle or team()), entries, PUBLIC))
    return found


def read(bundle: dict[str, Any] | bytes | None) -> Any:
    value = bundle if bundle is None or isinstance(bundle, bytes) else to_bytes(bundle)
    return read_event(change().key, value, encode_headers(change(), PUBLIC))


def keys(bundle: dict[str, Any]) -> list[str]:
    return [one["fullUrl"].removeprefix(f"{PUBLIC}/") for one in bundle["entry"]]


def test_the_circle_first_then_its_actors_once() -> None:
    bundle = full()
    assert keys(bundle) == [
        "CareTeam/bre.12",
        "Patient/bre.p1",
        "PractitionerRole/bre.r1",
        "RelatedPerson/bre.rp1",
        "Organization/bre.o1",
        "Practitioner/bre.d1",
    ]
    assert structure_faults(bundle, "Bundle") == []
    first = bundle["entry"][0]
    assert first["request"] == {"method": "PUT", "url": "CareTeam/bre.12"}
    assert first["response"]["status"] == "200"
    assert first["resource"]["subject"] == {"reference": "Patient/bre.p1"}


def test_resources_stay_the_bytes_they_are() -> None:
    raw = entry(team()).raw
    odd = raw.replace(b'"name":"Cercle 12"', b'"name" : "C\\u00e9rcle" ,\n "x":1.500')
    assert odd != raw
    odd_entry = entry(team()).__class__(**{**_fields(entry(team())), "raw": odd})
    content = full_content(change(), odd_entry, [], PUBLIC)
    assert odd in content
    assert read(content).circle.raw == odd


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_what_the_circle_does_not_need_stays_out() -> None:
    stranger = patient("p2", ins="253072A07300443")
    related = patient("p1", link=[{"other": {"reference": "Patient/p2"}, "type": "seealso"}])
    others = [one for one in actors() if one["id"] != "p1"] + [related, stranger, practitioner("d9")]
    assert keys(full(others=others)) == keys(full())


def test_every_actor_named_leads_to_an_entry() -> None:
    bundle = full()
    there = set(keys(bundle))
    assert set(references_to_actors(bundle["entry"][0]["resource"], PUBLIC)) <= there
    found, lacking = closure(entry(team()), [entry(one) for one in actors()], PUBLIC)
    assert (len(found), lacking) == (5, ())


def test_what_is_lacking_is_said() -> None:
    at_hand = [
        entry(role("r1", who="d1", where="o1")),
        entry(organization("o1", partOf={"reference": "Organization/o2"})),
    ]
    found, lacking = closure(entry(team()), at_hand, PUBLIC)
    assert [one.public_id for one in found] == ["bre.r1", "bre.o1"]
    assert lacking == (
        "Patient/bre.p1",
        "RelatedPerson/bre.rp1",
        "Practitioner/bre.d1",
        "Organization/bre.o2",
    )


def test_organisations_that_are_part_of_each_other() -> None:
    ring = [
        organization("o1", partOf={"reference": "Organization/o2"}),
        organization("o2", partOf={"reference": "Organization/o1"}),
    ]
    circle = team(participants=(), managing_organization="Organization/o1/_history/4")
    found, lacking = closure(entry(circle), [entry(one) for one in ring], PUBLIC)
    assert [one.public_id for one in found] == ["bre.o1", "bre.o2"]
    assert lacking == ("Patient/bre.p1",)


def test_read_back() -> None:
    found = event(change(), team())
    assert found.change == change()
    assert found.home_address == f"{PUBLIC}/CareTeam/bre.12"
    assert found.circle is not None
    assert (found.circle.local_id, found.circle.version_id) == ("12", "1")
    assert found.circle.raw == entry(team()).raw
    assert [(one.type, one.local_id) for one in found.actors] == [
        ("Patient", "p1"),
        ("PractitionerRole", "r1"),
        ("RelatedPerson", "rp1"),
        ("Organization", "o1"),
        ("Practitioner", "d1"),
    ]
    assert found.actors[0].tags == entry(patient("p1")).tags


def test_ids_alone() -> None:
    bundle = json.loads(id_only_content(change(operation=Operation.CREATED), PUBLIC))
    assert structure_faults(bundle, "Bundle") == []
    assert bundle["entry"] == [
        {
            "fullUrl": f"{PUBLIC}/CareTeam/bre.12",
            "request": {"method": "POST", "url": "CareTeam"},
            "response": {"status": "201", "etag": 'W/"3"', "lastModified": "2026-01-01T00:00:00Z"},
        }
    ]
    found = event(change())
    assert (found.circle, found.actors) == (None, ())


def test_a_deletion_says_no_more_than_that() -> None:
    content = full_content(GONE, entry(team()), [entry(one) for one in actors()], PUBLIC)
    assert content == id_only_content(GONE, PUBLIC)
    assert json.loads(content)["entry"][0]["request"]["method"] == "DELETE"
    for value, tombstone in ((content, False), (None, True)):
        found = read_event(GONE.key, value, encode_headers(GONE, PUBLIC, tombstone=tombstone))
        assert (found.change, found.circle) == (GONE, None)


def test_another_circle_is_not_taken() -> None:
    with pytest.raises(ValueError, match="not the circle"):
        full_content(change(), entry(team("13")), [], PUBLIC)


def test_a_key_that_is_not_the_circles() -> None:
    with pytest.raises(PoisonError) as caught:
        read_event(b"bre.13", id_only_content(change(), PUBLIC), encode_headers(change(), PUBLIC))
    assert caught.value.kind is Poison.KEY


def broken(number: int = 0, **members: Any) -> dict[str, Any]:
    bundle = full()
    bundle["entry"][number] |= members
    return bundle


def deep() -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _ in range(200):
        tree = {"a": [tree]}
    return tree


POISON = {
    "no JSON": b"{",
    "not UTF-8": b'{"resourceType":"Bundle","type":"history","x":"\xff"}',
    "empty": b"",
    "another resource": team(),
    "another Bundle": full() | {"type": "searchset"},
    "no entry": full() | {"entry": []},
    "no tombstone": None,
    "another circle": full(team("12")) | {"entry": full()["entry"][1:]},
    "no request": broken(request=None),
    "a deletion after all": broken(request={"method": "DELETE", "url": "CareTeam/bre.12"}),
    "another id inside": broken(resource=json.loads(entry(team("13")).raw)),
    "another type inside": broken(resource=json.loads(entry(patient("12")).raw)),
    "no id": broken(resource={"resourceType": "CareTeam"}),
    "an actor of another id": broken(1, resource=json.loads(entry(patient("p2")).raw)),
    "too deep": broken(resource=json.loads(entry(team()).raw) | {"contained": [deep()]}),
}


@pytest.mark.parametrize("name", POISON)
def test_poison(name: str) -> None:
    with pytest.raises(PoisonError) as caught:
        read(POISON[name])
    assert caught.value.kind is Poison.CONTENT
    assert caught.value.detail
    assert not any(character.isspace() for character in caught.value.detail)


def test_what_managers_hold_is_not_judged() -> None:
    odd = json.loads(entry(patient("p1")).raw) | {"meta": {"tag": "none", "versionId": 4}}
    found = read(broken(1, resource=odd))
    assert (found.actors[0].version_id, found.actors[0].tags) == (None, ())


def test_entries_that_are_no_actors_are_passed_over() -> None:
    bundle = full()
    bundle["entry"].append(
        {"fullUrl": f"{PUBLIC}/Condition/bre.1", "resource": {"resourceType": "Condition"}}
    )
    bundle["entry"].append({"resource": {"resourceType": "OperationOutcome"}})
    assert len(read(bundle).actors) == 5
