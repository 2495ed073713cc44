"""Periods on a common line, in thousandths of its width, for drawings that need no style attribute. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 1000
_LEAST: Final = 6  # a single day is seen too


@dataclass(frozen=True, slots=True)
class Span:
    """A period as it stands in a resource: FHIR dates, empty where there is none."""

    start: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """`open`: without an end."""

    x: int
    width: int
    open: bool


@dataclass(frozen=True, slots=True)
class Line:
    """From `first` to `last`, both days on it; `today` is where it stands, if on it."""

    first: dt.date
    last: dt.date
    today: int | None

    def bar(self, span: Span) -> Bar | None:
        """None where there is no date in it."""
        start, end = day(span.start), day(span.end, last=True)
        if start is None and end is None:
            return None
        x = self.place(start or self.first)
        reach = (
            self.place((end or self.last) + dt.timedelta(1)) if (end or self.last) < dt.date.max else WIDTH
        )
        width = min(max(reach - x, _LEAST), WIDTH)
        return Bar(min(x, WIDTH - width), width, end is None)

    def place(self, at: dt.date) -> int:
        days = (self.last - self.first).days + 1
        return min(max(round(WIDTH * (at - self.first).days / days), 0), WIDTH)


def line(spans: Iterable[Span], today: dt.date) -> Line:
    """That holds every date of the spans, and today where one of them is open."""
    listed = list(spans)
    days = [
        found for one in listed for found in (day(one.start), day(one.end, last=True)) if found is not None
    ]
    if not days or any(not one.end for one in listed):
        days.append(today)
    made = Line(min(days), max(days), None)
    seen = made.first <= today <= made.last
    return Line(made.first, made.last, made.place(today) if seen else None)


def day(text: str, *, last: bool = False) -> dt.date | None:
    """The first (or `last`) day of a FHIR date, `2025`, `2025-03`, `2025-03-01` or an instant; None where it is none."""
    parts = text[:10].split("-")
    try:
        numbers = [int(one) for one in parts]
        if len(numbers) == 1:
            return dt.date(numbers[0], 12, 31) if last else dt.date(numbers[0], 1, 1)
        if len(numbers) == 2:
            year, month = numbers
            first = dt.date(year, month, 1)
            return _month_end(first) if last else first
        return dt.date(*numbers[:3])
    except (ValueError, OverflowError):
        return None


def _month_end(first: dt.date) -> dt.date:
    return (
        dt.date(first.year, first.month, 31)
        if first.month == 12
        else first.replace(month=first.month + 1) - dt.timedelta(1)
    )
