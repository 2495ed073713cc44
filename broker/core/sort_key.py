"""The one order of results across managers (federation, section 3).

A key is a flat tuple that Python compares and JSON carries (a page cursor holds one): for each sort parameter
`(0, value)` or `(1, 0)` where the resource has none (it comes last whatever the direction), then the public id, so that
two different resources never tie. Keys compare only with keys of the same search.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from broker.core.matching import sort_value
from broker.core.query import SortKey
from broker.core.search_parameters import COMMON

SortPrefix = tuple[Any, ...]
"""The sort values alone: what a manager is asked to order by."""

Key = tuple[Any, ...]
"""`SortPrefix` and the public id: the place of one match in the whole result."""

NEWEST_FIRST = (SortKey(COMMON["_lastUpdated"], descending=True),)
"""The default order."""

_MISSING = (1, 0)


def is_newest_first(sort: Sequence[SortKey]) -> bool:
    return len(sort) == 1 and sort[0].descending and sort[0].parameter.name == "_lastUpdated"


def instant_prefix(last_updated: str | None) -> SortPrefix:
    """Prefix of the default order, from `meta.lastUpdated` alone, without parsing the resource."""
    if last_updated is None:
        return _MISSING
    try:
        instant = dt.datetime.fromisoformat(last_updated)
    except ValueError:
        return _MISSING
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=dt.UTC)
    return (0, -instant.timestamp())


def sort_prefix(resource: dict[str, Any], sort: Sequence[SortKey]) -> SortPrefix:
    """Prefix of a parsed resource for any list of sort parameters."""
    prefix: list[Any] = []
    for key in sort:
        value = sort_value(resource, key.parameter, key.descending)
        prefix += _MISSING if value is None else (0, _directed(value, key.descending))
    return tuple(prefix)


def _directed(value: float | str, descending: bool) -> object:
    if not descending:
        return value
    if isinstance(value, str):
        # Code points negated, closed by a positive mark, order strings backwards and longer before shorter.
        return (*(-ord(character) for character in value), 1)
    return -value


def freeze(value: object) -> Any:
    """A key that came back from a cursor: its lists as tuples again."""
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value
