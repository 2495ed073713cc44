"""The index finds every subscription that a circle meets, and spares those that it cannot concern."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.subscription_criteria import Circle, SubscriptionCriteria, parse_criteria
from broker.core.subscription_index import SubscriptionIndex, anchors, keys_of
from broker.errors import RefusedError
from registry.model import TRE_R30
from tests.support.subscription_world import BASE, INS, INS_SYSTEM, a_circle, a_patient
from tests.unit.core.test_subscription_criteria import MATCHING
from tests.unit.core.test_subscription_criteria import circle as guide_circle
from tests.unit.core.test_subscription_criteria import criteria as guide_criteria

HERE = Circle.of("bre.12", a_circle(12), [a_patient(12)])


def criteria(text: str) -> SubscriptionCriteria:
    return parse_criteria(text, BASE)


@pytest.mark.parametrize("text", MATCHING)
def test_what_matches_is_found(text: str) -> None:
    index = SubscriptionIndex({"a": guide_criteria(text)})
    found = guide_circle()
    assert guide_criteria(text).matches(found)
    assert list(index.concerned(found)) == ["a"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"CareTeam?_tag={TRE_R30}|53&status=active", "_tag"),
        (f"CareTeam?patient.identifier={INS_SYSTEM}|{INS}&_tag={TRE_R30}|53", "person"),
        (f"CareTeam?patient:identifier={INS_SYSTEM}|{INS}", "person"),
        ("CareTeam?_id=bre.12,bre.13&patient=bre.p1", "_id"),
        ("CareTeam?patient=Patient/bre.p1/_history/3", "patient"),
        ("CareTeam?_source=https://bre.example/fhir", "_source"),
        ("CareTeam?identifier=urn:x|1", "identifier"),
    ],
)
def test_the_narrowest_criterion_is_the_anchor(text: str, kind: str) -> None:
    found = anchors(criteria(text))
    assert found is not None
    assert {name for name, _ in found} == {kind}


@pytest.mark.parametrize(
    "text",
    [
        "CareTeam",
        "CareTeam?status=active",
        "CareTeam?_tag:not=x|53",
        f"CareTeam?_tag={TRE_R30}|",
        f"CareTeam?_tag={TRE_R30}|53,{TRE_R30}|",
        "CareTeam?patient.family=Exemple",
        "CareTeam?participant:RelatedPerson.patient.identifier=x|1",
        "CareTeam?identifier:missing=true",
        "CareTeam?patient:missing=true",
    ],
)
def test_what_names_no_values_has_no_anchor(text: str) -> None:
    assert anchors(criteria(text)) is None
    assert list(SubscriptionIndex({"a": criteria(text)}).concerned(HERE)) == ["a"]


def test_thousands_that_a_circle_cannot_concern_are_not_looked_at() -> None:
    index = SubscriptionIndex()
    for number in range(3000):
        index.put(f"p{number}", criteria(f"CareTeam?patient.identifier={INS_SYSTEM}|{number:015d}"))
        index.put(f"r{number}", criteria(f"CareTeam?_tag={TRE_R30}|{number % 90 + 100}"))
    index.put("here", criteria(f"CareTeam?_tag={TRE_R30}|53"))
    index.put("any", criteria("CareTeam?status=active"))
    assert sorted(index.concerned(HERE)) == ["any", "here"]


def test_what_is_taken_out_is_found_no_more() -> None:
    index = SubscriptionIndex({"a": criteria("CareTeam?_id=bre.12"), "b": criteria("CareTeam")})
    index.put("a", criteria("CareTeam?_id=bre.13"))
    assert list(index.concerned(HERE)) == ["b"]
    index.remove("b")
    index.remove("b")
    assert list(index.concerned(HERE)) == []


def test_a_circle_without_content_has_no_keys() -> None:
    assert list(keys_of(Circle.of("bre.12", None, ()))) == []


@pytest.mark.parametrize(
    "more",
    [
        {"subject": {"identifier": {"system": INS_SYSTEM, "value": INS}}},
        {
            "subject": {"reference": "#p"},
            "contained": [
                {
                    "resourceType": "Patient",
                    "id": "p",
                    "identifier": [{"system": INS_SYSTEM, "value": INS}],
                }
            ],
        },
    ],
)
def test_a_person_is_found_however_the_circle_names_it(more: dict[str, object]) -> None:
    circle = Circle("bre.12", {"resourceType": "CareTeam", "id": "bre.12", **more}, {})
    wanted = criteria(f"CareTeam?patient.identifier={INS_SYSTEM}|{INS}")
    assert wanted.matches(circle)
    assert list(SubscriptionIndex({"a": wanted}).concerned(circle)) == ["a"]


VALUES = st.sampled_from(
    [
        "53",
        "76",
        f"{TRE_R30}|53",
        f"{TRE_R30}|76",
        f"{TRE_R30}|",
        "bre.12",
        "bre.13",
        INS,
        f"{INS_SYSTEM}|{INS}",
    ]
)
NAMES = st.sampled_from(
    [
        *("_tag", "_tag:not", "_id", "_source", "identifier", "patient", "patient:Patient", "subject"),
        *("patient.identifier", "patient:identifier", "subject:Patient.identifier"),
    ]
)
CRITERIA = st.lists(st.tuples(NAMES, st.lists(VALUES, min_size=1, max_size=2)), min_size=0, max_size=3).map(
    lambda pairs: "CareTeam?" + "&".join(f"{name}={','.join(values)}" for name, values in pairs)
)


@given(
    st.lists(CRITERIA, max_size=8),
    st.sampled_from([12, 13]),
    st.sampled_from(["53", "76"]),
    st.sampled_from([INS, "000"]),
)
def test_nothing_that_matches_is_missed(texts: list[str], number: int, region: str, ins: str) -> None:
    readable = {}
    for place, text in enumerate(texts):
        with suppress(RefusedError):
            readable[str(place)] = criteria(text)
    circle = Circle.of(f"bre.{number}", a_circle(number, region=region), [a_patient(number, ins=ins)])
    found = set(SubscriptionIndex(readable).concerned(circle))
    assert {name for name, one in readable.items() if one.matches(circle)} <= found
