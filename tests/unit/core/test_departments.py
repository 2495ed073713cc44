"""Which department an address is in."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.departments import INSEE_EXTENSION, departments_of
from tests.support.gestionnaires import gestionnaire


def insee(code: str, **more: Any) -> dict[str, Any]:
    return {"extension": [{"url": INSEE_EXTENSION, "valueCoding": {"code": code}}], **more}


def of(*addresses: Any) -> tuple[str, ...]:
    return departments_of({"resourceType": "Patient", "address": list(addresses)})


@pytest.mark.parametrize(
    ("postal", "department"),
    [
        ("35000", "35"),
        ("01000", "01"),
        ("95880", "95"),
        ("75 016", "75"),
        ("35042 CEDEX", "35"),
        ("33074 Bordeaux", None),
        ("20000", "2A"),
        ("20190", "2A"),
        ("20200", "2B"),
        ("20600", "2B"),
        ("97110", "971"),
        ("97490", "974"),
        ("97600", "976"),
        ("97500", "975"),
        ("97133", "977"),
        ("97150", "978"),
        ("98800", "988"),
        ("98000", None),  # Monaco
        ("00100", None),  # the army's
        ("99000", None),
        ("1000", None),  # a zero that got lost, or another country
        ("", None),
        ("3500A", None),
    ],
)
def test_a_postal_code(postal: str, department: str | None) -> None:
    assert of({"postalCode": postal}) == (() if department is None else (department,))


@pytest.mark.parametrize(
    ("code", "department"),
    [("35238", "35"), ("2A004", "2A"), ("2b033", "2B"), ("97411", "974"), ("97611", "976"), ("97701", "977")],
)
def test_a_commune(code: str, department: str) -> None:
    assert of(insee(code)) == (department,)


def test_the_commune_counts_and_not_the_post_office() -> None:
    assert of(insee("48150", postalCode="30750")) == ("48",)


def test_a_commune_that_is_none_leaves_the_postal_code() -> None:
    assert of(insee("XXXXX", postalCode="30750")) == ("30",)


@pytest.mark.parametrize("country", ["FR", "fr", "FRA", "France", "99100", " ", "RE"])
def test_in_france(country: str) -> None:
    assert of({"postalCode": "97490", "country": country}) == ("974",)


@pytest.mark.parametrize("country", ["DE", "99109", "Belgique", "ES"])
def test_abroad_a_postal_code_means_nothing(country: str) -> None:
    assert of({"postalCode": "35000", "country": country}) == ()


def test_where_somebody_lives_comes_first_and_where_they_lived_not_at_all() -> None:
    addresses = [
        {"use": "temp", "postalCode": "06000"},
        {"use": "old", "postalCode": "13000"},
        {"postalCode": "29000"},
        {"use": "home", "postalCode": "35000"},
        {"use": "work", "postalCode": "35200"},
    ]
    assert of(*addresses) == ("35", "29", "06")


def test_the_place_of_birth_is_no_address() -> None:
    born = {
        "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
        "valueAddress": insee("29064"),
    }
    assert departments_of({"resourceType": "Patient", "extension": [born]}) == ()


@pytest.mark.parametrize(
    "address",
    [None, 3, "35000", [None], [3], [{"postalCode": 35000}], [{"postalCode": ["35000"]}], [{"use": []}],
     [{"extension": 4}], [{"extension": [{"url": INSEE_EXTENSION}]}],
     [{"extension": [{"url": INSEE_EXTENSION, "valueCoding": {"code": 4}}]}]],
)  # fmt: skip
def test_other_shapes_say_nothing(address: Any) -> None:
    assert departments_of({"address": address}) == ()


def test_one_address_without_a_list() -> None:
    assert departments_of({"address": {"postalCode": "35000"}}) == ("35",)


def test_what_is_found_is_what_a_territory_can_hold() -> None:
    found = [of({"postalCode": f"{number:05d}"}) for number in range(0, 100_000, 10)]
    codes = {code for one in found for code in one}
    assert len(codes) > 100
    assert set(gestionnaire(territory=sorted(codes)).territory) == codes  # else it would be refused
