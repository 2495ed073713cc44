"""Dates: nine comparisons of ranges (FHIR R4, search.html, 3.1.1.4.4 and 3.1.1.5)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from broker.core.fhir_dates import Range, date_range, element_range, micros
from broker.core.matching import matches, sort_value
from broker.core.query import Criterion
from broker.core.search_parameters import lookup


def date_criterion(name: str, *values: str, kind: str = "CareTeam", modifier: str | None = None) -> Criterion:
    parameter = lookup(kind, name)
    assert parameter is not None
    return Criterion(parameter, kind, (), modifier, values)


def born(date: str, value: str) -> bool:
    return matches({"birthDate": date}, date_criterion("birthdate", value, kind="Patient"))


def lasting(start: str | None, end: str | None, value: str) -> bool:
    period = {key: text for key, text in (("start", start), ("end", end)) if text}
    return matches({"period": period}, date_criterion("date", value))


def instant(text: str) -> int:
    return micros(dt.datetime.fromisoformat(text))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2024", "2024-01-01T00:00+00:00", "2025-01-01T00:00+00:00"),
        ("2024-02", "2024-02-01T00:00+00:00", "2024-03-01T00:00+00:00"),
        ("2023-12", "2023-12-01T00:00+00:00", "2024-01-01T00:00+00:00"),
        ("2024-02-29", "2024-02-29T00:00+00:00", "2024-03-01T00:00+00:00"),
        ("2024-05-06T07:08", "2024-05-06T07:08+00:00", "2024-05-06T07:09+00:00"),
        ("2024-05-06T07:08Z", "2024-05-06T07:08+00:00", "2024-05-06T07:09+00:00"),
        ("2024-05-06T07:08:09+02:00", "2024-05-06T05:08:09+00:00", "2024-05-06T05:08:10+00:00"),
        ("2024-05-06T07:08:09-09:30", "2024-05-06T16:38:09+00:00", "2024-05-06T16:38:10+00:00"),
        ("2024-05-06T07:08:09.5Z", "2024-05-06T07:08:09.5+00:00", "2024-05-06T07:08:09.6+00:00"),
        ("2023-09-27T13:48:19.342+01:00", "2023-09-27T12:48:19.342+00:00", "2023-09-27T12:48:19.343+00:00"),
        (
            "2024-01-01T00:00:00.123456789Z",
            "2024-01-01T00:00:00.123456+00:00",
            "2024-01-01T00:00:00.123457+00:00",
        ),
        ("2024-01-01T00:30+14:00", "2023-12-31T10:30+00:00", "2023-12-31T10:31+00:00"),
    ],
)
def test_a_date_is_the_range_that_its_precision_leaves_open(text: str, low: str, high: str) -> None:
    assert date_range(text) == Range(instant(low), instant(high))


@pytest.mark.parametrize(
    "text",
    [
        "", "24", "2024-13", "2024-00", "2023-02-29", "2024-04-31", "2024-05-06T", "2024-05-06T07", "2024-05-06T24:00",
        "2024-05-06T07:60", "2024-05-06T07:08:61", "2024-05-06T07:08+15:00", "2024-05-06T07:08+01:60", "0000",
        "2024-5-6", "2024-05-06 07:08", "２０２４", "yesterday", 2024, None, True, {"x": 1},
    ],
)  # fmt: skip
def test_what_is_no_date_has_no_range(text: object) -> None:
    assert date_range(text) is None


def test_the_edges_of_the_calendar_do_not_overflow() -> None:
    first, last = date_range("0001"), date_range("9999-12-31T23:59:59.999-14:00")
    assert first is not None
    assert last is not None
    assert first.low < 0 < last.high


@pytest.mark.parametrize(
    ("prefix", "before", "first_day", "inside", "last_day", "after"),
    [
        ("eq", False, True, True, True, False),
        ("ne", True, False, False, False, True),
        ("gt", False, False, False, False, True),
        ("lt", True, False, False, False, False),
        ("ge", False, True, True, True, True),
        ("le", True, True, True, True, False),
        ("sa", False, False, False, False, True),
        ("eb", True, False, False, False, False),
        ("ap", False, True, True, True, False),
        ("", False, True, True, True, False),
    ],
)
def test_a_day_against_a_month(
    prefix: str, before: bool, first_day: bool, inside: bool, last_day: bool, after: bool
) -> None:
    days = ("1984-09-30", "1984-10-01", "1984-10-15", "1984-10-31", "1984-11-01")
    assert [born(day, f"{prefix}1984-10") for day in days] == [before, first_day, inside, last_day, after]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("eq", False),  # the day does not contain the year
        ("ne", True),
        ("gt", True),  # part of the year is after that day
        ("lt", True),
        ("ge", True),
        ("le", True),
        ("sa", False),
        ("eb", False),
        ("ap", True),
    ],
)
def test_a_year_of_birth_against_a_day(prefix: str, expected: bool) -> None:
    assert born("1984", f"{prefix}1984-10-02") is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("eq2013", False),  # goes on after 2013
        ("ne2013", True),
        ("gt2032-12-01", True),
        ("gt2032", False),
        ("gt2033", False),
        ("ge2033", False),
        ("lt2013", False),
        ("lt2014", True),
        ("le2013", False),  # begins in 2013, not before; is not within it
        ("sa2012", True),
        ("sa2013", False),
        ("eb2033", True),
        ("eb2032-12-18", False),  # ends within that day
        ("eb2032-12-19", True),
        ("ap2020", True),
        ("ap2012", False),
        ("eq2000", False),
    ],
)
def test_a_period_is_one_range(value: str, expected: bool) -> None:
    assert lasting("2013-01-12", "2032-12-18T13:48:19.342+01:00", value) is expected


def test_the_end_of_a_period_includes_the_whole_of_its_precision() -> None:
    assert lasting("2020-01-01", "2020-01-31", "eq2020-01")
    assert not lasting("2020-01-01", "2020-02", "eq2020-01")
    assert lasting("2020-01-01", "2020-01-31", "gt2020-01-31T12:00Z")
    assert not lasting("2020-01-01", "2020-01-31", "gt2020-01-31")


@pytest.mark.parametrize(
    ("start", "end", "value", "expected"),
    [
        ("2020", None, "gt9999", True),
        ("2020", None, "eb9999", False),
        ("2020", None, "eq2020", False),
        ("2020", None, "sa2019", True),
        (None, "2020", "lt0001", True),
        (None, "2020", "sa0001", False),
        (None, "2020", "eb2021", True),
        (None, "2020", "ap1950", True),
    ],
)
def test_an_open_period_is_infinite(start: str | None, end: str | None, value: str, expected: bool) -> None:
    assert lasting(start, end, value) is expected


@pytest.mark.parametrize("prefix", ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
def test_no_value_matches_no_comparison(prefix: str) -> None:
    resources: tuple[dict[str, Any], ...] = (
        {},
        {"period": {}},
        {"period": {"start": "soon"}},
        {"period": None},
    )
    for resource in resources:
        assert not matches(resource, date_criterion("date", f"{prefix}2020"))


def test_one_of_several_values_is_enough() -> None:
    circle = {"participant": [{"period": {"start": "2013-01-12"}}, {}, {"period": {"start": "2020-06-01"}}]}
    assert matches(circle, date_criterion("participant-start", "2020-06"))
    assert matches(circle, date_criterion("participant-start", "ne2020-06"))
    assert matches(circle, date_criterion("participant-start", "2019", "2013"))
    assert not matches(circle, date_criterion("participant-start", "2019"))


def test_zones_are_compared_as_instants() -> None:
    circle = {"meta": {"lastUpdated": "2023-09-27T23:30:00.000Z"}}
    assert matches(circle, date_criterion("_lastUpdated", "2023-09-28T01:30:00+02:00"))
    assert matches(circle, date_criterion("_lastUpdated", "2023-09-27"))
    assert not matches(circle, date_criterion("_lastUpdated", "2023-09-28"))
    assert matches(circle, date_criterion("_lastUpdated", "ge2023-09-27T18:30:00-05:00"))
    assert not matches(circle, date_criterion("_lastUpdated", "gt2023-09-28T01:30:00+02:00"))


def test_about_widens_by_a_tenth_of_the_way_to_now() -> None:
    now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    near = date_criterion("birthdate", "ap1984", kind="Patient")
    assert matches({"birthDate": "1987-06-01"}, near, now=now)  # 39 years away: a margin of almost four
    assert matches({"birthDate": "1981-06-01"}, near, now=now)
    assert not matches({"birthDate": "1990"}, near, now=now)
    assert not matches({"birthDate": "1987-06-01"}, near)


def test_a_malformed_criterion_matches_nothing() -> None:
    assert not born("1984-10-02", "ne1984-13")
    assert not born("1984-10-02", "xx1984")


def test_missing_looks_at_values_only() -> None:
    absent, present = (date_criterion("end", v, modifier="missing") for v in ("true", "false"))
    for resource, missing in (
        ({"period": {"start": "2020"}}, True),
        ({"period": {"end": "2020"}}, False),
        ({}, True),
    ):
        assert matches(resource, absent) is missing
        assert matches(resource, present) is not missing


def test_sorting_takes_the_value_that_comes_first_in_the_order() -> None:
    circle = {"participant": [{"period": {"start": "2013-01-12"}}, {"period": {"start": "2020-06-01"}}]}
    parameter = lookup("CareTeam", "participant-start")
    assert parameter is not None
    ascending, descending = sort_value(circle, parameter, False), sort_value(circle, parameter, True)
    assert ascending == dt.datetime(2013, 1, 12, tzinfo=dt.UTC).timestamp()
    assert descending == dt.datetime(2020, 6, 1, tzinfo=dt.UTC).timestamp()
    assert sort_value({}, parameter, False) is None


def test_sort_values_of_instants_are_those_of_datetime() -> None:
    text = "2023-09-27T13:48:19.342+01:00"
    parameter = lookup("CareTeam", "_lastUpdated")
    assert parameter is not None
    found: Any = sort_value({"meta": {"lastUpdated": text}}, parameter, True)
    assert found == dt.datetime.fromisoformat(text).timestamp()


def test_a_period_without_start_sorts_before_all_others() -> None:
    parameter = lookup("CareTeam", "date")
    assert parameter is not None
    open_start: Any = sort_value({"period": {"end": "2020"}}, parameter, False)
    assert open_start <= sort_value({"period": {"start": "0001"}}, parameter, False)
    assert element_range({"start": "2020", "end": "soon"}) is None
