"""The search form: what is typed becomes the guide's parameters, or is said to be wrong, in both languages."""

from __future__ import annotations

import pytest

from broker.console.search_form import FIELDS, GROUPS, INCLUDES, OPERATORS, Fault, Kind, read
from broker.console.texts import TEXTS
from broker.core.query_parser import parse_search
from tests.support.fhir_builders import INS, INS_TEST

TYPED = {
    "ins": INS[0],
    "secondary-id": "urn:x|12",
    "family": "EXEMPLE",
    "given": "Dominique",
    "birthdate": "1951-09-09",
    "birthplace": "Brest",
    "address": "29200",
    "circle": "urn:c|c1",
    "status": "active",
    "start": "2025-01-01",
    "end": "2026-01-01",
    "updated": "2026-01-01",
    "member": "RelatedPerson/bre.1",
    "entry": "2025-01-01",
    "exit": "2025-12-31",
    "rpps": "10900000000",
    "professional-name": "MARTIN",
    "professional-role": "10",
    "structure": "350000000",
    "structure-name": "Maison",
    "contact-name": "PROCHE",
    "contact-role": "QUAL",
}


def pairs(**typed: str) -> list[tuple[str, str]]:
    """Of fields with `_` for `-`, without includes and paging."""
    asked = read({name.replace("_", "-"): value for name, value in typed.items()})
    assert asked.faults == ()
    return [one for one in asked.pairs if one not in INCLUDES and one[0] != "_count"]


def test_there_is_an_example_of_every_field() -> None:
    assert TYPED.keys() == {field.name for field in FIELDS}


@pytest.mark.parametrize("name", TYPED)
def test_every_criterion_is_one_that_the_federation_takes_strictly(name: str) -> None:
    asked = read({name: TYPED[name]})
    assert asked.faults == ()
    query = parse_search("CareTeam", asked.pairs, strict=True)
    assert len(query.criteria) == 1
    assert len(query.includes) == len(INCLUDES)


def test_all_of_them_together_are_one_search() -> None:
    query = parse_search("CareTeam", read(TYPED).pairs, strict=True)
    assert len(query.criteria) == len(FIELDS)


def test_an_ins_is_asked_for_in_the_system_that_was_chosen() -> None:
    assert pairs(ins=INS[1], ins_kind="test") == [("patient.identifier", f"{INS_TEST}|{INS[1]}")]
    assert pairs(ins="2 53 07 2A 073 004 43") == [
        ("patient.identifier", f"urn:oid:1.2.250.1.213.1.4.8|{INS[1]}")
    ]


def test_a_wrong_key_is_told_and_searched_for() -> None:
    asked = read({"ins": "123456789012244"})
    assert asked.faults == ()
    assert asked.warnings == (Fault("ins", "search.warning.ins-key"),)
    assert read({"ins": INS[0]}).warnings == ()


def test_a_date_is_compared_as_was_chosen() -> None:
    assert pairs(start="2025-01-01") == [("start", "2025-01-01")]
    assert pairs(start="2025-01-01", start_op="le") == [("start", "le2025-01-01")]


def test_a_comma_in_a_name_separates_nothing() -> None:
    query = parse_search("CareTeam", read({"family": "A, B"}).pairs, strict=True)
    assert query.criteria[0].values == ("A\\, B",)


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("ins", "1234"),
        ("ins", "29510991261119X"),
        ("birthdate", "9/9/1951"),
        ("birthdate", "1951-13-01"),
        ("start", "2025-01-01T10:00:00Z"),
        ("status", "gone"),
        ("member", "Patient/bre.1"),
        ("member", "bre.1"),
        ("rpps", "123"),
        ("structure", "35"),
        ("contact-role", "NOBODY"),
        ("family", "x" * 201),
        ("family", "a\x00b"),
        ("circle", "a|b|c"),
    ],
)
def test_what_is_wrong_is_said_of_its_field_and_nothing_is_asked(name: str, typed: str) -> None:
    asked = read({name: typed, "given": "Dominique"})
    assert [one.field for one in asked.faults] == [name]
    assert asked.faults[0].key in TEXTS
    assert asked.pairs == ()
    assert asked.values[name] == typed


def test_a_comparison_that_is_none_is_refused() -> None:
    assert read({"start": "2025-01-01", "start-op": "xx"}).faults


def test_nobody_is_looked_for_with_nothing() -> None:
    assert read({"size": "50", "unknown": "x", "family": "  "}).faults == (Fault("", "search.error.empty"),)


def test_a_page_is_as_long_as_was_chosen_among_what_is_offered() -> None:
    assert ("_count", "50") in read({"given": "a", "size": "50"}).pairs
    assert ("_count", "10") in read({"given": "a", "size": "9999"}).pairs


def test_every_text_of_the_form_exists() -> None:
    keys = {f"search.group.{group.name}" for group in GROUPS} | {f"search.op.{one}" for one in OPERATORS}
    for field in FIELDS:
        keys |= {f"search.field.{field.name}", f"search.error.{field.error}"}
        keys |= {f"search.hint.{field.name}"} if field.hint else set()
        keys |= {f"search.choice.{field.name}.{one}" for one in field.choices}
        if field.beside is not None and field.kind is not Kind.DATE:
            other, choices = field.beside
            keys |= {f"search.field.{other}", *(f"search.choice.{other}.{one}" for one in choices)}
    assert keys <= TEXTS.keys()
