"""What the guide publishes, and what this repository's own writers make, is taken: nothing valid is refused."""

from __future__ import annotations

import datetime as dt
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from adapters.sandbox.seed import seed_region
from broker.core.fhir_xml import to_xml
from broker.core.media_type import Format
from broker.core.profile_check import check_resource
from broker.core.write_body import read_resource_body, refusal
from registry.model import REGIONS
from tests.contract.gestionnaire.people import People
from tests.support.fake_clock import FakeClock

PACKAGE = Path(__file__).parents[4] / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"
EMPTY_TRANSLATION = "extension[0].extension[1].value"


def _examples() -> dict[str, bytes]:
    if not PACKAGE.exists():
        return {}
    with tarfile.open(PACKAGE) as package:
        return {
            member.name.rpartition("/")[2]: handle.read()
            for member in package.getmembers()
            if "/example/" in member.name and (handle := package.extractfile(member)) is not None
        }


EXAMPLES = _examples()
TRAPS = {
    "CareTeam": [f"name.{EMPTY_TRANSLATION}"],
    "Organization": [f"name.{EMPTY_TRANSLATION}", f"alias[0].{EMPTY_TRANSLATION}"],
}
"""The official examples hold empty strings, which FHIR forbids (R4, datatypes.html#string)."""


def _resources() -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for name, body in EXAMPLES.items():
        _, resource = read_resource_body(body, Format.JSON, None)
        if resource["resourceType"] != "Bundle":
            found.append((name, str(resource["resourceType"]), resource))
        for index, entry in enumerate(resource.get("entry", ())):
            found.append((name, f"Bundle.entry[{index}].resource", entry["resource"]))
    return found


@pytest.mark.guide
@pytest.mark.skipif(not EXAMPLES, reason="the guide's package is not beside the repository")
def test_the_official_examples_are_taken_but_for_their_empty_strings() -> None:
    seen = 0
    for name, path, resource in _resources():
        issues = check_resource(resource, path=path)
        errors = [issue for issue in issues if not issue.key.startswith("write.ins-key")]
        traps = TRAPS.get(resource["resourceType"], [])
        assert [(i.key, i.expression) for i in errors] == [
            ("write.structure.empty", (f"{path}.{trap}",)) for trap in traps
        ], name
        warned = resource["resourceType"] == "Patient"  # the example's INS has a wrong key
        assert [i.key for i in issues if i not in errors] == ["write.ins-key"] * warned
        seen += 1
    assert seen == 8


@pytest.mark.guide
@pytest.mark.skipif(not EXAMPLES, reason="the guide's package is not beside the repository")
def test_so_they_are_in_xml() -> None:
    for name, body in EXAMPLES.items():
        as_xml = to_xml(body)
        converted, resource = read_resource_body(as_xml, Format.XML, None)
        assert json.loads(converted) == resource
        if resource["resourceType"] in {"Patient", "RelatedPerson"}:
            assert refusal(check_resource(resource)) is None, name


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_what_the_sandbox_is_seeded_with_is_taken(region: str) -> None:
    clock = FakeClock(dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
    kinds = set()
    for resource in seed_region(region, 4, seed=3, clock=clock):
        kinds.add(resource["resourceType"])
        assert check_resource(resource) == [], resource["resourceType"]
    assert len(kinds) == 6


def test_what_the_contract_suite_writes_is_taken() -> None:
    people = People()
    made = [
        people.patient("Morvan", "Anne", "1951-04-12", gender="female", city="Rennes", born_at="Brest"),
        people.practitioner("Le Goff", "Yann"),
        people.role("Practitioner/1", "Organization/1", "10"),
        people.contact("Patient/1", "Tanguy", "Léa", role="ECON", city="Tourcoing"),
        people.organization("Maison de santé", "Organization/2"),
        people.circle(
            "a",
            "Patient/1",
            [("PractitionerRole/1", "2024-01-10", None), ("urn:uuid:7b0c", "2024-01-10", "2024-02-01")],
            category="LA27976-2",
            managed_by=("Organization/1",),
        ),
    ]
    assert [issue for resource in made for issue in check_resource(resource)] == []
