"""Versions of a circle, and what changed between them, in words."""

from __future__ import annotations

from typing import Any

import pytest

from broker.console.circle_view import Holding, Holdings, holdings, in_words, versions
from tests.support.fhir_builders import Resource, care_team

NAMES = {"RelatedPerson/bre.r1": "Claude PROCHE", "Patient/bre.p1": "Dominique EXEMPLE"}


def member(reference: str, **period: str) -> Resource:
    return {"member": {"reference": reference}, "period": period}


def told(old: dict[str, Any], new: dict[str, Any], language: Any = "en") -> list[str]:
    before = care_team("bre.c1") | old
    return in_words(before, before | new, NAMES, language)


@pytest.mark.parametrize(
    ("old", "new", "fr", "en"),
    [
        (
            {},
            {"status": "inactive"},
            "Statut : active → inactive",
            "Status: active → inactive",
        ),
        (
            {},
            {"participant": [member("RelatedPerson/bre.r1", start="2025-02-01")]},
            "Membre ajouté : Claude PROCHE (depuis 2025-02-01)",
            "Member added: Claude PROCHE (since 2025-02-01)",
        ),
        (
            {"participant": [member("RelatedPerson/bre.r1")]},
            {"participant": []},
            "Membre retiré : Claude PROCHE",
            "Member removed: Claude PROCHE",
        ),
        (
            {"participant": [member("RelatedPerson/bre.r1", start="2025")]},
            {"participant": [member("RelatedPerson/bre.r1", start="2025", end="2026")]},
            "Claude PROCHE, sortie : ajouté, 2026",
            "Claude PROCHE, exit: added, 2026",
        ),
        (
            {"subject": {"reference": "Patient/bre.p1"}},
            {"subject": {"reference": "Patient/bre.p2"}},
            "Personne (subject.reference) : Dominique EXEMPLE → Patient/bre.p2",
            "Person (subject.reference): Dominique EXEMPLE → Patient/bre.p2",
        ),
        ({}, {"odd": True}, "odd : ajouté, true", "odd: added, true"),
        (
            {"text": {"div": "<div>a</div>"}},
            {"text": {"div": "<div>b</div>"}},
            "Texte lisible (text.div) : … → …",
            "Narrative (text.div): … → …",
        ),
    ],
)
def test_a_change_is_a_sentence(old: dict[str, Any], new: dict[str, Any], fr: str, en: str) -> None:
    assert told(old, new, "fr") == [fr]
    assert told(old, new, "en") == [en]


def test_the_number_and_instant_of_a_version_are_no_news() -> None:
    assert told({}, {"meta": {"versionId": "2", "lastUpdated": "2026-02-01T00:00:00Z"}}) == []


def test_each_version_is_compared_with_the_one_before_it() -> None:
    first = care_team("bre.c1", version="1")
    second = care_team("bre.c1", version="2", status="inactive", last_updated="2026-02-01T00:00:00Z")
    bundle = {
        "type": "history",
        "entry": [
            {"request": {"method": "DELETE"}, "response": {"etag": 'W/"3"', "lastModified": "2026-03-01"}},
            {"request": {"method": "PUT"}, "resource": second},
            {"request": {"method": "POST"}, "resource": first},
            {"request": {"method": "GET"}, "response": {"outcome": {"resourceType": "OperationOutcome"}}},
        ],
    }
    listed = versions(bundle, {}, "en")
    assert [(one.number, one.deleted, one.changed) for one in listed] == [
        ("3", True, None),
        ("2", False, ("Status: active → inactive",)),
        ("1", False, None),
    ]


def test_where_a_circle_is_held_is_read_from_the_index() -> None:
    located = {
        "parameter": [
            {
                "name": "circle",
                "part": [
                    {"name": "gestionnaire", "valueCode": "bre"},
                    {"name": "region", "valueCode": "53"},
                    {"name": "reference", "valueReference": {"reference": "CareTeam/bre.c1"}},
                    {"name": "home", "valueBoolean": True},
                    {"name": "active", "valueBoolean": True},
                ],
            },
            {"name": "unknown", "part": [{"name": "gestionnaire", "valueCode": "occ"}]},
            {"name": "not-authorised", "part": [{"name": "gestionnaire", "valueCode": "idf"}]},
        ]
    }
    assert holdings(located) == Holdings(
        (Holding("bre", "Bretagne", home=True, active=True, id="bre.c1", version=""),), ("occ",), ("idf",)
    )
