"""What a circle and its Patient tell the index."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from broker.core.bundle import Entry, read_searchset
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.identity import Origin
from broker.sync.instants import earlier, epoch, newest
from broker.sync.sightings import patients_among, sightings, without_patient
from registry.locator_model import Sighting
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS, INS_TEST, bundle, care_team, patient

ORIGIN = Origin("bre", "https://bre.example/fhir", "https://broker.example/fhir", "53", "Bretagne")
FORMER = {"system": "urn:oid:1.2.250.1.213.1.4.9", "value": "253072B07300470"}


def entries(*circles: dict[str, Any], patients: tuple[dict[str, Any], ...] = ()) -> list[Entry]:
    body = orjson.dumps(bundle(circles, includes=patients))
    return list(read_searchset(body, ORIGIN, "CareTeam", {}).entries)


def seen(*circles: dict[str, Any], patients: tuple[dict[str, Any], ...] = ()) -> list[Sighting]:
    read = entries(*circles, patients=patients)
    return sightings([one for one in read if one.type == "CareTeam"], patients_among(read))


def test_all_identifiers_of_the_patient_lead_to_the_circle() -> None:
    known = patient(
        "p1", identifier=[{"system": INS_TEST, "value": INS[0]}, FORMER, {"value": "no system"}, {}]
    )
    (found,) = seen(care_team("c1"), patients=(known,))
    assert found.manager == "bre"
    assert (found.circle_id, found.version) == ("c1", "1")
    assert found.identifiers == ((CIRCLE_SYSTEM, "circle-c1"),)
    assert found.persons == ((INS_TEST, INS[0]), (FORMER["system"], FORMER["value"]))
    assert not found.replica


@pytest.mark.parametrize(
    "reference",
    ["Patient/p1", "Patient/p1/_history/3", "https://bre.example/fhir/Patient/p1"],
)
def test_the_subject_is_found_in_every_form(reference: str) -> None:
    (found,) = seen(care_team("c1", subject=reference), patients=(patient("p1"),))
    assert found.persons == ((INS_TEST, INS[0]),)


def test_what_the_circle_states_itself_counts_too() -> None:
    circle = care_team("c1") | {
        "subject": {"reference": "#p", "identifier": {"system": INS_TEST, "value": INS[1]}},
        "contained": [patient("p", ins=INS[2]), patient("other", ins=INS[0])],
    }
    (found,) = seen(circle)
    assert set(found.persons) == {(INS_TEST, INS[1]), (INS_TEST, INS[2])}


def test_a_dangling_subject_has_no_person_and_somebody_elses_is_not_ours() -> None:
    assert seen(care_team("c1"))[0].persons == ()
    elsewhere = care_team("c1", subject="https://elsewhere.example/fhir/Patient/p1")
    assert seen(elsewhere, patients=(patient("p1"),))[0].persons == ()
    assert seen({**care_team("c1"), "subject": None})[0].persons == ()


def test_whose_patient_has_to_be_fetched() -> None:
    read = entries(
        care_team("c1"),
        care_team("c2", subject="Patient/p2"),
        care_team("c3", subject="https://elsewhere.example/fhir/Patient/p9"),
        care_team("c4", subject="#p"),
        patients=(patient("p1"),),
    )
    circles = [one for one in read if one.type == "CareTeam"]
    assert [one.local_id for one in without_patient(circles, patients_among(read))] == ["c2"]


def test_a_sighting_is_as_new_as_the_newer_of_circle_and_patient() -> None:
    early, late = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"
    (by_patient,) = seen(care_team("c1", last_updated=early), patients=(patient("p1", last_updated=late),))
    (by_circle,) = seen(care_team("c1", last_updated=late), patients=(patient("p1", last_updated=early),))
    assert by_patient.last_updated == by_circle.last_updated == epoch(late)


def test_a_replica_says_so() -> None:
    circle = care_team("c1")
    circle["meta"]["tag"] = [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}]
    assert seen(circle)[0].replica


def test_wrong_types_cost_nothing_beside_them() -> None:
    odd = patient(
        "p1", identifier=[{"system": INS_TEST, "value": 12345}, {"system": 7, "value": "x"}, 3, FORMER]
    )
    circle = care_team("c1") | {
        "identifier": {"system": CIRCLE_SYSTEM, "value": "alone"},
        "subject": {"reference": "Patient/p1", "identifier": ["odd"]},
        "contained": "odd",
    }
    (found,) = seen(circle, patients=(odd,))
    assert found.identifiers == ((CIRCLE_SYSTEM, "alone"),)
    assert found.persons == ((INS_TEST, "12345"), (FORMER["system"], FORMER["value"]))


def test_instants() -> None:
    assert epoch("2026-01-01T01:00:00+01:00") == epoch("2026-01-01T00:00:00Z") == epoch("2026-01-01T00:00:00")
    assert epoch("yesterday") is None
    assert epoch(None) is None
    assert earlier("2026-01-01T01:00:05.250+01:00", 10) == "2025-12-31T23:59:55.250Z"
    assert earlier("yesterday", 10) == "yesterday"
    assert earlier("0001-01-01T00:00:00Z", 10) == "0001-01-01T00:00:00Z"
    assert newest(["2026-01-01T01:00:00+01:00", None, "2026-01-01T00:00:01Z", "x"]) == "2026-01-01T00:00:01Z"
    assert newest([]) is None
