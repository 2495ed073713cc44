from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from broker.core.business_identifier import strongest_identifier, token_criterion
from broker.core.query_values import unescape
from broker.core.value_tests import split_token

OID = "urn:oid:1.2.250.1.213.1.4."
FR_TYPES = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"


def identifier(
    system: str, value: str = "1", code: str | None = None, use: str | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = {"system": system, "value": value}
    if code is not None:
        found["type"] = {"coding": [{"system": FR_TYPES, "code": code}]}
    return found if use is None else found | {"use": use}


ORDER = [
    identifier(OID + "8"),
    identifier(OID + "9"),
    identifier(OID + "10"),
    identifier(OID + "2"),
    identifier("https://rpps.esante.gouv.fr"),
    identifier("https://finess.esante.gouv.fr", code="FINEG"),
    identifier("https://sirene.fr", "12345678901234"),
    identifier("urn:oid:1.2.250.1.71.4.2.2", code="IDNST"),
    identifier("https://sirene.fr", "123456789", code="SIREN"),
    identifier("https://example.org/a", use="official"),
    identifier("https://example.org/b"),
]


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_the_strongest_wins_whatever_the_order(place: int) -> None:
    expected = ORDER[place]["system"], ORDER[place]["value"]
    assert strongest_identifier({"identifier": ORDER[place:]}) == expected
    assert strongest_identifier({"identifier": ORDER[place:][::-1]}) == expected


def test_the_type_tells_a_siret_from_a_siren() -> None:
    told = identifier("https://sirene.fr", "1", code="SIRET")
    assert strongest_identifier(
        {"identifier": [identifier("https://sirene.fr", "2", code="SIREN"), told]}
    ) == (
        "https://sirene.fr",
        "1",
    )


def test_of_equals_the_first_and_retired_ones_never() -> None:
    first, second = identifier("u:a", "1"), identifier("u:a", "2")
    assert strongest_identifier({"identifier": [first, second]}) == ("u:a", "1")
    retired = identifier(OID + "8", use="old")
    assert strongest_identifier({"identifier": [retired, second]}) == ("u:a", "2")
    assert strongest_identifier({"identifier": [retired]}) is None


@pytest.mark.parametrize(
    "resource",
    [
        {},
        {"identifier": None},
        {"identifier": []},
        {"identifier": [None, 3, "x", {}]},
        {"identifier": [{"system": "u:a"}, {"value": "1"}, {"system": "", "value": "1"}]},
        {"identifier": [{"system": "u:a", "value": 1}]},
    ],
)
def test_none_that_could_be_searched_by(resource: dict[str, Any]) -> None:
    assert strongest_identifier(resource) is None


def test_a_care_team_in_the_form_of_one_object_is_read_too() -> None:
    assert strongest_identifier({"identifier": {"system": "u:a", "value": "1"}}) == ("u:a", "1")


@pytest.mark.parametrize(
    ("system", "value", "expected"),
    [
        (
            "https://rpps.esante.gouv.fr",
            "10003456781",
            "identifier=https://rpps.esante.gouv.fr%7C10003456781",
        ),
        ("u:a", "1,2|3$4\\", "identifier=u:a%7C1%5C%2C2%5C%7C3%5C%244%5C%5C"),
        ("u:a", "é &+#", "identifier=u:a%7C%C3%A9%20%26%2B%23"),
    ],
)
def test_a_criterion_says_exactly_this_identifier(system: str, value: str, expected: str) -> None:
    criterion = token_criterion(system, value)
    assert criterion == expected
    (token,) = parse_qs(criterion)["identifier"]
    assert split_token(token) == (system, value)
    assert unescape(token).endswith(value)
