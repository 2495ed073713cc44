"""What the agent does with an event, given what its manager holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from broker.core.change_event import Operation
from broker.core.copies import URI_SYSTEM
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.entry import Entry
from broker.core.event_content import ChangeEvent
from broker.core.messages import MESSAGES
from broker.core.replica import Apply, DeadLetter, Holdings, Leave, Remove, Unfit, Why, decide, lookups
from broker.core.replica_actors import Write
from broker.core.replica_marks import (
    AS_OF_SYSTEM,
    SEQUENCE_SYSTEM,
    as_of_code,
    held_state,
    is_copy_of,
    marked,
    original,
    sequence_of,
    state_of,
)
from registry.model import TRE_R30
from tests.support.change_events import (
    FINESS,
    PUBLIC,
    RPPS,
    actors,
    change,
    entry,
    event,
    held,
    organization,
    practitioner,
    role,
    team,
)
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS, INS_TEST, patient, related_person

MARK = {"system": REPLICA_SYSTEM, "code": REPLICA_CODE}
HOME = f"{PUBLIC}/CareTeam/bre.12"
GONE = change(operation=Operation.DELETED, version="4", sequence=8)


def seven(
    circle: dict[str, Any] | None = None, with_actors: list[dict[str, Any]] | None = None
) -> ChangeEvent:
    return event(change(), circle or team(), with_actors)


def replica(id: str = "900", *, sequence: int | None = 6, source: str = HOME, **more: Any) -> Entry:  # noqa: A002
    tags = [MARK] if sequence is None else [MARK, {"system": SEQUENCE_SYSTEM, "code": str(sequence)}]
    meta = {"versionId": "5", "lastUpdated": "2026-02-01T00:00:00Z", "source": source, "tag": tags}
    return held(team(id, identifier="circle-12", meta=meta, subject="Patient/77") | more)


def copy(resource: dict[str, Any], source: str, as_of: str | None = None) -> Entry:
    """A copy of an actor as the manager holds it."""
    tags = [MARK] if as_of is None else [MARK, {"system": AS_OF_SYSTEM, "code": as_of}]
    meta = {
        "versionId": "2",
        "lastUpdated": "2026-01-15T00:00:00Z",
        "source": f"{PUBLIC}/{source}",
        "tag": tags,
    }
    return held(resource | {"meta": meta})


def applied(
    told: ChangeEvent, circles: list[Entry] | None = None, there: Mapping[str, list[Entry]] | None = None
) -> tuple[Write, ...]:
    decision = decide(told, "occ", Holdings(circles or [], there or {}))
    assert isinstance(decision, Apply), decision
    return decision.writes


def tags(write: Write) -> dict[str, str]:
    return {one["system"]: one["code"] for one in write.resource["meta"]["tag"]}


# --- what is asked


def test_what_the_manager_is_asked_for() -> None:
    asked = lookups(seven())
    assert (asked.address, asked.circle) == (HOME, (CIRCLE_SYSTEM, "circle-12"))
    assert asked.actors == {
        "Patient/bre.p1": (INS_TEST, INS[0]),
        "PractitionerRole/bre.r1": (URI_SYSTEM, f"{PUBLIC}/PractitionerRole/bre.r1"),
        "RelatedPerson/bre.rp1": ("https://cds.example/related", "rp-rp1"),
        "Organization/bre.o1": (FINESS, "350000001"),
        "Practitioner/bre.d1": (RPPS, "10001234567"),
    }
    assert lookups(event(GONE)) == type(asked)(HOME, None, {})


# --- nothing there yet


def test_a_new_replica() -> None:
    writes = applied(seven())
    assert [(one.type, one.layer, one.local_id) for one in writes] == [
        ("Patient", 0, None),
        ("Practitioner", 0, None),
        ("Organization", 0, None),
        ("PractitionerRole", 1, None),
        ("RelatedPerson", 1, None),
        ("CareTeam", 2, None),
    ]
    assert writes[0].criterion == f"identifier={INS_TEST}%7C{INS[0]}".replace("%7C", "%7C")
    circle = writes[-1]
    assert circle.criterion == f"identifier={CIRCLE_SYSTEM}%7Ccircle-12"
    assert circle.resource["meta"]["source"] == HOME
    assert tags(circle) == {TRE_R30: "53", REPLICA_SYSTEM: REPLICA_CODE, SEQUENCE_SYSTEM: "7"}
    assert "id" not in circle.resource
    assert set(circle.resource["meta"]) == {"source", "tag"}


def test_ids_are_filled_in_as_they_come() -> None:
    made: dict[str, str] = {}
    bodies = {}
    for number, write in enumerate(applied(seven())):
        bodies[write.type] = json.loads(write.body(made))
        made[write.full_url] = f"{write.type}/{number}"
    assert bodies["PractitionerRole"]["practitioner"] == {"reference": "Practitioner/1"}
    assert bodies["PractitionerRole"]["organization"] == {"reference": "Organization/2"}
    assert bodies["RelatedPerson"]["patient"] == {"reference": "Patient/0"}
    assert bodies["CareTeam"]["subject"] == {"reference": "Patient/0"}
    assert [one["member"]["reference"] for one in bodies["CareTeam"]["participant"]] == [
        "PractitionerRole/3",
        "RelatedPerson/4",
    ]
    assert bodies["CareTeam"]["managingOrganization"] == [{"reference": "Organization/2"}]


def test_an_actor_without_identifier_is_given_one_to_be_found_by() -> None:
    [made] = [one for one in applied(seven()) if one.type == "PractitionerRole"]
    address = f"{PUBLIC}/PractitionerRole/bre.r1"
    assert made.resource["identifier"] == [{"system": URI_SYSTEM, "value": address}]
    there = copy({**made.resource, "id": "9"}, "PractitionerRole/bre.r1", "2026-01-01T00:00:00Z/1")
    again = applied(seven(), there={"PractitionerRole/bre.r1": [there]})
    assert "PractitionerRole" not in [one.type for one in again]


def test_what_the_event_does_not_bring_is_named_logically() -> None:
    circle = team() | {"encounter": {"reference": "Encounter/e1"}}
    [write] = applied(event(change(), circle, []))
    assert write.resource["encounter"]["identifier"]["value"] == f"{PUBLIC}/Encounter/bre.e1"
    assert write.resource["subject"] == {
        "type": "Patient",
        "identifier": {"system": URI_SYSTEM, "value": f"{PUBLIC}/Patient/bre.p1"},
    }


# --- something there


def test_an_actor_of_the_managers_own_is_used_as_it_is() -> None:
    own = held(patient("77", family="AUTRE"))
    writes = applied(seven(), there={"Patient/bre.p1": [own]})
    assert "Patient" not in [one.type for one in writes]
    [relative] = [one for one in writes if one.type == "RelatedPerson"]
    assert relative.resource["patient"] == {"reference": "Patient/77"}
    assert writes[-1].resource["subject"] == {"reference": "Patient/77"}


def test_the_managers_own_before_copies() -> None:
    there = [copy(patient("1"), "Patient/bre.p1"), held(patient("77"))]
    assert applied(seven(), there={"Patient/bre.p1": there})[-1].resource["subject"] == {
        "reference": "Patient/77"
    }


@pytest.mark.parametrize(
    ("as_of", "newer"),
    [
        ("2025-12-31T00:00:00Z/9", True),
        ("2026-01-01T01:00:00+01:00/0", True),
        ("2026-01-01T00:00:00Z", True),
        ("2026-01-01T00:00:00Z/1", False),
        ("2026-01-01T00:00:00Z/2", False),
        ("2026-01-02T00:00:00Z/1", False),
        (None, False),  # made on 15 January, when this state had long been there to be read
    ],
)
def test_a_copy_is_brought_up_to_date_where_the_original_is_newer(as_of: str | None, newer: bool) -> None:
    there = copy(patient("77", family="ANCIEN"), "Patient/bre.p1", as_of)
    updates = [one for one in applied(seven(), there={"Patient/bre.p1": [there]}) if one.type == "Patient"]
    assert bool(updates) is newer
    for update in updates:
        assert (update.target, update.version_id, update.criterion) == ("Patient/77", "2", None)
        assert update.resource["id"] == "77"
        assert update.resource["name"][0]["family"] == "EXEMPLE"
        assert tags(update)[AS_OF_SYSTEM] == "2026-01-01T00:00:00Z/1"
        assert update.resource["meta"]["source"] == f"{PUBLIC}/Patient/bre.p1"


def test_a_copy_of_somebody_elses_original_is_left_alone() -> None:
    there = copy(patient("77"), "Patient/idf.9", "2020-01-01T00:00:00Z/1")
    writes = applied(seven(), there={"Patient/bre.p1": [there]})
    assert "Patient" not in [one.type for one in writes]


def test_an_update_may_need_new_actors() -> None:
    there = copy(
        role(
            "9",
            who="1",
            where="2",
            identifier=[{"system": URI_SYSTEM, "value": f"{PUBLIC}/PractitionerRole/bre.r1"}],
        ),
        "PractitionerRole/bre.r1",
        "2020-01-01T00:00:00Z/1",
    )
    writes = applied(seven(), there={"PractitionerRole/bre.r1": [there]})
    order = [(one.target, one.layer) for one in writes]
    assert ("PractitionerRole/9", 2) in order  # after all that is created, which may refer to each other
    update = next(one for one in writes if one.local_id == "9")
    created = {one.full_url for one in writes if one.type == "Practitioner"}
    assert update.resource["practitioner"]["reference"] in created
    assert writes[-1].resource["participant"][0]["member"] == {"reference": "PractitionerRole/9"}
    assert writes[-1].layer == 3


def test_a_copy_of_a_copy_names_the_first_original_and_its_state() -> None:
    meta = {
        "versionId": "8",
        "lastUpdated": "2026-03-01T00:00:00Z",
        "source": f"{PUBLIC}/Patient/idf.4",
        "tag": [MARK, {"system": AS_OF_SYSTEM, "code": "2025-06-01T00:00:00Z/2"}],
    }
    others = [one for one in actors() if one["id"] != "p1"] + [patient("p1", meta=meta)]
    made = next(one for one in applied(seven(with_actors=others)) if one.type == "Patient")
    assert made.resource["meta"]["source"] == f"{PUBLIC}/Patient/idf.4"
    assert tags(made)[AS_OF_SYSTEM] == "2025-06-01T00:00:00Z/2"
    assert [one["system"] for one in made.resource["meta"]["tag"]].count(REPLICA_SYSTEM) == 1


def test_a_manager_that_ignores_the_filter_misleads_nobody() -> None:
    stranger = held(patient("5", ins=INS[1]))
    other = held(team("800"))
    writes = applied(seven(), [other], {"Patient/bre.p1": [stranger, other]})
    assert writes[-1].local_id is None
    assert writes[0].type == "Patient"


# --- the replica


def test_a_replica_is_updated() -> None:
    write = applied(seven(), [replica()])[-1]
    assert (write.target, write.version_id, write.criterion) == ("CareTeam/900", "5", None)
    assert write.resource["id"] == "900"
    assert next(iter(write.resource)) == "resourceType"
    assert tags(write)[SEQUENCE_SYSTEM] == "7"


def test_a_replica_that_does_not_say_its_number() -> None:
    assert applied(seven(), [replica(sequence=None)])[-1].local_id == "900"


@pytest.mark.parametrize("sequence", [7, 8, 1_767_225_600_000])
def test_older_or_the_same_changes_nothing(sequence: int) -> None:
    assert decide(seven(), "occ", Holdings([replica(sequence=sequence)])) == Leave(Why.OLDER)


def test_a_circle_whose_identifier_was_changed_is_found_by_its_address() -> None:
    before = replica(identifier=[{"system": CIRCLE_SYSTEM, "value": "before"}])
    assert applied(seven(), [before])[-1].target == "CareTeam/900"


@pytest.mark.parametrize(
    "source", [HOME + "#Xy12", "https://moved.example/r4/CareTeam/bre.12", HOME + "/_history/3"]
)
def test_an_address_written_otherwise(source: str) -> None:
    assert applied(seven(), [replica(source=source)])[-1].local_id == "900"


def test_of_two_replicas_always_the_same() -> None:
    both = [replica("901"), replica("900")]
    assert applied(seven(), both)[-1].local_id == applied(seven(), both[::-1])[-1].local_id == "900"


# --- nothing to do, and what cannot be done


def test_echoes() -> None:
    assert decide(seven(), "bre", Holdings()) == Leave(Why.ECHO)
    assert decide(event(GONE), "bre", Holdings([replica()])) == Leave(Why.ECHO)
    meta = {
        "versionId": "1",
        "lastUpdated": "2026-01-01T00:00:00Z",
        "source": f"{PUBLIC}/CareTeam/occ.5",
        "tag": [MARK],
    }
    assert decide(seven(team(meta=meta)), "occ", Holdings()) == Leave(Why.COPY)


def test_what_was_removed_does_not_come_back() -> None:
    assert decide(seven(), "occ", Holdings(), removed=8) == Leave(Why.OLDER)
    assert decide(seven(), "occ", Holdings(), removed=7) == Leave(Why.OLDER)
    assert isinstance(decide(seven(), "occ", Holdings(), removed=6), Apply)


@pytest.mark.parametrize(
    ("circles", "there", "circle", "reason", "detail"),
    [
        ([held(team("800", identifier="circle-12"))], {}, None, Unfit.NOT_A_REPLICA, "CareTeam"),
        ([replica(), held(team("800", identifier="circle-12"))], {}, None, Unfit.NOT_A_REPLICA, "CareTeam"),
        ([replica(source=f"{PUBLIC}/CareTeam/idf.4")], {}, None, Unfit.OTHER_HOME, "CareTeam"),
        ([replica(source="https://idf.example/fhir")], {}, None, Unfit.OTHER_HOME, "CareTeam"),
        (
            [],
            {"Practitioner/bre.d1": [held(practitioner("1")), held(practitioner("2"))]},
            None,
            Unfit.AMBIGUOUS,
            "Practitioner",
        ),
        ([], {}, team() | {"identifier": [{"value": "no system"}]}, Unfit.NO_IDENTIFIER, "CareTeam"),
    ],
)
def test_dead_letters(
    circles: list[Entry],
    there: dict[str, list[Entry]],
    circle: dict[str, Any] | None,
    reason: Unfit,
    detail: str,
) -> None:
    decision = decide(seven(circle), "occ", Holdings(circles, there))
    assert decision == DeadLetter(reason, detail)
    assert isinstance(decision, DeadLetter)
    assert decision.key in MESSAGES


def test_ids_alone_cannot_be_applied() -> None:
    assert decide(event(change()), "occ", Holdings()) == DeadLetter(Unfit.ID_ONLY)


# --- deletion


def test_a_replica_is_removed() -> None:
    there = [
        replica(),
        held(team("800", identifier="circle-12")),
        replica("901", source=f"{PUBLIC}/CareTeam/bre.13"),
    ]
    decision = decide(event(GONE), "occ", Holdings(there))
    assert isinstance(decision, Remove)
    assert [one.local_id for one in decision.replicas] == ["900"]
    [instead] = decision.instead
    body = json.loads(instead.body({}))
    assert (instead.target, instead.version_id) == ("CareTeam/900", "5")
    assert (body["id"], body["status"], body["subject"]) == (
        "900",
        "entered-in-error",
        {"reference": "Patient/77"},
    )
    assert set(body["meta"]) == {"source", "tag"}
    assert tags(instead)[SEQUENCE_SYSTEM] == "8"


def test_a_deletion_of_what_is_not_there_or_is_newer() -> None:
    assert decide(event(GONE), "occ", Holdings()) == Leave(Why.ABSENT)
    assert decide(event(GONE), "occ", Holdings([replica(sequence=8)])) == Leave(Why.OLDER)


def test_what_is_in_error_comes_to_life_again() -> None:
    in_error = replica(sequence=8, status="entered-in-error")
    assert decide(seven(), "occ", Holdings([in_error])) == Leave(Why.OLDER)
    later = event(change(sequence=9, version="5"), team())
    assert applied(later, [in_error])[-1].resource["status"] == "active"


# --- marks


def test_marks_are_replaced_and_others_kept() -> None:
    before = {
        "resourceType": "CareTeam",
        "meta": {"tag": [MARK, {"system": "s", "code": "c"}, {"system": SEQUENCE_SYSTEM, "code": "1"}]},
    }
    made = marked(before, sequence=2)
    assert made["meta"]["tag"] == [
        {"system": "s", "code": "c"},
        MARK,
        {"system": SEQUENCE_SYSTEM, "code": "2"},
    ]
    assert len(before["meta"]["tag"]) == 3  # type: ignore[index]  # a tree
    assert marked({"meta": 1}, as_of="x")["meta"]["tag"] == [MARK, {"system": AS_OF_SYSTEM, "code": "x"}]


def test_marks_that_cannot_be_read() -> None:
    odd = replica(sequence=None)
    assert sequence_of(odd) is None
    assert as_of_code("soon", "1") is None
    assert as_of_code(None, "1") is None
    assert state_of("soon", "1") is None
    tagged = held(
        team(
            meta={"tag": [{"system": SEQUENCE_SYSTEM, "code": "٧"}, {"system": AS_OF_SYSTEM, "code": "soon"}]}
        )
    )
    assert (sequence_of(tagged), held_state(tagged)) == (None, None)
    assert not is_copy_of(tagged, HOME)
    assert not is_copy_of(held(team(meta={"source": HOME})), HOME)  # its own, whatever it names as its source
    assert is_copy_of(replica(), HOME)


def test_versions_that_are_numbers_count_as_numbers() -> None:
    instant = "2026-01-01T00:00:00Z"
    ordered = [state_of(instant, version) for version in (None, "9", "10")]
    assert ordered == sorted(ordered, key=lambda one: one or (0.0, 0, ""))
    assert len(set(ordered)) == 3


def test_originals() -> None:
    assert original(HOME) == "CareTeam/bre.12"
    assert [original(one) for one in (None, "", "urn:uuid:1", "https://x", "https://x/fhir/a.b/1 2")] == [
        None
    ] * 5


def test_the_relatives_person_is_theirs() -> None:
    """Another circle's actor in the same answer stays where it is."""
    two = [*actors(), related_person("rp2", patient="Patient/p1"), organization("o9", finess="350000009")]
    assert len(applied(seven(with_actors=two))) == 6
    assert entry(two[-1]).public_id == "bre.o9"
