"""Seeds: the same each time, valid by the rules that the guide and its identifiers have."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from adapters.sandbox.profiles import check_profile
from adapters.sandbox.seed import seed_region
from adapters.sandbox.seed_places import TOWNS
from adapters.sandbox.store import Store
from broker.commands.sandbox import read_seed
from broker.core.element_paths import values_at
from broker.core.ins import INS_NIR_TEST, is_valid_ins
from registry.model import REGIONS
from tests.support.fake_clock import FakeClock

BIRTHPLACE = "ext[http://hl7.org/fhir/StructureDefinition/patient-birthPlace].valueAddress"


def seeded(region: str = "53", circles: int = 30) -> list[dict[str, Any]]:
    return seed_region(region, circles, clock=FakeClock())


def of_type(resources: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The present state of each; a circle that changed comes once for each of its states."""
    return list({r["id"]: r for r in resources if r["resourceType"] == kind}.values())


def luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def test_a_seed_is_deterministic_and_differs_by_region_and_seed() -> None:
    assert seeded() == seeded()
    assert seeded("94") != seeded("53")
    assert seed_region("53", 30, seed=2, clock=FakeClock()) != seeded()


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_patients_are_consistent_with_their_ins(region: str) -> None:
    patients = of_type(seeded(region, 12), "Patient")
    assert len(patients) == 12
    for patient in patients:
        (identifier,) = patient["identifier"]
        ins = identifier["value"]
        assert identifier["system"] == INS_NIR_TEST
        assert identifier["type"]["coding"][0]["code"] == "INS-NIR-TEST"
        assert is_valid_ins(ins)
        assert ins[0] == {"male": "1", "female": "2"}[patient["gender"]]
        assert ins[1:5] == patient["birthDate"][2:4] + patient["birthDate"][5:7]
        assert values_at(patient, f"{BIRTHPLACE}.extension.valueCoding.code") == [ins[5:10]]
        assert values_at(patient, f"{BIRTHPLACE}.city")[0] in {town.name for town in TOWNS[region]}
        assert patient["address"][0]["city"] in {town.name for town in TOWNS[region]}


def test_corsicans_have_their_letters() -> None:
    letters = {values_at(p, "identifier.value")[0][5:7] for p in of_type(seeded("94"), "Patient")}
    assert letters == {"2A", "2B"}


def test_circles_satisfy_the_profile_and_refer_to_what_is_there() -> None:
    resources = seeded()
    known = {f"{r['resourceType']}/{r['id']}" for r in resources}
    for resource in resources:
        check_profile(resource["resourceType"], resource)
        assert resource["meta"]["profile"]
        referred = set(re.findall(r'"reference": "([^"]+)"', json.dumps(resource)))
        assert referred <= known
    assert len({r["meta"]["lastUpdated"] for r in resources}) == len(resources)


def test_somebody_left_and_came_back() -> None:
    returned = 0
    for circle in of_type(seeded(), "CareTeam"):
        periods: dict[str, list[dict[str, str]]] = {}
        for participant in circle["participant"]:
            periods.setdefault(participant["member"]["reference"], []).append(participant["period"])
        for held in periods.values():
            if len(held) == 2:
                returned += 1
                first, second = held
                assert first["start"] <= first["end"] <= second["start"]
                assert "end" not in second
            else:
                assert len(held) == 1
    assert returned == 10


def test_circles_that_changed_have_their_earlier_states() -> None:
    states: dict[str, list[dict[str, Any]]] = {}
    for resource in seeded():
        if resource["resourceType"] == "CareTeam":
            states.setdefault(resource["id"], []).append(resource)
    told = {identity: [state["status"] for state in one] for identity, one in states.items() if len(one) > 1}
    assert told["cercle-4"] == ["proposed", "active"]
    assert told["cercle-9"] == ["proposed", "active", "inactive"]
    assert told["cercle-18"] == ["active", "inactive"]
    assert {one[-1]["status"] for one in states.values()} == {"active", "inactive"}
    for one in states.values():
        changes = [state["meta"]["lastUpdated"] for state in one]
        assert changes == sorted(set(changes))
        assert len({state["subject"]["reference"] for state in one}) == 1
    store = Store(FakeClock())
    store.load(seeded())
    assert [(v.version_id, v.method) for v in store.versions("CareTeam", "cercle-9")] == [
        ("1", "POST"),
        ("2", "PUT"),
        ("3", "PUT"),
    ]


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_even_a_small_region_illustrates_every_criterion(region: str) -> None:
    resources = seeded(region, 8)
    circles = of_type(resources, "CareTeam")
    assert {len(circle.get("category", ())) for circle in circles} == {0, 1}
    parts = {f"Organization/{o['id']}" for o in of_type(resources, "Organization") if "partOf" in o}
    assert any(
        member in parts for circle in circles for member in values_at(circle, "participant.member.reference")
    )


def test_identifiers_have_their_check_digits() -> None:
    resources = seeded()
    for practitioner in of_type(resources, "Practitioner"):
        rpps = practitioner["identifier"][0]["value"]
        assert len(rpps) == 11
        assert luhn(rpps)
    for organization in of_type(resources, "Organization"):
        finess, siret = (identifier["value"] for identifier in organization["identifier"])
        assert re.fullmatch(r"[0-9AB]{9}", finess)
        assert len(siret) == 14
        assert luhn(siret)
        assert luhn(siret[:9])


def test_roles_and_contacts_of_the_guide_occur() -> None:
    resources = seeded(circles=60)
    codes = Counter(
        code for r in of_type(resources, "CareTeam") for code in values_at(r, "participant.role.coding.code")
    )
    assert {"PCP", "PROV", "GUARD", "QUAL", "CAREGIVER"} == set(codes)
    assert {r["status"] for r in of_type(resources, "CareTeam")} == {"active", "inactive"}


def test_an_unknown_region_has_no_seed() -> None:
    with pytest.raises(KeyError):
        seeded("99")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"1"}}]}',
        b'[{"resourceType":"Patient","id":"1"}]',
        b'{"resourceType":"Patient","id":"1"}',
        b'\xef\xbb\xbf{"resourceType":"Patient","id":"1"}\n\n',
    ],
)
def test_seed_files(raw: bytes) -> None:
    assert read_seed(raw) == [{"resourceType": "Patient", "id": "1"}]


def test_a_seed_file_of_lines() -> None:
    assert read_seed(b'{"id":"1"}\n\n{"id":"2"}\n') == [{"id": "1"}, {"id": "2"}]


@pytest.mark.parametrize("raw", [b"x", b"[1]", b'{"resourceType":"Bundle","entry":[{}]}', b"3"])
def test_a_seed_file_of_something_else_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text; the command words it
        read_seed(raw)
