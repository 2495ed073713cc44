"""What becomes of what was known about persons with two homes, with each look at the index."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.core.conflict import MOST_CIRCLES, Circle, Conflict, reconciled
from broker.core.conflict_event import conflict_content, conflict_headers, conflict_key

A, B, C, D, E = (("bre", "1"), ("idf", "2"), ("naq", "3"), ("occ", "4"), ("pdl", "5"))
PUBLIC = "https://broker.example/fhir"


def look(
    known: dict[str, Conflict],
    *found: Iterable[Circle],
    now: float = 1000.0,
    partly: Iterable[str] = (),
) -> list[Conflict]:
    """One look; `known` is brought up to date."""
    changed = reconciled(known.values(), found, now, lambda slug: slug not in set(partly))
    known.update({one.id: one for one in changed})
    return changed


def test_a_conflict_comes_stays_and_goes() -> None:
    known: dict[str, Conflict] = {}
    (one,) = look(known, [B, A])
    assert (one.circles, one.count, one.since, one.sequence, one.resolved) == (
        (A, B),
        2,
        1000.0,
        1_000_000,
        None,
    )
    assert look(known, [A, B], now=1001) == []
    (over,) = look(known, now=1002)
    assert over == replace(one, resolved=1002, sequence=1_002_000)
    assert look(known, now=1003) == []


def test_it_is_one_conflict_whatever_circles_come_and_leave() -> None:
    known: dict[str, Conflict] = {}
    (one,) = look(known, [A, B])
    (more,) = look(known, [A, B, C], now=1000.0005)
    assert (more.id, more.circles, more.since, more.sequence) == (one.id, (A, B, C), 1000.0, 1_000_001)
    (less,) = look(known, [B, C], now=999)  # a clock that was put back
    assert (less.id, less.circles, less.sequence) == (one.id, (B, C), 1_000_002)


def test_two_identifiers_of_one_person_are_one_conflict() -> None:
    known: dict[str, Conflict] = {}
    (one,) = look(known, [A, B], [B, C], [A, B])
    assert one.circles == (A, B, C)
    assert len(look({}, [A, B], [C, D])) == 2


def test_what_comes_back_is_told_again_under_its_id() -> None:
    known: dict[str, Conflict] = {}
    (one,) = look(known, [A, B])
    look(known, now=1001)
    (again,) = look(known, [A, B], now=1001)
    assert (again.id, again.since, again.resolved) == (one.id, 1001, None)
    assert again.sequence == 1_001_001


def test_two_that_turn_out_to_be_one_go_on_as_the_older() -> None:
    known: dict[str, Conflict] = {}
    (older,) = look(known, [A, B])
    (younger,) = look(known, [A, B], [C, D], now=1001)
    one, over = look(known, [A, B, C, D], now=1002)
    assert (one.id, one.count, one.resolved) == (older.id, 4, None)
    assert (over.id, over.resolved) == (younger.id, 1002)


def test_one_that_turns_out_to_be_two() -> None:
    known: dict[str, Conflict] = {}
    (one,) = look(known, [A, B, C, D, E])
    rest, other = look(known, [A, B, C], [D, E], now=1001)
    assert (rest.id, rest.circles) == (one.id, (A, B, C))
    assert (other.circles, other.since) == ((D, E), 1001)


def test_an_id_that_is_taken_is_not_given_twice() -> None:
    known: dict[str, Conflict] = {}
    (one,) = look(known, [A, B])
    look(known, [A, C], now=1001)
    look(known, [C, D], now=1002)
    (other,) = look(known, [C, D], [A, B], now=1003)
    assert other.id != one.id
    assert sum(conflict.is_open for conflict in known.values()) == 2


def test_what_the_index_does_not_hold_now_is_not_over() -> None:
    known: dict[str, Conflict] = {}
    look(known, [A, B, C])
    assert look(known, [A, B], partly=["naq"]) == []
    assert look(known, partly=["idf"]) == []
    (less,) = look(known, [A, B])
    assert less.circles == (A, B)
    (over,) = look(known)
    assert over.resolved is not None


def test_a_circle_that_moved_to_another_person_is_not_kept() -> None:
    known: dict[str, Conflict] = {}
    look(known, [A, B, C])
    (rest, other) = look(known, [A, B], [C, D], partly=["naq"])
    assert (rest.circles, other.circles) == ((A, B), (C, D))


def test_an_identifier_that_everybody_has_is_kept_within_bounds() -> None:
    known: dict[str, Conflict] = {}
    many = [("bre", f"c{number:05}") for number in range(5000)]
    (one,) = look(known, many)
    assert (len(one.circles), one.count) == (MOST_CIRCLES, 5000)
    assert look(known, many) == []
    (more,) = look(known, [*many, B])
    assert (more.id, more.count) == (one.id, 5001)
    assert len(conflict_content(more, PUBLIC) or b"") < 50_000


circles = st.tuples(st.sampled_from(("bre", "occ", "idf")), st.sampled_from("1234"))
looks = st.lists(
    st.tuples(st.lists(st.sets(circles, min_size=2), max_size=4), st.sets(st.sampled_from(("bre", "occ")))),
    max_size=8,
)


@given(looks)
def test_after_every_look_what_is_open_is_what_was_found(
    told: list[tuple[list[set[Circle]], set[str]]],
) -> None:
    known: dict[str, Conflict] = {}
    numbers: dict[str, int] = {}
    for second, (found, partly) in enumerate(told):
        for one in look(known, *found, now=1000 + second, partly=partly):
            assert one.sequence > numbers.get(one.id, 0)
            numbers[one.id] = one.sequence
        open_ = [one for one in known.values() if one.is_open]
        for homes in found:
            assert sum(homes <= set(one.circles) for one in open_) == 1
        assert look(known, *found, now=1000 + second, partly=partly) == []
    look(known, now=2000)
    assert not [one for one in known.values() if one.is_open]


def test_the_event_says_which_circles_and_no_more() -> None:
    (one,) = look({}, [A, B], now=1767225600.007)
    headers = dict(conflict_headers(one, PUBLIC + "/"))
    assert {name: value.decode() for name, value in headers.items()} == {
        "ce_specversion": "1.0",
        "ce_id": f"conflict/{one.id}/1767225600007",
        "ce_source": PUBLIC,
        "ce_type": "fr.cds-broker.conflict.detected",
        "ce_subject": f"conflict/{one.id}",
        "ce_time": "2026-01-01T00:00:00.007Z",
        "ce_dataschema": "urn:cds-broker:conflict-event:1",
        "ce_sequence": "0001767225600007",
        "content-type": "application/fhir+json",
    }
    content = json.loads(conflict_content(one, PUBLIC) or b"")
    assert content["resourceType"] == "Parameters"
    assert [part["name"] for part in content["parameter"]] == [
        "conflict",
        "since",
        "count",
        "circle",
        "circle",
    ]
    assert content["parameter"][3]["part"] == [
        {"name": "reference", "valueReference": {"reference": f"{PUBLIC}/CareTeam/bre.1"}},
        {"name": "gestionnaire", "valueCode": "bre"},
    ]
    assert conflict_key(one) == one.id.encode()


def test_its_end_is_a_tombstone() -> None:
    (one,) = look({}, [A, B])
    over = replace(one, resolved=1001.0, sequence=1_001_000)
    assert conflict_content(over, PUBLIC) is None
    headers = dict(conflict_headers(over, PUBLIC))
    assert headers["ce_type"] == b"fr.cds-broker.conflict.resolved"
    assert headers["ce_time"] == b"1970-01-01T00:16:41.000Z"
    assert "content-type" not in headers


@pytest.mark.parametrize("long", [False, True])
def test_it_is_kept_as_it_is(long: bool) -> None:
    (one,) = look({}, [A, ("occ", "x" * 64 if long else "2")])
    assert msgspec.json.decode(msgspec.json.encode(one), type=Conflict) == one
    aliases: dict[str, str] = {}
    assert len(one.references(aliases)) == 2
    assert list(aliases.values()) == (["x" * 64] if long else [])
