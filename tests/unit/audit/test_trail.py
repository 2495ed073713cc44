"""The trail: groups, sinks that fail or are slow, what is kept, what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.clock import SystemClock
from broker.audit.heads import HeadKeeper, resumed
from broker.audit.trail import Trail, TrailOptions
from broker.core.audit.chain import Chain, Head, parse
from broker.core.audit.event import EventWriter
from broker.core.audit.verify import StreamCheck
from broker.errors import AuditError
from tests.support.audit_sinks import KEY, KEYS, STREAM, FakeHeads, FakeSink, access
from tests.support.waiting import until


@asynccontextmanager
async def trail(*sinks: FakeSink, **options: float | bool) -> AsyncIterator[Trail]:
    made = Trail(
        EventWriter("https://broker.example/fhir", STREAM),
        Chain(STREAM, KEY),
        sinks,
        SystemClock(),
        TrailOptions(**({"timeout": 0.2} | options)),  # type: ignore[arg-type]  # by name
    )
    made.start()
    try:
        yield made
    finally:
        for sink in sinks:
            sink.failing = False
            sink.open.set()
        await made.aclose(1.0)


def requests_of(sink: FakeSink) -> list[str]:
    """X-Request-Ids in the order of writing; `!` for a told interruption."""
    found = []
    for line in sink.lines:
        read = parse(line)
        assert read is not None
        event = json.loads(bytes(read.event))
        named = [one["what"]["identifier"]["value"] for one in event["entity"] if "what" in one]
        found.append(named[0] if named else "!")
    return found


def intact(sink: FakeSink) -> bool:
    check = StreamCheck(STREAM, KEYS)
    for number, line in enumerate(sink.lines, 1):
        check.feed(line, "", number)
    check.end("")
    return not check.findings


async def test_what_comes_while_a_group_is_written_makes_the_next_group() -> None:
    sink = FakeSink()
    async with trail(sink) as made:
        sink.open.clear()
        first = made.tell(access("first"))
        await until(lambda: sink.tried == 1)
        others = [made.tell(access(f"r{number}")) for number in range(10)]
        sink.open.set()
        assert all(await asyncio.gather(first, *others))
        assert [len(group.lines) for group in sink.taken] == [1, 10]
        assert intact(sink)
        assert made.state.accesses == 11
        assert made.written.seq == 11


async def test_an_answer_waits_for_every_sink() -> None:
    quick, slow = FakeSink("quick"), FakeSink("slow")
    async with trail(quick, slow) as made:
        slow.open.clear()
        told = made.tell(access())
        await until(lambda: slow.tried == 1)
        assert len(quick.taken) == 1
        assert not told.done()
        slow.open.set()
        assert await told


async def test_a_sink_that_fails_refuses_what_comes_and_keeps_what_was() -> None:
    sink = FakeSink(failing=True)
    async with trail(sink) as made:
        assert not await made.record(access("kept"))
        with pytest.raises(AuditError) as refused:
            made.admit()
        assert refused.value.key == "audit.unavailable"
        assert not await made.record(access("under way"))
        assert made.state.broken
        sink.failing = False
        await until(lambda: not made.state.broken)
        made.admit()
        await until(lambda: len(sink.lines) == 3)
        assert requests_of(sink) == ["kept", "under way", "!"] or requests_of(sink) == [
            "kept",
            "!",
            "under way",
        ]
        assert intact(sink)
        assert made.state.failures["fake"] >= 1
        assert made.state.refused == 1


async def test_the_hole_is_told_in_the_trail() -> None:
    sink = FakeSink(failing=True)
    async with trail(sink) as made:
        await made.record(access())
        for _ in range(3):
            with pytest.raises(AuditError):
                made.admit()
        sink.failing = False
        await until(lambda: len(sink.lines) == 2)
        event = json.loads(bytes(parse(sink.lines[1]).event))  # type: ignore[union-attr]
        assert event["subtype"][0]["code"] == "audit-interrupted"
        assert event["entity"][0]["detail"] == [
            {"type": "refused", "valueString": "3"},
            {"type": "lost", "valueString": "0"},
        ]


async def test_a_sink_offered_a_group_again_is_offered_the_same_bytes() -> None:
    good, bad = FakeSink("good"), FakeSink("bad", failing=True)
    async with trail(good, bad) as made:
        await made.record(access())
        bad.failing = False
        await until(lambda: bool(bad.taken))
        assert good.lines == bad.lines[: len(good.lines)]
        await until(lambda: good.lines == bad.lines)
        assert len(good.taken) == len(bad.taken)


async def test_a_slow_sink_is_waited_for_within_a_bound() -> None:
    sink = FakeSink()
    async with trail(sink) as made:
        sink.open.clear()
        begun = asyncio.get_running_loop().time()
        assert not await made.record(access("slow"))
        assert asyncio.get_running_loop().time() - begun < 2
        with pytest.raises(AuditError):
            made.admit()
        sink.open.set()
        await until(lambda: not made.state.broken)
        made.admit()
        assert requests_of(sink)[0] == "slow"


async def test_allow_goes_on_counts_and_tells() -> None:
    sink = FakeSink(failing=True)
    async with trail(sink, deny=False, max_waiting=2) as made:
        assert not await made.record(access("in hand"))
        made.admit()
        for number in range(5):
            assert not await made.record(access(f"r{number}"))
        assert made.state.lost == 3
        sink.failing = False
        await until(lambda: len(sink.lines) == 4)
        assert sorted(requests_of(sink)) == ["!", "in hand", "r0", "r1"]
        assert intact(sink)


async def test_who_is_cancelled_while_waiting_is_traced() -> None:
    sink = FakeSink()
    async with trail(sink) as made:
        sink.open.clear()
        waiting = asyncio.create_task(made.record(access("gone")))
        await until(lambda: sink.tried == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        sink.open.set()
        await until(lambda: requests_of(sink) == ["gone"])


async def test_closing_writes_what_is_left() -> None:
    sink = FakeSink()
    async with trail(sink) as made:
        told = [made.tell(access(f"r{number}")) for number in range(5)]
    assert requests_of(sink) == [f"r{number}" for number in range(5)]
    assert all(one.result() for one in told)
    assert sink.closed


async def test_closing_does_not_wait_for_ever() -> None:
    sink = FakeSink(failing=True)
    made = Trail(
        EventWriter("https://b.example/fhir", STREAM),
        Chain(STREAM, KEY),
        [sink],
        SystemClock(),
        TrailOptions(),
    )
    made.start()
    made.tell(access())
    async with asyncio.timeout(3):
        await made.aclose(0.3)
    assert sink.closed


async def test_what_is_delivered_later_may_not_pile_up_for_ever() -> None:
    full = False
    sink = FakeSink()
    made = Trail(
        EventWriter("https://b.example/fhir", STREAM),
        Chain(STREAM, KEY),
        [sink],
        SystemClock(),
        TrailOptions(),
        full=lambda: full,
    )
    made.admit()
    full = True
    with pytest.raises(AuditError):
        made.admit()


async def test_a_head_is_kept_once_what_it_stands_for_is_lasting() -> None:
    sink, heads = FakeSink(), FakeHeads()
    async with trail(sink) as made:
        keeper = HeadKeeper(made, STREAM, heads, SystemClock(), begun=Head(), known=True)
        await made.record(access("r1", "Patient/bre.1", "Patient/bre.2"))
        sink.sync_failing = True
        await keeper.keep()
        assert heads.heads == {}
        with pytest.raises(AuditError):
            made.admit()
        sink.sync_failing = False
        await keeper.keep()
        assert heads.heads[STREAM].seq >= 2
        made.admit()


async def test_a_store_that_is_away_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    sink, heads = FakeSink(), FakeHeads(away=True)
    async with trail(sink) as made:
        keeper = HeadKeeper(made, STREAM, heads, SystemClock(), begun=Head(), known=True)
        for number in range(3):
            assert await made.record(access(f"r{number}"))
            await keeper.keep()
        assert sum("cannot be stored" in one.message for one in caplog.records) == 1
        heads.away = False
        await keeper.keep()
        assert heads.heads[STREAM] == made.written


async def test_a_trail_that_was_cut_goes_on_behind_what_was_known() -> None:
    heads = FakeHeads({STREAM: Head(9, "a" * 64)})
    assert await resumed(heads, STREAM, Head(5, "b" * 64)) == (Head(9, "a" * 64), True)
    assert await resumed(heads, STREAM, Head(12, "b" * 64)) == (Head(12, "b" * 64), True)


async def test_what_was_cut_while_the_store_was_away_is_mourned_when_it_is_back() -> None:
    heads = FakeHeads({STREAM: Head(9, "a" * 64)}, away=True)
    begun, known = await resumed(heads, STREAM, Head(5, "b" * 64))
    assert (begun.seq, known) == (5, False)
    sink = FakeSink()
    made = Trail(
        EventWriter("https://b.example/fhir", STREAM),
        Chain(STREAM, KEY, begun),
        [sink],
        SystemClock(),
        TrailOptions(),
    )
    made.start()
    keeper = HeadKeeper(made, STREAM, heads, SystemClock(), begun=begun, known=known)
    heads.away = False
    await made.record(access())
    await keeper.keep()
    assert heads.lost == [(STREAM, 6, 9)]
    assert heads.heads[STREAM].seq == 6
    await made.aclose()
