"""The search parser over anything a client may send."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from broker.core.messages import MESSAGES
from broker.core.query import SearchQuery
from broker.core.query_parser import parse_search, split_or
from broker.core.search_parameters import ALIASES, DATE_PREFIXES, MODIFIERS, PARAMETERS, TYPES
from broker.errors import RequestError

_WORDS = sorted({name for table in PARAMETERS.values() for name in table} | set(ALIASES) | set(TYPES))
_MODIFIERS = sorted(set().union(*MODIFIERS.values()) | {"iterate", "recurse"})
_CONTROL = [
    "_sort",
    "_count",
    "_elements",
    "_summary",
    "_total",
    "_include",
    "_revinclude",
    "_format",
    "_has",
]

_step = st.builds(
    lambda name, modifier: f"{name}:{modifier}" if modifier else name,
    st.sampled_from(_WORDS + _CONTROL),
    st.none() | st.sampled_from([*_MODIFIERS, *TYPES]),
)
_name = st.lists(_step, min_size=1, max_size=3).map(".".join) | st.text(max_size=20)
_atom = st.one_of(
    st.sampled_from(["true", "false", "12", "Patient/12", "a|b", "text", "accurate", "*", *_WORDS]),
    st.builds("{}:{}".format, st.sampled_from(TYPES), st.sampled_from(_WORDS)),
    st.builds(
        "{}{}".format, st.sampled_from(["", *DATE_PREFIXES]), st.dates().map(str) | st.datetimes().map(str)
    ),
    st.text(alphabet="a1\\,|$-:+ .T", max_size=12),
    st.text(max_size=12),
)
_value = st.lists(_atom, max_size=3).map(",".join)
_pairs = st.lists(st.tuples(_name, _value), max_size=6)


@given(st.sampled_from(TYPES), _pairs, st.booleans())
def test_any_search_is_read_or_refused_by_a_known_error(
    resource_type: str, pairs: list[tuple[str, str]], strict: bool
) -> None:
    query, error = _outcome(resource_type, pairs, strict=strict)
    if error is not None:
        assert 400 <= MESSAGES[error.key].status < 500
        assert re.fullmatch(r"[A-Za-z0-9\-_.:]{1,64}|…", str(error.params["parameter"]))
    if query is not None:
        assert not (strict and query.ignored)
        assert parse_search(resource_type, query.pairs(), strict=True) == replace(query, ignored=())


def _outcome(
    resource_type: str, pairs: list[tuple[str, str]], *, strict: bool
) -> tuple[SearchQuery | None, RequestError | None]:
    try:
        return parse_search(resource_type, pairs, strict=strict), None
    except RequestError as error:
        return None, error


@given(st.text(alphabet="a\\,|", max_size=30))
def test_alternatives_join_to_the_value_they_came_from(value: str) -> None:
    parts = split_or(value)
    assert ",".join(parts) == value
    assert all(split_or(part) == (part,) for part in parts[:-1])
