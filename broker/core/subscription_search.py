"""Searching the subscriptions themselves: the parameters of FHIR R4, subscription.html#search. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from broker.core.matching import predicate
from broker.core.query import Criterion
from broker.core.query_parser import shown
from broker.core.query_values import grammar, plain_pipes, split_or
from broker.core.search_parameters import ParamType, SearchParameter
from broker.errors import RequestError

_R4: Final = "http://hl7.org/fhir/SearchParameter/"
_MODIFIERS: Final[Mapping[ParamType, tuple[str, ...]]] = {
    ParamType.STRING: ("exact", "contains"),
    ParamType.TOKEN: ("not",),
}
_CONTROLS: Final = frozenset({"_format", "_pretty", "_count", "_offset"})

PARAMETERS: Final[Mapping[str, SearchParameter]] = {
    one.name: one
    for one in (
        SearchParameter("_id", ParamType.TOKEN, ("id",), definition=_R4 + "Resource-id"),
        SearchParameter(
            "_lastUpdated", ParamType.DATE, ("meta.lastUpdated",), definition=_R4 + "Resource-lastUpdated"
        ),
        SearchParameter(
            "criteria", ParamType.STRING, ("criteria",), definition=_R4 + "Subscription-criteria"
        ),
        SearchParameter(
            "payload", ParamType.TOKEN, ("channel.payload",), definition=_R4 + "Subscription-payload"
        ),
        SearchParameter("status", ParamType.TOKEN, ("status",), definition=_R4 + "Subscription-status"),
        SearchParameter("type", ParamType.TOKEN, ("channel.type",), definition=_R4 + "Subscription-type"),
        SearchParameter("url", ParamType.URI, ("channel.endpoint",), definition=_R4 + "Subscription-url"),
    )
}

Test = Callable[[Mapping[str, Any]], bool]


def read_search(
    pairs: Sequence[tuple[str, str]], *, strict: bool
) -> tuple[list[Test], list[tuple[str, str]]]:
    """The tests that a search makes of a resource, and the parameters that it really used.

    Raises `RequestError` request.unknown-parameter (where `strict`), .unknown-modifier, .bad-value.
    """
    tests, used = [], []
    for written, value in pairs:
        name, _, modifier = written.partition(":")
        parameter = PARAMETERS.get(name)
        if parameter is None:
            if strict and written not in _CONTROLS:
                raise RequestError("request.unknown-parameter", parameter=shown(written))
            continue
        if modifier and modifier not in _MODIFIERS.get(parameter.type, ()):
            raise RequestError("request.unknown-modifier", parameter=name)
        values = split_or(plain_pipes(value))
        accepts, expected = grammar(name, parameter.type, modifier or None)
        if not all(map(accepts, values)):
            raise RequestError("request.bad-value", parameter=name, expected=expected)
        tests.append(predicate(Criterion(parameter, "Subscription", (), modifier or None, values)))
        used.append((written, value))
    return tests, used
