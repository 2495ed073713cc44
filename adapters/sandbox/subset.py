"""`_elements` and `_summary`: parts of resources, tagged SUBSETTED (FHIR R4, search.html)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.sandbox import raw_json
from broker.core.query import SearchQuery, Summary
from broker.core.summary import MANDATORY, SUMMARY

_ALWAYS: Final = frozenset({"implicitRules"})

Trim = Callable[[str, bytes], bytes]
"""From a type and a resource's JSON to what is sent of it."""


def trim_of(query: SearchQuery, *, match: bool) -> Trim:
    """What a search leaves of a resource. `_elements` is about matches alone; `_summary` about all."""
    if query.elements and query.summary is Summary.FALSE:
        names = frozenset(query.elements)
        return _keeping(lambda kind: names | MANDATORY.get(kind, frozenset())) if match else _whole
    if query.summary is Summary.TRUE:
        return _keeping(lambda kind: SUMMARY.get(kind, frozenset()) | MANDATORY.get(kind, frozenset()))
    if query.summary is Summary.TEXT:
        return _keeping(lambda kind: MANDATORY.get(kind, frozenset()) | {"text"})
    if query.summary is Summary.DATA:
        return lambda _, raw: raw_json.subset(raw, lambda name: name != "text")
    return _whole


def _whole(_: str, raw: bytes) -> bytes:
    return raw


def _keeping(names: Callable[[str], frozenset[str]]) -> Trim:
    def trim(kind: str, raw: bytes) -> bytes:
        kept = names(kind) | _ALWAYS
        return raw_json.subset(raw, lambda name: name in kept or _is_choice(name, kept))

    return trim


def _is_choice(name: str, kept: frozenset[str]) -> bool:
    """Whether a member is a form of a choice element that was asked for, as `deceasedBoolean` of `deceased`."""
    return any(name.startswith(stem) and stem in kept for stem in ("deceased", "multipleBirth"))
