"""Instants as managers write them (`meta.lastUpdated`): always by the manager's own clock, never set beside ours. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

THE_BEGINNING = "1970-01-01T00:00:00Z"
"""Before anything: the place in the feed of a manager that holds nothing yet."""


def epoch(text: str | None) -> float | None:
    """Seconds since the epoch; None for what is no instant. One without zone is taken as UTC."""
    instant = _parsed(text)
    return None if instant is None else instant.timestamp()


def earlier(text: str, seconds: float) -> str:
    """The instant so much before, to the millisecond; one that cannot be read, or not be put back, as it is."""
    instant = _parsed(text)
    try:
        moved = None if instant is None else instant.astimezone(dt.UTC) - dt.timedelta(seconds=seconds)
    except OverflowError:
        return text
    return text if moved is None else moved.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def newest(texts: Iterable[str | None]) -> str | None:
    """The last of them, as it was written; None where none can be read."""
    known = [(instant, text) for text in texts if text is not None and (instant := epoch(text)) is not None]
    return max(known)[1] if known else None


def _parsed(text: str | None) -> dt.datetime | None:
    try:
        instant = None if text is None else dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant is None or instant.tzinfo is not None:
        return instant
    return instant.replace(tzinfo=dt.UTC)
