"""Where references stand, what they name, and how they are replaced in the text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity import Origin
from broker.core.references import Named, named_by, reference_paths, with_references
from broker.core.rewriting import inward
from tests.support.fhir_builders import care_team

PUBLIC = "https://broker.example/fhir"


def test_paths_in_the_order_of_the_text() -> None:
    circle = care_team(
        "c1", participants=["RelatedPerson/bre.1", "#p"], managing_organization="Organization/occ.2"
    )
    circle["contained"] = [
        {"resourceType": "PractitionerRole", "practitioner": {"reference": "Practitioner/bre.5"}}
    ]
    circle["extension"] = [{"url": "u", "valueReference": {"reference": "Location/bre.1"}}]
    assert reference_paths(circle) == [
        ("CareTeam.subject", "Patient/p1"),
        ("CareTeam.participant[0].member", "RelatedPerson/bre.1"),
        ("CareTeam.participant[1].member", "#p"),
        ("CareTeam.managingOrganization[0]", "Organization/occ.2"),
        ("CareTeam.contained[0].practitioner", "Practitioner/bre.5"),
        ("CareTeam.extension[0].value", "Location/bre.1"),
    ]


def test_another_beginning() -> None:
    circle = {"resourceType": "CareTeam", "subject": {"reference": "Patient/1"}}
    assert reference_paths(circle, path="Bundle.entry[2].resource") == [
        ("Bundle.entry[2].resource.subject", "Patient/1")
    ]


@pytest.mark.parametrize(
    "held", [{"reference": 4}, {"reference": None}, {"identifier": {"value": "x"}}, [], "x"]
)
def test_what_is_no_reference(held: Any) -> None:
    assert reference_paths({"resourceType": "CareTeam", "subject": held}) == []


def test_nesting_is_no_danger() -> None:
    tree: dict[str, Any] = {"reference": "Patient/1"}
    for _ in range(5000):
        tree = {"a": [tree]}
    assert [reference for _, reference in reference_paths(tree)] == ["Patient/1"]


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("Patient/occ.12", Named("Patient", "occ.12")),
        (f"{PUBLIC}/Patient/occ.12", Named("Patient", "occ.12")),
        ("Patient/occ.12/_history/3", Named("Patient", "occ.12")),
        ("Patient/12", Named("Patient", "12")),
        ("Patient/..", None),
        ("Patient/", None),
        ("patient/occ.12", None),
        ("#p", None),
        ("urn:uuid:0c1d9e6a-2f11-4a57-9d3e-5f0b7c4e6b1d", None),
        ("Patient?identifier=a|b", None),
        ("https://elsewhere.example/fhir/Patient/occ.12", None),
        ("Patient/occ.12/extra", None),
    ],
)
def test_what_a_reference_names(reference: str, named: Named | None) -> None:
    assert named_by(reference, PUBLIC) == named
    assert named_by(reference, PUBLIC + "/") == named


def test_only_the_references_change_and_no_other_byte() -> None:
    body = (
        b'{ "resourceType" : "CareTeam","name":"Patient/occ.1 \\"reference\\":\\"Patient/occ.1\\"",'
        b'"x":1.500,"subject":{"reference" :\n"Patient\\/occ.1","display":"\\u00e9"},'
        b'"participant":[{"member":{"reference":"Patient/occ.10"}},{"member":{"ref\\u0065rence":"Patient/occ.1"}}],'
        b'"note":{"reference":{"reference":"Patient/occ.1"}}}'
    )
    expected = (
        body.replace(b'"Patient\\/occ.1"', b'"Patient/7"')
        .replace(b'"ref\\u0065rence":"Patient/occ.1"', b'"reference":"Patient/7"')
        .replace(b'{"reference":"Patient/occ.1"}', b'{"reference":"Patient/7"}')
    )
    changed = with_references(body, {"Patient/occ.1": "Patient/7"})
    assert changed == expected
    json.loads(changed)


_TEXTS = st.sampled_from(
    ["Patient/occ.1", "Patient/bre.1", "#a", 'a"b\\c', "reference", "é\u2028", "Patient/occ.2"]
)
_TREES = st.recursive(
    st.one_of(_TEXTS, st.integers(), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["reference", "a", 'x"reference', "\\"]), inner, max_size=3),
    ),
    max_leaves=12,
)
_CHANGES = {"Patient/occ.1": "Practitioner/9", "#a": 'odd "\\', "Patient/occ.2": "urn:uuid:1"}


@given(st.dictionaries(st.sampled_from(["reference", "b"]), _TREES, max_size=2), st.booleans())
def test_replacing_in_the_text_is_replacing_in_the_tree(tree: dict[str, Any], spaced: bool) -> None:
    body = json.dumps(tree, ensure_ascii=spaced, indent=1 if spaced else None).encode()
    assert json.loads(with_references(body, _CHANGES)) == _replaced(tree)


def _replaced(value: Any) -> Any:
    if isinstance(value, list):
        return [_replaced(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _CHANGES.get(one, one) if name == "reference" and isinstance(one, str) else _replaced(one)
        for name, one in value.items()
    }


def test_what_the_inward_pass_lists_is_found_by_its_path() -> None:
    """The two ways of reading must agree, or a foreign reference would be left as it is."""
    origin = Origin("bre", "https://bre.example/fhir", PUBLIC, "53")
    body = (
        b'{"resourceType":"CareTeam","subject":{"reference":"Patient\\/occ.1"},'
        b'"participant":[{"member":{"reference":"Practitioner\\u0052ole/occ.2"}},'
        b'{"member":{"reference":"RelatedPerson/12"}}]}'
    )
    listed = {text: path for path, text in reference_paths(json.loads(body))}
    local = inward(body, origin, {})
    assert [listed[text] for text in local.foreign] == ["CareTeam.subject", "CareTeam.participant[0].member"]
    assert [listed[text] for text in local.unknown] == ["CareTeam.participant[1].member"]
