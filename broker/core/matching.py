"""Does a resource match a criterion? (FHIR R4, search.html, 3.1.1.4 and 3.1.1.5.)

Works on resources as parsed JSON and on checked criteria (`broker.core.query_parser`). A value that cannot
be read, in the resource or in the criterion, matches nothing. Chains are not followed here: who evaluates one
matches its last parameter on the resources that it leads to.

`:not` turns a token search round and so takes resources without any value too; the prefix `ne` does not: it
asks for a date that lies at least partly elsewhere. Of several values one that matches is enough.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from broker.core.element_paths import values_at
from broker.core.fhir_dates import element_range
from broker.core.query import Criterion
from broker.core.search_parameters import ParamType, SearchParameter
from broker.core.value_tests import (
    ValueTest,
    fold,
    may_point_to,
    reference_text,
    strings,
    tokens,
    value_test,
)

Resource = Mapping[str, Any]
Predicate = Callable[[Resource], bool]

_YEAR_ONE: Final = -62_135_596_800_000_000  # 0001-01-01T00:00Z in microseconds since the epoch


def matches(
    resource: Resource, criterion: Criterion, *, base: str = "", now: dt.datetime | None = None
) -> bool:
    """Whether a resource satisfies a criterion that has no chain.

    `base` is the address of the resource's server without a final slash: absolute references under it equal
    relative ones. `now` serves the prefix `ap` alone (`fhir_dates.comparison`). Raises ValueError on a chain.
    """
    return predicate(criterion, base=base, now=now)(resource)


def predicate(criterion: Criterion, *, base: str = "", now: dt.datetime | None = None) -> Predicate:
    """`matches` prepared once for many resources."""
    if criterion.chain:
        raise ValueError("a chained criterion is not about one resource")
    parameter, modifier = criterion.parameter, criterion.modifier
    if modifier == "missing":
        return partial(_missing, parameter, base, criterion.values[0] == "true")
    tests = [value_test(criterion, value, base, now) for value in criterion.values]
    if modifier == "not":
        return lambda resource: not _any(elements(resource, parameter, base), tests)
    return lambda resource: _any(elements(resource, parameter, base), tests)


def elements(resource: Resource, parameter: SearchParameter, base: str = "") -> Iterator[Any]:
    """The values that a parameter looks at; of references those that may point where the parameter does."""
    for path in parameter.paths:
        for value in values_at(resource, path):
            if parameter.type is not ParamType.REFERENCE or may_point_to(value, parameter.targets, base):
                yield value


def sort_value(resource: Resource, parameter: SearchParameter, descending: bool) -> float | str | None:
    """What `_sort` compares: of several values the one that comes first in the order asked for.

    Dates are seconds since the epoch of the start of their range (a Period without start: of year 1);
    strings are folded as in a search, a HumanName by family then given names; tokens by code; references as
    `Type/id`. None where the resource has no value.
    """
    key = _SORT_KEYS[parameter.type]
    found = [value for value in map(key, elements(resource, parameter)) if value is not None]
    if not found:
        return None
    return max(found) if descending else min(found)


def _any(values: Iterable[Any], tests: Sequence[ValueTest]) -> bool:
    return any(test(value) for value in values for test in tests)


def _missing(parameter: SearchParameter, base: str, wanted: bool, resource: Resource) -> bool:
    return wanted is (next(elements(resource, parameter, base), None) is None)


# --- sorting


def _date_key(element: Any) -> float | None:
    target = element_range(element)
    if target is None:
        return None
    return max(target.low, _YEAR_ONE) / 1_000_000


def _string_key(element: Any) -> str | None:
    if not isinstance(element, dict):
        return fold(element) if isinstance(element, str) else None
    named = {key: element[key] for key in ("family", "given") if key in element}
    return " ".join(map(fold, strings(named or element))) or None


def _token_key(element: Any) -> str | None:
    return min((code.casefold() for _, code in tokens(element, None) if code), default=None)


_SORT_KEYS: Mapping[ParamType, Callable[[Any], float | str | None]] = {
    ParamType.DATE: _date_key,
    ParamType.STRING: _string_key,
    ParamType.TOKEN: _token_key,
    ParamType.REFERENCE: reference_text,
    ParamType.URI: reference_text,
}
