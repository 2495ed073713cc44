"""The locator's document: generations, numbers, coverage."""

from __future__ import annotations

import msgspec
import pytest

from registry.locator_model import Coverage, CoverageState
from registry.locator_state import (
    EMPTY,
    State,
    begun,
    coverage,
    covered,
    decode,
    dropped,
    dropping,
    encode,
    left,
    numbered,
    superseded,
    swept,
    wants_generation,
)

OLD, NEW, STRANGE = "old-key", "new-key", "strange"


def complete(generation: int, as_of: float = 1.0, fence: int = 0) -> Coverage:
    return Coverage(CoverageState.COMPLETE, as_of, generation=generation, fence=fence)


def given(state: State | None) -> State:
    assert state is not None
    return state


def test_the_document_comes_back() -> None:
    state = given(numbered(begun(EMPTY, 7, OLD, 1000), 7, ["bre", "pdl"]))
    state = left(given(covered(state, "bre", complete(7))), "pdl", 9)
    assert decode(encode(state)) == state
    assert decode(None) == decode(b"") == EMPTY
    with pytest.raises(msgspec.MsgspecError):
        decode(b'{"generations": 5}')


def test_a_generation_begins_where_there_is_none_or_the_secret_is_new() -> None:
    one = begun(EMPTY, 7, OLD, 1000)
    assert wants_generation(EMPTY, OLD, [])
    assert wants_generation(dropping(one, 7), OLD, [])
    assert not wants_generation(one, OLD, [])
    assert wants_generation(one, NEW, [OLD])
    assert not wants_generation(begun(one, 8, NEW, 1000), NEW, [OLD])
    assert not wants_generation(begun(one, 8, NEW, 1000), OLD, [NEW])


def test_a_node_with_a_strange_secret_begins_nothing() -> None:
    one = begun(EMPTY, 7, OLD, 1000)
    assert not wants_generation(one, STRANGE, [])
    assert not wants_generation(begun(one, 8, NEW, 1000), STRANGE, [OLD])
    assert one.readable([STRANGE]) == ()


def test_numbers_are_used_again_only_when_there_is_no_other() -> None:
    state = begun(EMPTY, 7, OLD, 1000)
    state = given(numbered(state, 7, ["a", "b"]))
    state = swept(left(state, "a", 1), 7, [1])
    state = given(numbered(state, 7, ["c", "c", "b"]))
    assert state.generations[0].managers == {"b": 2, "c": 3}
    state = given(numbered(state, 7, [f"m{number}" for number in range(252)]))
    assert max(state.generations[0].managers.values()) == 255
    state = given(numbered(state, 7, ["a"]))
    assert state.generations[0].managers["a"] == 1
    assert numbered(state, 7, ["z"]) is None
    assert numbered(left(state, "a", 2), 7, ["z"]) is None, "not swept yet"
    assert given(numbered(state, 7, ["b"])) == state


def test_only_what_was_retired_is_free() -> None:
    state = given(numbered(begun(EMPTY, 7, OLD, 1000), 7, ["a", "b"]))
    state = left(state, "a", 1)
    assert state.generations[0].retired == (1,)
    state = swept(state, 7, [1, 2])
    assert (state.generations[0].retired, state.generations[0].free) == ((), (1,))


def test_a_fence_keeps_earlier_leaders_out() -> None:
    state = given(covered(begun(EMPTY, 7, OLD, 1000), "bre", complete(7, fence=5)))
    assert covered(state, "bre", complete(7, fence=4)) is None
    assert covered(state, "bre", complete(7, fence=5)) is not None
    gone = left(state, "bre", 9)
    assert covered(gone, "bre", complete(7, fence=8)) is None
    assert covered(gone, "bre", complete(7, fence=9)) is not None
    after = begun(gone, 8, OLD, 1000)
    assert covered(after, "bre", complete(8, fence=8)) is None


def test_no_coverage_for_a_generation_that_is_not_there() -> None:
    state = begun(EMPTY, 7, OLD, 1000)
    assert covered(state, "bre", complete(8)) is None
    assert covered(dropping(state, 7), "bre", complete(7)) is None


def test_the_older_generation_counts_until_the_newer_is_complete() -> None:
    state = begun(begun(EMPTY, 7, OLD, 1000), 8, NEW, 1000)
    state = given(covered(state, "bre", complete(7, 1.0)))
    state = given(covered(state, "bre", Coverage(CoverageState.CRAWLING, generation=8)))
    assert coverage(state.generations)["bre"].generation == 7
    assert coverage(state.generations[1:])["bre"].state is CoverageState.CRAWLING
    state = given(covered(state, "bre", complete(8, 2.0)))
    assert coverage(state.generations)["bre"].as_of == 2.0


def test_a_generation_is_superseded_when_a_later_one_is_complete_for_all() -> None:
    state = begun(begun(EMPTY, 7, OLD, 1000), 8, NEW, 1000)
    state = given(covered(state, "bre", complete(8)))
    assert superseded(state, NEW, ["bre"]) == (7,)
    assert superseded(state, NEW, ["bre", "pdl"]) == ()
    assert superseded(state, NEW, []) == ()
    assert superseded(state, OLD, ["bre"]) == (), "who cannot read the new one drops nothing for it"
    assert superseded(dropping(state, 8), NEW, ["bre"]) == (8,)
    assert superseded(dropped(state, 7), NEW, ["bre"]) == ()
