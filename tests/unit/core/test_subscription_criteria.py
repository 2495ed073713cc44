"""Criteria matched in memory on a circle and its actors, and those that are refused."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import quote

import pytest

from broker.core.outcome import render_error, status_of
from broker.core.subscription_criteria import Circle, Selection, SubscriptionCriteria, parse_criteria
from broker.errors import RefusedError
from registry.model import TRE_R30
from tests.support.change_events import PUBLIC, actors, entry, team
from tests.support.fhir_builders import INS, INS_TEST

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def criteria(text: str) -> SubscriptionCriteria:
    return parse_criteria(text, PUBLIC, now=NOW)


def circle(with_actors: bool = True, **more: Any) -> Circle:
    return Circle.of("bre.12", entry(team(**more)), [entry(one) for one in actors()] if with_actors else [])


MATCHING = [
    "CareTeam",
    "CareTeam?",
    "Careteam?status=active",
    "CareTeam?status=inactive,active",
    "CareTeam?status:not=inactive",
    "CareTeam?_id=bre.12",
    "CareTeam?_id=bre.11,bre.12",
    f"CareTeam?_tag={TRE_R30}|53",
    f"CareTeam?_tag={quote(TRE_R30 + '|53', safe='')}",
    f"CareTeam?_tag={TRE_R30}\\|53,{TRE_R30}|76",
    "CareTeam?_source=https://bre.example/fhir",
    "CareTeam?_lastUpdated=ge2026-01-01&_lastUpdated=lt2026-01-02T00:00:00+01:00",
    "CareTeam?_lastUpdated=ap2026-01-01",
    "CareTeam?identifier=https://cds.example/circles|circle-12",
    "CareTeam?start=2025-01-01&end:missing=true",
    "CareTeam?date=gt2026",
    "CareTeam?participant-start=2025&CDSCareTeamStart=2025-01",
    "CareTeam?category:missing=true",
    "CareTeam?participant=RelatedPerson/bre.rp1",
    f"CareTeam?participant={PUBLIC}/RelatedPerson/bre.rp1",
    "CareTeam?patient=bre.p1",
    "CareTeam?subject=Patient/bre.p1",
    "CareTeam?managingOrganization=Organization/bre.o1",
    f"CareTeam?patient.identifier={INS_TEST}|{INS[0]}",
    f"CareTeam?subject:Patient.identifier={INS_TEST}|{INS[1]},{INS_TEST}|{INS[0]}",
    "CareTeam?patient.family=exemple&patient.birthdate=1951-09-09",
    "CareTeam?participant:RelatedPerson.name:exact=PROCHE",
    "CareTeam?participant:PractitionerRole.practitioner:Practitioner.identifier=10001234567",
    "CareTeam?participant:PractitionerRole.organization.identifier=350000001",
    "CareTeam?managingOrganization.name=cab",
]


@pytest.mark.parametrize("text", MATCHING)
def test_what_matches(text: str) -> None:
    assert criteria(text).matches(circle())
    assert criteria(criteria(text).text).text == criteria(text).text


NOT_MATCHING = [
    "CareTeam?status=inactive",
    "CareTeam?status:not=active",
    "CareTeam?_id=bre.13",
    f"CareTeam?_tag={TRE_R30}|76",
    "CareTeam?_lastUpdated=gt2026-01-02",
    "CareTeam?identifier=https://cds.example/others|circle-12",
    "CareTeam?participant=Practitioner/bre.d1",
    "CareTeam?patient=occ.p1",
    f"CareTeam?patient.identifier={INS_TEST}|{INS[1]}",
    f"CareTeam?patient.identifier={INS_TEST}|{INS[0]}&status=inactive",
    "CareTeam?participant:PractitionerRole.practitioner:Practitioner.identifier=10009999999",
    "CareTeam?managingOrganization.partof.name=cab",
    "CareTeam?participant:Organization.identifier=rp-rp1",
]


@pytest.mark.parametrize("text", NOT_MATCHING)
def test_what_does_not(text: str) -> None:
    assert not criteria(text).matches(circle())


def test_a_chain_needs_the_actor() -> None:
    text = f"CareTeam?patient.identifier={INS_TEST}|{INS[0]}"
    assert not criteria(text).matches(circle(with_actors=False))


def test_a_person_known_by_an_identifier_alone_or_contained() -> None:
    text = f"CareTeam?patient.identifier={INS_TEST}|{INS[0]}"
    told = {"subject": {"identifier": {"system": INS_TEST, "value": INS[0]}}}
    raw = team() | told
    assert criteria(text).matches(Circle.of("bre.12", entry(raw), []))
    inside = {"resourceType": "Patient", "id": "p", "identifier": [{"system": INS_TEST, "value": INS[0]}]}
    raw = team() | {"subject": {"reference": "#p"}, "contained": [inside]}
    assert criteria(text).matches(Circle.of("bre.12", entry(raw), []))
    dangling = raw | {"subject": {"reference": "#q"}}
    assert not criteria(text).matches(Circle.of("bre.12", entry(dangling), []))
    other = f"CareTeam?patient.identifier={INS_TEST}|{INS[1]}"
    assert not criteria(other).matches(Circle.of("bre.12", entry(raw), []))


REFUSED = {
    "Patient?name=x": "CareTeam",
    "": "CareTeam",
    "https://broker.example/fhir/CareTeam?status=active": "CareTeam",
    "CareTeam?_include=CareTeam:subject": "_include",
    "CareTeam?_sort=date": "_sort",
    "CareTeam?_count=5": "_count",
    "CareTeam?_format=json": "_format",
    "CareTeam?_has:Observation:patient:code=1": "_has",
    "CareTeam?_text=x": "_text",
    "CareTeam?encounter=Encounter/1": "encounter",
    "CareTeam?status:in=http://vs": "status",
    "CareTeam?category:of-type=a|b|c": "category",
    "CareTeam?patient.phone=1": "patient.phone",
    "CareTeam?participant.name=x": "participant.name",
    "CareTeam?start=soon": "start",
    "CareTeam?status=": "status",
    "CareTeam?status=active,": "status",
    "CareTeam?" + "&".join(["status=active"] * 21): "20",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_matched_is_refused_by_name(text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        criteria(text)
    assert status_of(caught.value) == 422
    shown = render_error(caught.value).decode()
    assert REFUSED[text] in shown
    assert '"expression":["Subscription.criteria"]' in shown


def test_everything_wrong_is_told_at_once_and_no_value() -> None:
    with pytest.raises(RefusedError) as caught:
        criteria(f"CareTeam?_has:x=1&phone={INS[0]}&patient.identifier={INS[0]}|&start={INS[0]}")
    shown = render_error(caught.value).decode()
    assert all(name in shown for name in ("_has", "phone", "start"))
    assert INS[0] not in shown


# --- whether a change is sent


ACTIVE = criteria("CareTeam?status=active")


@pytest.mark.parametrize(
    ("status", "sent_before", "selected"),
    [
        ("active", None, Selection.MATCHES),
        ("active", False, Selection.MATCHES),
        ("inactive", None, Selection.NOT),
        ("inactive", False, Selection.NOT),
        ("inactive", True, Selection.LEFT),
    ],
)
def test_a_change(status: str, sent_before: bool | None, selected: Selection) -> None:
    assert ACTIVE.select(circle(status=status), sent_before=sent_before) is selected
    assert selected.sent is (selected is not Selection.NOT)


@pytest.mark.parametrize(
    ("text", "sent_before", "selected"),
    [
        ("CareTeam?status=active", True, Selection.DELETED),
        ("CareTeam?status=active", False, Selection.NOT),
        ("CareTeam?status=active", None, Selection.DELETED),
        (f"CareTeam?_tag={TRE_R30}|76", None, Selection.DELETED),
        ("CareTeam?_id=bre.12", None, Selection.DELETED),
        ("CareTeam?_id=bre.13", None, Selection.NOT),
        ("CareTeam?_id:not=bre.12", None, Selection.NOT),
        ("CareTeam?_id=bre.13", True, Selection.DELETED),
    ],
)
def test_a_deletion(text: str, sent_before: bool | None, selected: Selection) -> None:
    gone = Circle.of("bre.12", None, [])
    assert criteria(text).select(gone, sent_before=sent_before) is selected
    assert not criteria(text).matches(gone)
