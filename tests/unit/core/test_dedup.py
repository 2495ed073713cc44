from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM, CopyRule, conflicts, home_of

PUBLIC = "https://broker.example/fhir"
BASES = {"https://bre.example/fhir": "bre", "https://occ.example/fhir": "occ"}


@dataclass(frozen=True)
class Entry:
    public_id: str
    identifiers: tuple[tuple[str | None, str], ...] = ()
    tags: tuple[tuple[str | None, str], ...] = ()
    source: str | None = None


def replica(public_id: str, source: str | None, identity: str = "x") -> Entry:
    return Entry(public_id, (("s", identity),), ((REPLICA_SYSTEM, REPLICA_CODE),), source)


def chosen(*entries: Entry, answering: set[str], shown: dict[str, str] | None = None) -> list[str]:
    copies = CopyRule(PUBLIC, BASES, shown or {}).among(frozenset(answering))
    return [entry.public_id for entry, keep in zip(entries, copies.choose(entries), strict=True) if keep]


HOME = Entry("bre.1", (("s", "x"),))
REPLICA = replica("occ.9", "https://bre.example/fhir/CareTeam/1")


def test_a_replica_yields_to_a_home_that_answered_wherever_it_stands() -> None:
    assert chosen(REPLICA, HOME, answering={"bre", "occ"}) == ["bre.1"]
    assert chosen(REPLICA, answering={"bre", "occ"}) == [], "the home says that it does not match"


def test_a_replica_stands_in_for_a_home_that_did_not_answer_once() -> None:
    second = replica("idf.9", f"{PUBLIC}/CareTeam/bre.1")
    assert chosen(REPLICA, second, answering={"occ", "idf"}) == ["occ.9"]


def test_a_replica_of_an_unknown_home_is_a_copy_by_its_identifier() -> None:
    stray = replica("occ.9", "https://gone.example/fhir/CareTeam/1")
    assert chosen(stray, answering={"bre", "occ"}) == ["occ.9"]
    assert chosen(HOME, stray, answering={"bre", "occ"}) == ["bre.1"]


def test_copies_of_two_managers_show_once_but_those_of_one_manager_both() -> None:
    assert chosen(HOME, Entry("occ.2", (("s", "x"),)), answering={"bre", "occ"}) == ["bre.1"]
    assert chosen(HOME, Entry("bre.2", (("s", "x"),)), answering={"bre"}) == ["bre.1", "bre.2"]
    assert chosen(HOME, Entry("occ.2", ((None, "x"),)), answering={"bre", "occ"}) == ["bre.1", "occ.2"]


@pytest.mark.parametrize(
    ("source", "home"),
    [
        (None, None),
        ("https://bre.example/fhir", "bre"),
        ("https://bre.example/fhir/CareTeam/1", "bre"),
        ("https://bre.example/fhirx/CareTeam/1", None),
        (f"{PUBLIC}/CareTeam/occ.7", "occ"),
        ("#frag", None),
    ],
)
def test_home_of(source: str | None, home: str | None) -> None:
    assert home_of(source, PUBLIC, BASES) == home


def test_conflicts_link_through_a_third() -> None:
    persons = [("a", ["1"]), ("b", ["2"]), ("c", ["1", "2"]), ("d", ["4"]), ("e", [])]
    assert conflicts(persons) == [("a", "b", "c")]
    assert conflicts([("a", ["1"])]) == []
