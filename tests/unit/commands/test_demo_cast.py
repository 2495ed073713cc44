"""Who plays in the demonstration, and the copies that are made of circles."""

from __future__ import annotations

from typing import Any

from adapters.sandbox.options import SandboxOptions
from broker.commands.demo_cast import CAST, replica, second_circle
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from registry.model import REGIONS, SLUG

HOME = "http://127.0.0.1:9/fhir"
CIRCLE: dict[str, Any] = {
    "resourceType": "CareTeam",
    "id": "c1",
    "meta": {"versionId": "3", "lastUpdated": "2026-01-01T00:00:00Z"},
    "identifier": [{"system": "s", "value": "1"}],
    "subject": {"reference": "Patient/p1"},
    "participant": [{"member": {"reference": "Organization/elsewhere"}}],
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {},
    "identifier": [{"value": "ins"}],
}


def test_every_region_plays_once() -> None:
    assert sorted(role.region for role in CAST) == sorted(REGIONS)
    assert len({role.slug for role in CAST}) == len(CAST)
    for role in CAST:
        assert SLUG.fullmatch(role.slug)
        SandboxOptions(**role.options)  # type: ignore[arg-type]  # a wrong name or value fails here


def test_a_replica_has_own_ids_the_same_identifier_and_its_home() -> None:
    circle, patient = replica([CIRCLE, PATIENT], home=HOME, slug="bre")
    assert (circle["id"], patient["id"]) == ("bre-c1", "bre-p1")
    assert circle["subject"]["reference"] == "Patient/bre-p1"
    assert circle["participant"][0]["member"]["reference"] == "Organization/elsewhere"
    assert circle["identifier"] == CIRCLE["identifier"]
    assert circle["meta"]["source"] == f"{HOME}/CareTeam/c1"
    assert circle["meta"]["tag"] == [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}]
    assert "tag" not in patient["meta"]
    assert CIRCLE["id"] == "c1", "the original was changed"


def test_a_second_circle_is_another_one_of_the_same_person() -> None:
    circle, patient = second_circle([CIRCLE, PATIENT], slug="bre", identifier={"system": "s", "value": "2"})
    assert circle["identifier"] == [{"system": "s", "value": "2"}]
    assert "tag" not in circle["meta"]
    assert patient["identifier"] == PATIENT["identifier"]
    assert circle["subject"]["reference"] == f"Patient/{patient['id']}"
