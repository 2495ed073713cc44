"""What a difference says, applied to the old tree, gives the new one."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from broker.console.structural_diff import applied, changes

_SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, "", "a", "b"])
_NAMES = st.sampled_from(["system", "value", "member", "reference", "url", "period", "code", "x"])
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=15,
)
_MEMBERS = st.lists(
    st.fixed_dictionaries(
        {"member": st.fixed_dictionaries({"reference": st.sampled_from("abcd")})},
        optional={"period": st.dictionaries(st.sampled_from(["start", "end"]), st.sampled_from("12"))},
    ),
    max_size=6,
)


def text(tree: Any) -> bytes:
    return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)


@given(_TREES, _TREES)
def test_applied_to_the_old_it_gives_the_new(old: Any, new: Any) -> None:
    assert text(applied(old, changes(old, new))) == text(new)


@given(_MEMBERS, _MEMBERS)
def test_so_it_does_of_members_who_leave_and_come_back(old: list[Any], new: list[Any]) -> None:
    before, after = {"participant": old}, {"participant": new}
    assert text(applied(before, changes(before, after))) == text(after)


@given(_TREES)
def test_nothing_is_said_of_what_is_the_same(tree: Any) -> None:
    assert changes(tree, orjson.loads(text(tree))) == []


@given(_MEMBERS, st.sampled_from("wxyz"))
def test_who_is_added_is_all_that_is_said(members: list[Any], who: str) -> None:
    added = {"member": {"reference": who}}
    told = changes({"participant": members}, {"participant": [*members, added]})
    assert [(one.kind, one.path, one.new) for one in told] == [
        ("added", ("participant", len(members)), added)
    ]
