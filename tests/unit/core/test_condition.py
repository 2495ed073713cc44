from __future__ import annotations

import pytest

from broker.core.condition import ids_in_condition, inward_condition, read_condition
from broker.core.translation import Dialogue
from broker.errors import RequestError

ALIAS = "bre.alias--" + "0" * 40
BRE = Dialogue("bre", "53", "https://b.exemple/fhir", {ALIAS: "l" * 64})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Patient", r"identifier=https://x.exemple|a\,b"),
        ("Patient", "Patient?identifier=https%3A%2F%2Fx.exemple%7C1&birthdate=1960-02-03"),
        ("Organization", "?name=a+b"),
        ("PractitionerRole", "practitioner:missing=true"),
    ],
)
def test_a_condition_without_public_ids_stays_to_the_byte(kind: str, text: str) -> None:
    assert inward_condition(kind, text, BRE) == text


@pytest.mark.parametrize(
    ("kind", "text", "own"),
    [
        ("Organization", "_id=bre.3", "_id=3"),
        ("Organization", f"Organization?_id={ALIAS}", "Organization?_id=" + "l" * 64),
        ("PractitionerRole", "practitioner=Practitioner/bre.4&role=a|b", "practitioner=Practitioner%2F4&role=a%7Cb"),
        ("PractitionerRole", "practitioner=https://b.exemple/fhir/Practitioner/bre.4", "practitioner=Practitioner%2F4"),
        ("CareTeam", "participant:Organization._id=bre.5", "participant=Organization%2F5"),
        ("Organization", "_id=bre.3,idf.4", "_id=3"),
    ],
)  # fmt: skip
def test_public_ids_become_the_managers_own(kind: str, text: str, own: str) -> None:
    assert inward_condition(kind, text, BRE) == own


@pytest.mark.parametrize("text", ["practitioner=Practitioner/idf.4", "_id=12", "practitioner=nobody"])
def test_what_no_resource_of_the_manager_can_meet_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        inward_condition("PractitionerRole", text, BRE)
    assert caught.value.key == "condition.foreign"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "request.bad-condition"),
        ("_count=1", "request.bad-condition"),
        ("nonsense=1", "request.unknown-parameter"),
        ("birthdate=yesterday", "request.bad-value"),
    ],
)
def test_a_condition_is_never_applied_in_part(text: str, key: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_condition("Patient", text)
    assert caught.value.key == key


def test_the_public_ids_of_a_condition_are_known() -> None:
    criteria = read_condition("CareTeam", f"participant:Organization._id=bre.5&patient=Patient/{ALIAS}")
    assert ids_in_condition("CareTeam", criteria) == ("bre.5", ALIAS)
