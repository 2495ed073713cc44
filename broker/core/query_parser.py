"""Reading a search: names and values become a checked `SearchQuery` (FHIR R4 search; cds.md, section 2).

Two ways to be wrong are kept apart. What is not *known* (a parameter, a sort key, an include) is left out and
named in `ignored`, or refused under `Prefer: handling=strict`. What is known but *malformed* (a value, a
modifier, the rest of a chain) is refused in both modes: leaving such a filter out would widen the answer.

Errors name the parameter, cleaned and shortened, and never repeat a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final, TypeVar

from broker.core.query import Criterion, Include, Link, SearchQuery, SortKey, Summary, TotalMode
from broker.core.query_values import (
    grammar,
    is_element,
    is_text,
    normalise,
    plain_pipes,
    split_or,
    unescape,
)
from broker.core.search_parameters import MODIFIERS, TYPES, ParamType, SearchParameter, lookup
from broker.errors import RequestError

__all__ = ["canonical_type", "parse_search", "split_or", "unescape"]

MAX_LINKS: Final = 4

_TYPE_BY_LOWER = {name.lower(): name for name in TYPES}
_BLANKS = " +\t\r\n\u00a0"  # `_include:iterate =X` in the guide; form decoding may leave the `+`
_NOT_NAME = re.compile(r"[^A-Za-z0-9\-_.:]")
_LONG_NUMBER = re.compile(r"[0-9]{6,}")
_COUNT = re.compile(r"[0-9]{1,18}")
_ELSEWHERE = frozenset({"_format", "_pretty"})  # content negotiation, not criteria

_Choice = TypeVar("_Choice", bound=StrEnum)


def canonical_type(segment: str) -> str | None:
    """The resource type meant by a path segment whatever its case (the guide writes `Careteam`), or None."""
    return _TYPE_BY_LOWER.get(segment.lower())


def parse_search(
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    strict: bool,
    max_count: int = 200,
    max_parameters: int = 100,
) -> SearchQuery:
    """The search that `pairs` (decoded names and values, in order) ask of `resource_type` (a canonical name).

    A `_count` above `max_count` is lowered to it, as FHIR allows. Parameters without a value are ignored; so
    are `_format` and `_pretty`, which belong to content negotiation. Of a repeated `_count`, `_sort`,
    `_summary` or `_total` the last one counts; repeated `_elements` add up.

    Raises `RequestError`: request.too-many-parameters, .bad-value, .unknown-modifier, .bad-chain; and when
    `strict` .unknown-parameter and .repeated-parameter.
    """
    if len(pairs) > max_parameters:
        raise RequestError("request.too-many-parameters", limit=max_parameters)
    reading = _Reading(resource_type, strict=strict, max_count=max_count)
    for name, value in pairs:
        reading.read(name.strip(_BLANKS), plain_pipes(value))
    return reading.query()


def shown(name: str) -> str:
    """A parameter's name fit to be repeated: no free text, no number long enough to identify anybody."""
    return _LONG_NUMBER.sub("", _NOT_NAME.sub("", name))[:64] or "…"


