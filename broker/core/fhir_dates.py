"""Dates as FHIR search sees them: ranges of time, and the nine ways to compare two of them.

FHIR R4, search.html, 3.1.1.4.4 and 3.1.1.5: a date stands for the whole range of instants that its
precision leaves open (`2024-03` is all of March), a Period for all from the start of its start to the end
of its end. Ranges are half open, in microseconds since 1970-01-01T00:00Z; a Period's missing bound is
infinite. Integers rather than `datetime` keep years 0001 and 9999 safe from overflow. A time without zone,
and a bare date, are taken as UTC.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)
_PREFIXED = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)", re.DOTALL)

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_DAY: Final = 24 * 60 * _MINUTE
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` up to but not including `high`, in microseconds since the epoch; infinite where open."""

    low: float
    high: float

    def contains(self, other: Range) -> bool:
        return self.low <= other.low and other.high <= self.high

    def overlaps(self, other: Range) -> bool:
        return self.low < other.high and other.low < self.high

    def widened(self, margin: float) -> Range:
        return Range(self.low - margin, self.high + margin)


def micros(instant: dt.datetime) -> int:
    """An aware datetime in microseconds since the epoch."""
    since = instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return since.days * _DAY + since.seconds * _SECOND + since.microseconds


def date_range(text: object) -> Range | None:
    """The range of a FHIR date, dateTime or instant; None for anything else, as for 30 February."""
    found = _DATE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        if hour is None:
            return _day_range(int(year), int(month) if month else None, int(day) if day else None)
        start = _days(int(year), int(month), int(day)) - _offset(zone)
        time = _time_range(int(hour), int(minute), second, fraction)
        return Range(start + time.low, start + time.high)
    except ValueError:
        return None


def element_range(element: object) -> Range | None:
    """The range of a date, dateTime, instant or Period element; None where it holds no readable date."""
    if not isinstance(element, dict):
        return date_range(element)
    start, end = element.get("start"), element.get("end")
    if start is None and end is None:
        return None
    low, high = date_range(start), date_range(end)
    if (start is not None and low is None) or (end is not None and high is None):
        return None
    return Range(low.low if low else -math.inf, high.high if high else math.inf)


def split_prefix(value: str) -> tuple[str, str]:
    """A search value as its prefix (`eq` where it has none) and its date."""
    found = _PREFIXED.fullmatch(value)
    assert found is not None  # noqa: S101 - the pattern takes any text
    return found[1] or "eq", found[2]


def comparison(prefix: str, searched: Range, now: dt.datetime | None) -> Callable[[Range], bool]:
    """The test that `prefix` makes of a resource's range against the `searched` one.

    `ap` takes a margin of a tenth of the gap between the searched date and `now`, as FHIR recommends;
    without `now` no margin at all, so that what is at least partly on that date matches.
    """
    if prefix == "ap":
        return _margin(searched, now).overlaps
    test = _COMPARISONS[prefix]
    return lambda target: test(searched, target)


def _above(searched: Range, target: Range) -> bool:
    return target.high > searched.high


def _below(searched: Range, target: Range) -> bool:
    return target.low < searched.low


_COMPARISONS: Mapping[str, Callable[[Range, Range], bool]] = {
    "eq": Range.contains,
    "ne": lambda searched, target: not searched.contains(target),
    "gt": _above,
    "lt": _below,
    "ge": lambda searched, target: _above(searched, target) or searched.contains(target),
    "le": lambda searched, target: _below(searched, target) or searched.contains(target),
    "sa": lambda searched, target: target.low >= searched.high,
    "eb": lambda searched, target: target.high <= searched.low,
}


def _margin(searched: Range, now: dt.datetime | None) -> Range:
    if now is None:
        return searched
    here = micros(now)
    return searched.widened(max(searched.low - here, here - searched.high, 0) / 10)


def _days(year: int, month: int, day: int) -> int:
    return (dt.date(year, month, day).toordinal() - _EPOCH) * _DAY


def _day_range(year: int, month: int | None, day: int | None) -> Range:
    low = _days(year, month or 1, day or 1)
    if day is not None:
        return Range(low, low + _DAY)
    last = 12 if month is None else month
    return Range(low, _days(year, last, calendar.monthrange(year, last)[1]) + _DAY)


def _time_range(hour: int, minute: int, second: str | None, fraction: str | None) -> Range:
    """A time of day as microseconds since midnight; digits beyond the sixth are cut."""
    if hour > 23 or minute > 59 or int(second or 0) > 60:
        raise ValueError
    low = hour * 60 * _MINUTE + minute * _MINUTE
    if second is None:
        return Range(low, low + _MINUTE)
    low += int(second) * _SECOND
    if fraction is None:
        return Range(low, low + _SECOND)
    low += int(fraction[:6].ljust(6, "0"))
    return Range(low, low + max(_SECOND // 10 ** len(fraction), 1))


def _offset(zone: str | None) -> int:
    """Microseconds that a zone is ahead of UTC."""
    if zone is None or zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:])
    if minutes > 59 or hours * 60 + minutes > 14 * 60:
        raise ValueError
    return (hours * 60 + minutes) * _MINUTE * (-1 if zone[0] == "-" else 1)
