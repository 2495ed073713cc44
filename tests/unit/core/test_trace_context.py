"""W3C Trace Context: what counts as a trace, and what is passed on of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.trace_context import (
    MOST_STATE,
    TraceContext,
    read_state,
    read_traceparent,
    received,
    written,
)

TRACE, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN_ID}-01"


def test_a_traceparent_is_read_in_its_parts() -> None:
    context = TraceContext(GOOD)
    assert (context.trace_id, context.span_id, context.flags) == (TRACE, SPAN_ID, 1)
    assert context.is_sampled
    assert not TraceContext(GOOD[:-1] + "0").is_sampled
    assert written(int(TRACE, 16), int(SPAN_ID, 16), 1) == GOOD
    assert written(1, 2, 0) == f"00-{1:032d}-{2:016d}-00"


@pytest.mark.parametrize("flags", ["00", "01", "02", "03", "ff"])
def test_one_of_this_version_goes_on_as_it_came(flags: str) -> None:
    assert read_traceparent(GOOD[:-2] + flags) == GOOD[:-2] + flags


@pytest.mark.parametrize(
    ("later", "read"),
    [
        (f"01-{TRACE}-{SPAN_ID}-01", GOOD),
        (f"cc-{TRACE}-{SPAN_ID}-01-what-the-future-brings", GOOD),
        (f"cc-{TRACE}-{SPAN_ID}-ff-", GOOD[:-1] + "3"),  # of its flags, those that are known
    ],
)
def test_one_of_a_later_version_goes_on_as_this_version_writes_it(later: str, read: str) -> None:
    assert read_traceparent(later) == read


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "00",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{GOOD}-more",
        f"{GOOD}-",
        f"cc-{TRACE}-{SPAN_ID}-01.more",
        f"cc-{TRACE}-{SPAN_ID}-01-{'x' * 500}",
        f"cc-{TRACE}-{SPAN_ID}-01-a\nb",
        f"00-{TRACE[1:]}-{SPAN_ID}-01",
        f"00-{TRACE}-{SPAN_ID}-1",
        f"00-{TRACE}-{SPAN_ID}-0x",
        f"00_{TRACE}_{SPAN_ID}_01",
        f"00-{TRACE[:-1]}é-{SPAN_ID}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN_ID}-01",
    ],
)
def test_what_is_none_is_ignored(wrong: str) -> None:
    assert read_traceparent(wrong) is None
    assert received([wrong], ["a=1"]) is None


@given(st.text(max_size=80))
def test_whatever_is_read_is_well_formed(text: str) -> None:
    found = read_traceparent(text)
    assert found is None or (len(found) == 55 and read_traceparent(found) == found)


def test_two_are_none() -> None:
    assert received([GOOD, GOOD], []) is None
    assert received([], ["a=1"]) is None
    assert received([f" {GOOD}\t"], []) == TraceContext(GOOD)


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        ([], None),
        ([""], None),
        (["a=1"], "a=1"),
        (["a=1, b=2 ,,", "c@d=x y"], "a=1,b=2,c@d=x y"),
        (["0a@b=1"], "0a@b=1"),
        ([f"a={'x' * 256}"], f"a={'x' * 256}"),
        # One wrong member, and all of it is.
        (["a=1,b"], None),
        (["A=1"], None),
        (["a=1,a=2"], None),
        ([f"a={'x' * 257}"], None),
        (["a="], None),
        (["a=b=c"], None),
        (["a=é"], None),
        (["a=b\x01c"], None),
        ([",".join(f"a{n}=1" for n in range(33))], None),
    ],
)
def test_a_tracestate(headers: list[str], read: str | None) -> None:
    assert read_state(headers) == read
    if headers:
        assert received([GOOD], headers) == TraceContext(
            GOOD, read
        )  # without it the trace goes on all the same


def test_of_a_long_tracestate_the_newest_members_go_on_whole() -> None:
    members = [f"k{number}={'v' * 50}" for number in range(32)]
    kept = read_state([",".join(members)])
    assert kept is not None
    assert len(kept) <= MOST_STATE
    assert kept.split(",") == members[: len(kept.split(","))]
    assert len(kept) + 1 + len(members[len(kept.split(","))]) > MOST_STATE


def test_the_headers_of_a_request() -> None:
    assert TraceContext(GOOD).headers() == {"traceparent": GOOD}
    assert TraceContext(GOOD, "a=1").headers() == {"traceparent": GOOD, "tracestate": "a=1"}
