"""Periods on a common line."""

from __future__ import annotations

import datetime as dt

import pytest

from broker.console.timeline import Bar, Span, day, line

TODAY = dt.date(2025, 12, 31)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2025", "2025-01-01", "2025-12-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2024-12", "2024-12-01", "2024-12-31"),
        ("2025-03-04", "2025-03-04", "2025-03-04"),
        ("2025-03-04T10:00:00+01:00", "2025-03-04", "2025-03-04"),
    ],
)
def test_a_fhir_date_has_a_first_and_a_last_day(text: str, first: str, last: str) -> None:
    assert (str(day(text)), str(day(text, last=True))) == (first, last)


@pytest.mark.parametrize("text", ["", "x", "2025-13", "2025-02-30", "99999", "0000"])
def test_what_is_no_date_is_none(text: str) -> None:
    assert day(text) is None


def test_a_line_reaches_to_today_where_something_goes_on() -> None:
    made = line([Span("2025-01-01", "2025-01-31"), Span("2025-06-01")], TODAY)
    assert (made.first, made.last) == (dt.date(2025, 1, 1), TODAY)
    closed = line([Span("2020-01-01", "2020-12-31")], TODAY)
    assert (closed.last, closed.today) == (dt.date(2020, 12, 31), None)


def test_bars_lie_on_the_line_and_a_day_is_seen() -> None:
    made = line([Span("2000-01-01")], TODAY)
    assert made.bar(Span("2000-01-01")) == Bar(0, 1000, open=True)
    assert made.bar(Span("2025-12-31", "2025-12-31")) == Bar(994, 6, open=False)
    assert made.bar(Span()) is None


def test_nothing_dated_is_a_line_of_today() -> None:
    made = line([], TODAY)
    assert (made.first, made.last) == (TODAY, TODAY)


def test_what_ends_before_it_begins_is_drawn_all_the_same() -> None:
    made = line([Span("2025-06-01", "2025-01-01")], TODAY)
    bar = made.bar(Span("2025-06-01", "2025-01-01"))
    assert bar is not None
    assert 0 <= bar.x <= bar.x + bar.width <= 1000


def test_the_end_of_days_is_a_date_too() -> None:
    made = line([Span("2025-01-01", "9999-12-31")], TODAY)
    assert made.bar(Span("2025-01-01", "9999-12-31")) == Bar(0, 1000, open=False)
