"""What a copy keeps, what it says of itself, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from broker.core.copies import copy_of, followed, is_copy, nests_too_deep, parsed, source_of, to_json
from broker.core.copy_plan import Actor, CopyPlan, plan_copies, the_one
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.entry import Entry
from broker.core.references import Named
from registry.model import TRE_R30
from tests.support.fhir_builders import INS, INS_TEST, patient, related_person

PUBLIC = "https://broker.example/fhir"
MARK = {"system": REPLICA_SYSTEM, "code": REPLICA_CODE}
REGION = {"system": TRE_R30, "code": "76"}
SOURCE = f"{PUBLIC}/Patient/occ.12"


def copied(
    resource: dict[str, Any], source: str = SOURCE, references: Mapping[str, str] | None = None
) -> dict[str, Any]:
    return copy_of(resource, source=source, references=references or {}, public_base=PUBLIC)


def test_all_but_the_place_is_kept() -> None:
    original = patient(
        "occ.12", identifier=[{"system": INS_TEST, "value": INS[0]}, {"system": "urn:local", "value": "7"}]
    )
    original["meta"] |= {
        "source": "https://occ.example/fhir",
        "tag": [REGION],
        "profile": ["p"],
        "security": [{"system": "s", "code": "R"}],
    }
    original["text"] = {"status": "generated", "div": "<div>é</div>"}
    before = deepcopy(original)
    made = copied(original)
    assert original == before
    assert made["meta"] == {
        "tag": [REGION, MARK],
        "profile": ["p"],
        "security": [{"system": "s", "code": "R"}],
        "source": SOURCE,
    }
    kept = {name: value for name, value in original.items() if name not in ("id", "meta")}
    assert {name: value for name, value in made.items() if name != "meta"} == kept
    assert is_copy(made)
    assert not is_copy(original)


def test_a_resource_without_meta() -> None:
    made = copied({"resourceType": "Practitioner", "id": "occ.1", "identifier": []})
    assert made == {
        "resourceType": "Practitioner",
        "meta": {"source": SOURCE, "tag": [MARK]},
        "identifier": [],
    }


def test_a_copy_of_a_copy_names_the_original() -> None:
    again = patient("occ.12", meta={"versionId": "4", "source": f"{PUBLIC}/Patient/bre.3", "tag": [MARK]})
    source = source_of(again, Named("Patient", "occ.12"), PUBLIC)
    assert source == f"{PUBLIC}/Patient/bre.3"
    assert copied(again, source)["meta"] == {"source": source, "tag": [MARK]}
    assert source_of(patient("occ.12"), Named("Patient", "occ.12"), PUBLIC) == SOURCE


def test_references_are_the_homes_or_become_logical() -> None:
    role = {
        "resourceType": "PractitionerRole",
        "practitioner": {"reference": "Practitioner/occ.2", "display": "Dr"},
        "organization": {"reference": f"{PUBLIC}/Organization/occ.3"},
        "location": [
            {"reference": "Location/occ.4/_history/2", "_reference": {"id": "a"}, "display": "Rennes"}
        ],
        "endpoint": [{"reference": "#e"}, {"reference": "https://elsewhere.example/Endpoint/1"}],
        "healthcareService": [
            {"reference": "HealthcareService/occ.5", "identifier": {"system": "s", "value": "v"}}
        ],
    }
    made = copied(role, references={"Practitioner/occ.2": "Practitioner/77"})
    assert made["practitioner"] == {"reference": "Practitioner/77", "display": "Dr"}
    assert made["organization"] == {
        "type": "Organization",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"{PUBLIC}/Organization/occ.3"},
    }
    assert made["location"][0] == {
        "display": "Rennes",
        "type": "Location",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"{PUBLIC}/Location/occ.4"},
    }
    assert made["endpoint"] == role["endpoint"]  # contained, and elsewhere
    assert made["healthcareService"] == [
        {"identifier": {"system": "s", "value": "v"}, "type": "HealthcareService"}
    ]


def test_decimals_keep_their_precision() -> None:
    raw = b'{"resourceType":"Patient","a":1.500,"b":1E+3,"c":123456789012345678901234567890,"d":0.1000000000000000000001}'
    text = to_json(copied(parsed(raw)))
    for number in (b"1.500", b"1E+3", b"123456789012345678901234567890", b"0.1000000000000000000001"):
        assert number in text


def test_a_tree_that_no_resource_is() -> None:
    tree: dict[str, Any] = {}
    for _ in range(500):
        tree = {"a": [tree]}
    assert nests_too_deep(tree)
    assert not nests_too_deep(patient("p"))


def test_what_goes_along() -> None:
    assert followed(related_person("r", patient="Patient/occ.1")) == [("patient", "Patient/occ.1", True)]
    role = {
        "resourceType": "PractitionerRole",
        "organization": {"reference": "Organization/occ.1"},
        "practitioner": 4,
    }
    assert followed(role) == [("organization", "Organization/occ.1", True)]
    assert followed(patient("p", generalPractitioner=[{"reference": "Practitioner/occ.1"}])) == []


# --- the order of copies


def actor(reference: str, value: str | None = None, local: str | None = None, **elements: str) -> Actor:
    kind, _, public_id = reference.partition("/")
    resource: dict[str, Any] = {"resourceType": kind, "id": public_id}
    resource |= {name: {"reference": text} for name, text in elements.items()}
    return Actor(Named(kind, public_id), resource, ("s", value or public_id), (f"X.{public_id}",), local)


def planned(*actors: Actor, wanted: tuple[str, ...] = (), at_home: dict[str, str] | None = None) -> CopyPlan:
    listed = {one.named.reference: one for one in actors}
    urls = {reference: f"urn:{reference}" for reference in listed}
    return plan_copies(wanted or (actors[0].named.reference,), listed, at_home or {}, urls, PUBLIC)


def order(plan: CopyPlan) -> list[tuple[str, int]]:
    return [(copy.original, copy.layer) for copy in plan.copies]


def test_what_is_referred_to_comes_first() -> None:
    plan = planned(
        actor("PractitionerRole/occ.1", practitioner="Practitioner/occ.2", organization="Organization/occ.3"),
        actor("Organization/occ.3", partOf="Organization/occ.4"),
        actor("Practitioner/occ.2"),
        actor("Organization/occ.4"),
    )
    assert order(plan) == [
        ("Practitioner/occ.2", 0),
        ("Organization/occ.4", 0),
        ("Organization/occ.3", 1),
        ("PractitionerRole/occ.1", 2),
    ]
    role = plan.copies[-1]
    assert role.resource["organization"] == {"reference": "urn:Organization/occ.3"}
    assert role.paths == ("X.occ.1",)
    assert role.criterion.startswith("identifier=s")
    assert plan.references == {"PractitionerRole/occ.1": "urn:PractitionerRole/occ.1"}


def test_what_the_home_has_is_not_copied() -> None:
    plan = planned(
        actor(
            "PractitionerRole/occ.1",
            practitioner="Practitioner/occ.2",
            organization=f"{PUBLIC}/Organization/bre.3",
        ),
        actor("Practitioner/occ.2", local="Practitioner/77"),
        at_home={"Organization/bre.3": "Organization/3"},
    )
    assert order(plan) == [("PractitionerRole/occ.1", 0)]
    assert plan.copies[0].resource["practitioner"] == {"reference": "Practitioner/77"}
    assert plan.copies[0].resource["organization"] == {"reference": "Organization/3"}


def test_a_circle_of_structures_ends() -> None:
    plan = planned(
        actor("Organization/occ.1", partOf="Organization/occ.2"),
        actor("Organization/occ.2", partOf="Organization/occ.1"),
    )
    assert order(plan) == [("Organization/occ.2", 0), ("Organization/occ.1", 1)]
    assert plan.copies[0].resource["partOf"]["identifier"]["value"] == f"{PUBLIC}/Organization/occ.1"
    itself = planned(actor("Organization/occ.1", partOf="Organization/occ.1"))
    assert order(itself) == [("Organization/occ.1", 0)]


def test_two_managers_records_of_one_actor_make_one_copy() -> None:
    wanted = (
        "Practitioner/occ.1",
        "Practitioner/naq.9",
        f"{PUBLIC}/Practitioner/occ.1",
        "Practitioner/occ.1/_history/2",
    )
    plan = planned(actor("Practitioner/occ.1", "rpps"), actor("Practitioner/naq.9", "rpps"), wanted=wanted)
    assert order(plan) == [("Practitioner/occ.1", 0)]
    assert plan.references == dict.fromkeys(wanted, "urn:Practitioner/occ.1")


# --- what the home holds


def held(local_id: str, *, copy: bool = False) -> Entry:
    tags = ((REPLICA_SYSTEM, REPLICA_CODE),) if copy else ()
    return Entry("match", "Practitioner", local_id, f"bre.{local_id}", "1", None, None, tags, b"{}")


@pytest.mark.parametrize(
    ("found", "one"),
    [
        ([held("5")], "5"),
        ([held("5", copy=True)], "5"),
        ([held("2", copy=True), held("5")], "5"),
        ([held("9", copy=True), held("2", copy=True)], "2"),
        ([held("5"), held("6")], None),
        ([held("5"), held("6"), held("1", copy=True)], None),
    ],
)
def test_the_one_of_several(found: list[Entry], one: str | None) -> None:
    chosen = the_one(found)
    assert (chosen and chosen.local_id) == one
