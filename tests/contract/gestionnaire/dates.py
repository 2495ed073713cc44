"""How FHIR compares dates: by intervals, with the doubt that time zones leave (FHIR R4, search.html#date)."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Callable
from typing import Any

_PAST = dt.datetime(1, 1, 3, tzinfo=dt.UTC)
_FUTURE = dt.datetime(9999, 12, 29, tzinfo=dt.UTC)
_ZONES = (dt.timedelta(hours=-14), dt.timedelta(0), dt.timedelta(hours=14))

Interval = tuple[dt.datetime, dt.datetime]


def interval(text: str) -> Interval:
    """From (included) and to (excluded): what a date, dateTime or instant stands for; UTC where no zone."""
    if len(text) <= 10:
        year, month, day = ([int(part) for part in text.split("-")] + [0, 0])[:3]
        low = dt.datetime(year, month or 1, day or 1, tzinfo=dt.UTC)
        if day:
            return low, low + dt.timedelta(days=1)
        days = calendar.monthrange(year, month)[1] if month else 366 if calendar.isleap(year) else 365
        return low, low + dt.timedelta(days=days)
    low = dt.datetime.fromisoformat(text)
    step = dt.timedelta(milliseconds=1) if "." in text else dt.timedelta(seconds=1)
    return low, low + step


def span(value: str | dict[str, Any]) -> Interval:
    """The interval of a date, or of a Period, open where it has no start or end."""
    if isinstance(value, str):
        return interval(value)
    low = interval(value["start"])[0] if "start" in value else _PAST
    high = interval(value["end"])[1] if "end" in value else _FUTURE
    return low, high


def holds(prefix: str, searched: str, value: str | dict[str, Any]) -> bool | None:
    """Whether a value meets `prefix` + `searched`; None where the server's time zone or leeway decides."""
    if prefix == "ap":  # how near is near enough is the server's affair; overlapping is near in any case
        return True if _zoned("overlap", searched, value) else None
    return _zoned(prefix, searched, value)


def _zoned(prefix: str, searched: str, value: str | dict[str, Any]) -> bool | None:
    texts = [value] if isinstance(value, str) else [value[end] for end in ("start", "end") if end in value]
    mixed = any((len(text) > 10) != (len(searched) > 10) for text in texts)
    low, high = span(value)
    verdicts = {
        _COMPARE[prefix](
            interval(searched),
            (low if low == _PAST else low + shift, high if high == _FUTURE else high + shift),
        )
        for shift in (_ZONES if mixed else _ZONES[1:2])
    }
    return verdicts.pop() if len(verdicts) == 1 else None


def _eq(searched: Interval, value: Interval) -> bool:
    return searched[0] <= value[0] and value[1] <= searched[1]


_COMPARE: dict[str, Callable[[Interval, Interval], bool]] = {
    "eq": _eq,
    "ne": lambda searched, value: not _eq(searched, value),
    "gt": lambda searched, value: value[1] > searched[1],
    "lt": lambda searched, value: value[0] < searched[0],
    "ge": lambda searched, value: value[1] > searched[1] or _eq(searched, value),
    "le": lambda searched, value: value[0] < searched[0] or _eq(searched, value),
    "sa": lambda searched, value: value[0] >= searched[1],
    "eb": lambda searched, value: value[1] <= searched[0],
    "overlap": lambda searched, value: value[0] < searched[1] and searched[0] < value[1],
}