class _Reading:
    """One search while it is being read, parameter by parameter."""

    def __init__(self, resource_type: str, *, strict: bool, max_count: int) -> None:
        self._type = resource_type
        self._strict = strict
        self._max_count = max_count
        self._criteria: list[Criterion] = []
        self._includes: dict[Include, None] = {}
        self._sort: tuple[SortKey, ...] = ()
        self._count: int | None = None
        self._elements: dict[str, None] = {}
        self._summary = Summary.FALSE
        self._total: TotalMode | None = None
        self._seen: set[str] = set()
        self._ignored: dict[str, None] = {}
        self._control: dict[str, Callable[[str, str], None]] = {
            "_include": self._read_include,
            "_revinclude": self._read_include,
            "_sort": self._read_sort,
            "_count": self._read_count,
            "_elements": self._read_elements,
            "_summary": self._read_summary,
            "_total": self._read_total,
        }

    def query(self) -> SearchQuery:
        return SearchQuery(
            type=self._type,
            criteria=tuple(self._criteria),
            includes=tuple(self._includes),
            sort=self._sort,
            count=self._count,
            elements=tuple(self._elements),
            summary=self._summary,
            total=self._total,
            ignored=tuple(self._ignored),
        )

    def read(self, name: str, value: str) -> None:
        base, _, modifier = name.partition(":")
        if base in _ELSEWHERE or not (name or value):
            return
        if not is_text(value):
            raise _bad_value(name, "UTF-8")
        control = self._control.get(base)
        if control is None:
            self._read_criterion(name, value)
        elif modifier and not base.endswith("include"):
            raise RequestError("request.unknown-modifier", parameter=shown(base))
        elif not value.strip():
            self._without_value(base)
        else:
            control(name, value.strip())

    def _read_criterion(self, name: str, value: str) -> None:
        parsed = _parse_name(self._type, name)
        if parsed is None:
            self._unknown(name)
            return
        chain, owner, parameter, modifier = parsed
        parts = split_or(value)
        values = tuple(kept for part in parts if (kept := normalise(parameter.type, part)))
        if len(values) < len(parts):
            self._without_value(name, ignored=not values)
        accepts, expected = grammar(parameter.name, parameter.type, modifier)
        if not all(map(accepts, values)):
            raise _bad_value(name, expected)
        if values:
            self._criteria.append(Criterion(parameter, owner, chain, modifier, values))

    def _read_include(self, name: str, value: str) -> None:
        base, _, modifier = name.partition(":")
        if modifier not in {"", "iterate", "recurse"}:
            raise RequestError("request.unknown-modifier", parameter=shown(base))
        iterate, reverse = modifier != "", base == "_revinclude"
        parts = value.split(":")
        if value in {"*", "*:*"}:
            self._includes[Include("*", "*", None, iterate, reverse)] = None
            return
        if not 2 <= len(parts) <= 3 or not all(map(_include_part, parts)):
            raise _bad_value(name, "Type:parameter[:Type] | *")
        include = _known_include(parts, iterate=iterate, reverse=reverse)
        if include is None:
            self._unknown(base)
        else:
            self._includes[include] = None

    def _read_sort(self, name: str, value: str) -> None:
        self._once(name)
        keys: list[SortKey] = []
        for part in value.split(","):
            key = part.strip()
            if not key.removeprefix("-"):
                raise _bad_value(name, "[-]name,…")
            parameter = lookup(self._type, key.removeprefix("-"))
            if parameter is None:
                self._unknown(name)
            elif all(known.parameter is not parameter for known in keys):
                keys.append(SortKey(parameter, key.startswith("-")))
        self._sort = tuple(keys)

    def _read_count(self, name: str, value: str) -> None:
        self._once(name)
        if _COUNT.fullmatch(value) is None:
            raise _bad_value(name, f"0…{self._max_count}")
        self._count = min(int(value), self._max_count)

    def _read_elements(self, name: str, value: str) -> None:
        names = [part.strip() for part in value.split(",")]
        if not all(map(is_element, names)):
            raise _bad_value(name, "name,…")
        self._elements |= dict.fromkeys(names)

    def _read_summary(self, name: str, value: str) -> None:
        self._once(name)
        self._summary = _choice(Summary, name, value)

    def _read_total(self, name: str, value: str) -> None:
        self._once(name)
        self._total = _choice(TotalMode, name, value)

    def _once(self, name: str) -> None:
        if name in self._seen and self._strict:
            raise RequestError("request.repeated-parameter", parameter=shown(name))
        self._seen.add(name)

    def _without_value(self, name: str, *, ignored: bool = True) -> None:
        if self._strict:
            raise _bad_value(name, "≠ ∅")
        if ignored:
            self._ignored[shown(name)] = None

    def _unknown(self, name: str) -> None:
        if self._strict:
            raise RequestError("request.unknown-parameter", parameter=shown(name))
        self._ignored[shown(name)] = None


def _bad_value(name: str, expected: str) -> RequestError:
    return RequestError("request.bad-value", parameter=shown(name), expected=expected)


def _bad_chain(name: str) -> RequestError:
    return RequestError("request.bad-chain", parameter=shown(name))


def _choice(kind: type[_Choice], name: str, value: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise _bad_value(name, " | ".join(kind)) from None


_Parsed = tuple[tuple[Link, ...], str, SearchParameter, str | None]


def _parse_name(resource_type: str, name: str) -> _Parsed | None:
    """`name` as links, the type that the last parameter is on, that parameter, and its modifier.

    None where the first parameter is not known at all. A chain that starts well and then fails raises
    request.bad-chain: it is a filter that the client believes in.
    """
    steps = [step.partition(":") for step in name.split(".")]
    if lookup(resource_type, steps[0][0]) is None:
        return None
    if len(steps) > MAX_LINKS + 1:
        raise _bad_chain(name)
    owner, links = resource_type, list[Link]()
    for (step, _, stated), (following, *_) in pairwise(steps):
        link = lookup(owner, step)
        target = None if link is None else _link_target(link, stated, following)
        if link is None or target is None:
            raise _bad_chain(name)
        links.append(Link(link, target, stated != ""))
        owner = target
    last, colon, written = steps[-1]
    parameter = lookup(owner, last)
    if parameter is None:
        raise _bad_chain(name)
    return tuple(links), owner, parameter, _modifier(parameter, written, name) if colon else None


def _link_target(parameter: SearchParameter, stated: str, following: str) -> str | None:
    """The type that a link leads to: the one stated, or the only one that has the parameter that follows."""
    if stated:
        target = canonical_type(stated)
        return target if target in parameter.targets else None
    able = [target for target in parameter.targets if lookup(target, following) is not None]
    return able[0] if len(able) == 1 else None


def _modifier(parameter: SearchParameter, written: str, name: str) -> str:
    if written in MODIFIERS[parameter.type]:
        return written
    target = canonical_type(written)
    if parameter.type is ParamType.REFERENCE and target in parameter.targets:
        return target
    raise RequestError("request.unknown-modifier", parameter=shown(name))


def _include_part(part: str) -> bool:
    return part == "*" or re.fullmatch(r"[A-Za-z_][A-Za-z0-9\-_]*", part) is not None


def _known_include(parts: list[str], *, iterate: bool, reverse: bool) -> Include | None:
    """The include of `Type:parameter[:Type]` in canonical names, or None where it names nothing known."""
    source, name = canonical_type(parts[0]), parts[1]
    target = canonical_type(parts[2]) if len(parts) == 3 else None
    if source is None or (len(parts) == 3 and target is None):
        return None
    if name != "*":
        parameter = lookup(source, name)
        if parameter is None or parameter.type is not ParamType.REFERENCE:
            return None
        if target is not None and target not in parameter.targets:
            return None
        name = parameter.name
    return Include(source, name, target, iterate, reverse)
