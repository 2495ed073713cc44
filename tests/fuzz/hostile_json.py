"""Trees of JSON, made from honest ones and spoiled: what both sides of the broker are thrown at with."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

HOSTILE_TEXTS = (
    "", " ", "\x00", "\ud800", "\u202e", "é" * 40, "a" * 300, "../../etc/passwd", "%2e%2e%2f", "%00", "%252e%252e",
    "bre.c0", "zzz.c0", "bre.", ".", "..", "bre..c0", "#", "#x", "urn:uuid:x", "urn:oid:1.2", "Patient/", "/Patient/1",
    "Patient/bre.p1/_history/1", "Patient/bre.p1?x=y", "CareTeam/c0", "http://[", "http://[::1", "https://a.exemple:99999/x",
    "javascript:alert(1)", "http://127.0.0.1:1/fhir/Patient/1", "2026-13-45", "2026-01-01T00:00:00Z", "9999-12-31T23:59:60Z",
    "0000-00-00", "-1", "1e999", "\r\nX-Evil: 1", '<div xmlns="http://www.w3.org/1999/xhtml">&nbsp;<script/></div>',
    "<!DOCTYPE x [<!ENTITY a 'b'>]>", "{{7*7}}", "$(id)", "match", "include", "outcome", "CareTeam", "Patient", "Bundle",
    "OperationOutcome", "searchset", "history", "transaction-response", "active", "next", "200 OK", "999", 'W/"1"',
)  # fmt: skip

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, 1e308, -0.0, float("inf"), float("nan")]
    ),
    st.sampled_from(HOSTILE_TEXTS),
    st.text(max_size=20),
)
any_json = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    [
                        "resourceType",
                        "id",
                        "meta",
                        "entry",
                        "resource",
                        "reference",
                        "extension",
                        "link",
                        "url",
                        "div",
                        "contained",
                        "_id",
                        "subject",
                        "identifier",
                        "system",
                        "value",
                        "response",
                        "request",
                        "tag",
                        "participant",
                    ]
                ),
                st.text(max_size=8),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)

Change = tuple[int, str, Any]
"""Which node (a number, taken modulo their count), what is done to it, and a value for that."""

changes = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.sampled_from(["replace", "replace", "remove", "rename", "repeat", "nest", "wrap", "empty"]),
        any_json,
    ),
    min_size=0,
    max_size=4,
)


def spoiled(tree: Any, wanted: list[Change]) -> Any:
    tree = copy.deepcopy(tree)
    for number, what, value in wanted:
        places = list(_places(tree))
        if not places:
            return value
        holder, key = places[number % len(places)]
        _change(holder, key, what, copy.deepcopy(value))
    return tree


def _places(tree: Any) -> Any:
    left = [tree]
    while left:
        node = left.pop()
        items: Any = (
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        )
        for key, child in items:
            yield node, key
            if isinstance(child, dict | list):
                left.append(child)


def _change(holder: Any, key: Any, what: str, value: Any) -> None:
    if what == "replace":
        holder[key] = value
    elif what == "remove":
        del holder[key]
    elif what == "rename" and isinstance(holder, dict):
        holder[str(value)[:40]] = holder.pop(key)
    elif what == "repeat" and isinstance(holder, list):
        holder.extend([copy.deepcopy(holder[key])] * 3)
    elif what == "nest":
        for _ in range(150):
            holder[key] = [holder[key]] if isinstance(holder, list) else {"extension": [holder[key]]}
    elif what == "wrap":
        holder[key] = [holder[key]]
    elif what == "empty":
        holder[key] = type(holder[key])() if isinstance(holder[key], dict | list | str) else None


def written(tree: Any) -> bytes:
    """As JSON, or nearly: `Infinity`, lone surrogates and numbers of any length are written as they are."""
    text = json.dumps(tree, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


Cut = tuple[str, int, bytes]

cuts = st.lists(
    st.tuples(
        st.sampled_from(["delete", "insert", "overwrite", "truncate", "double"]),
        st.integers(0, 1 << 20),
        st.binary(min_size=1, max_size=6),
    ),
    max_size=3,
)


def chopped(data: bytes, wanted: list[Cut]) -> bytes:
    """Bytes with a few of them changed."""
    for what, number, piece in wanted:
        place = number % (len(data) + 1)
        if what == "delete":
            data = data[:place] + data[place + len(piece) :]
        elif what == "insert":
            data = data[:place] + piece + data[place:]
        elif what == "overwrite":
            data = data[:place] + piece + data[place + len(piece) :]
        elif what == "truncate":
            data = data[:place]
        elif what == "double":
            data = data[:place] + data
    return data
