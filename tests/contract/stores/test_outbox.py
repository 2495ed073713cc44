"""What the outbox must do, and its joint step with the write log: run on the fakes, on a real server and on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from broker.core.change_event import Operation
from broker.errors import StoreError
from registry.outbox import RedisOutbox
from registry.outbox_model import CircleChange, Waiting
from registry.ports import Outbox, WriteLog
from registry.redis_connection import connect
from registry.write_log import RedisWriteLog
from tests.contract.stores.conftest import KINDS
from tests.support.fake_outbox import FakeOutbox
from tests.support.fake_stores import ManualClock
from tests.support.fake_write_log import FakeWriteLog
from tests.support.two_nodes import two_nodes
from tests.support.waiting import until

CREATED, UPDATED, DELETED = Operation.CREATED, Operation.UPDATED, Operation.DELETED
LONG_AGO, BEFORE, NOW, LATER = (f"2026-01-01T10:00:{second:02d}.500Z" for second in (0, 20, 30, 40))


def change(
    version: str | None,
    at: str | None = NOW,
    *,
    circle: str = "12",
    manager: str = "bre",
    operation: Operation = UPDATED,
) -> CircleChange:
    return CircleChange(manager, circle, version, at, operation)


def gone(version: str | None = None, at: str | None = None) -> CircleChange:
    return change(version, at, operation=DELETED)


@dataclass
class Boxes:
    """Two nodes with one store."""

    box: Outbox
    other: Outbox
    writes: WriteLog
    advance: Callable[[float], Awaitable[None]]
    lose: Callable[[], Awaitable[None]]

    async def waiting(self) -> list[Waiting]:
        """All of it, in order, read by a node that gives the lead back."""
        token = await self.box.lead("reader", seconds=60)
        assert token is not None
        found = await self.box.peek(token, after=None, limit=1000)
        assert found is not None
        await self.box.lead("reader", seconds=0)
        return list(found)

    async def changes(self) -> list[CircleChange]:
        return [one.change for one in await self.waiting()]

    async def accepted(self, *changes: CircleChange) -> list[bool]:
        return [await self.box.enqueue(one) is not None for one in changes]


@pytest.fixture(params=KINDS)
async def boxes(request: pytest.FixtureRequest) -> AsyncIterator[Boxes]:
    if request.param == "fake":
        clock = ManualClock()
        box = FakeOutbox(clock)

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        async def lose_all() -> None:
            clock.advance(1)
            box.lose()

        yield Boxes(box, box, FakeWriteLog(clock, outbox=box), advance, lose_all)
        return
    async with two_nodes(request) as nodes:
        yield Boxes(
            RedisOutbox(nodes.one, keys=nodes.keys),
            RedisOutbox(nodes.other, keys=nodes.keys),
            RedisWriteLog(nodes.one, keys=nodes.keys),
            nodes.advance,
            nodes.lose,
        )


# --- what is a change


async def test_changes_wait_in_order_and_are_numbered_by_circle(boxes: Boxes) -> None:
    told = [
        change("1", BEFORE, operation=CREATED),
        change("7", None, circle="long-" + "x" * 59, manager="nat"),
        change("2", NOW),
        change("1", NOW, manager="occ"),
        change("3", LATER),
        gone("4", LATER),
    ]
    numbers = [await (boxes.box, boxes.other)[n % 2].enqueue(one) for n, one in enumerate(told)]
    assert await boxes.changes() == told
    waiting = await boxes.waiting()
    assert [one.sequence for one in waiting] == numbers
    assert all(0 <= one.age < 60 for one in waiting)
    mine = [number for number, one in zip(numbers, told, strict=True) if one.circle == ("bre", "12")]
    assert mine[0] is not None
    assert mine == list(range(mine[0], mine[0] + 4))


async def test_the_same_version_is_told_once(boxes: Boxes) -> None:
    assert await boxes.accepted(change("1"), change("1"), change("1", LATER), change("1", None)) == [
        True,
        False,
        False,
        False,
    ]
    assert await boxes.box.enqueue_many([change("1"), change("2"), change("2")], since=BEFORE) != []
    assert [one.version for one in await boxes.changes()] == ["1", "2"]


@pytest.mark.parametrize("digits", [True, False], ids=["numbers", "texts"])
async def test_an_older_version_is_no_change(boxes: Boxes, *, digits: bool) -> None:
    first, second, third = ("1", "2", "10") if digits else ("b7f0", "0c1d", "9a55")
    assert await boxes.accepted(change(second), change(first, BEFORE), change(third, LATER)) == [
        True,
        False,
        True,
    ]
    assert await boxes.accepted(change(second), change(first, BEFORE), change(third, LATER)) == [False] * 3


async def test_numbers_tell_the_order_where_the_instant_does_not(boxes: Boxes) -> None:
    assert await boxes.accepted(change("9"), change("8"), change("10")) == [True, False, True]
    assert await boxes.accepted(change("11", BEFORE)) == [True], "its clock was put back"
    assert await boxes.accepted(change("3", LATER)) == [True], "it was restored, and counts anew"
    assert await boxes.accepted(change("12", NOW)) == [True]


async def test_texts_of_one_instant_are_each_told_once(boxes: Boxes) -> None:
    assert await boxes.accepted(change("b"), change("a"), change("b"), change("a")) == [
        True,
        True,
        False,
        False,
    ]
    assert await boxes.accepted(change("c", LATER), change("b"), change("c", LATER)) == [True, False, False]


async def test_an_instant_in_whole_seconds_is_that_second(boxes: Boxes) -> None:
    whole = NOW.replace(".500Z", "Z")
    assert await boxes.accepted(change("x"), change("y", whole), gone(None, whole)) == [True, True, True]
    assert await boxes.accepted(change("z", BEFORE.replace(".500Z", "Z"))) == [False]


async def test_without_versions_the_instant_tells(boxes: Boxes) -> None:
    assert await boxes.accepted(change(None), change(None), change(None, BEFORE), change(None, LATER)) == [
        True,
        False,
        False,
        True,
    ]


async def test_what_bears_neither_version_nor_instant_is_told(boxes: Boxes) -> None:
    assert (
        await boxes.accepted(change(None, None), change(None, None), change("1", "yesterday")) == [True] * 3
    )


async def test_a_deletion_is_told_once(boxes: Boxes) -> None:
    assert await boxes.accepted(change("2"), gone(), gone("3", LATER), gone()) == [True, True, False, False]
    assert await boxes.accepted(change("2"), change("1", BEFORE)) == [False, False]
    assert await boxes.accepted(change("4", LATER), gone("5", LATER)) == [True, True]


async def test_an_old_deletion_is_none(boxes: Boxes) -> None:
    assert await boxes.accepted(change("2"), gone("1", BEFORE), gone(None, BEFORE)) == [True, False, False]


async def test_a_deletion_does_not_bear_the_version_that_was_deleted(boxes: Boxes) -> None:
    """Else it would be taken for the change that was told already."""
    await boxes.accepted(change("2"), gone("2", LATER))
    assert [(one.version, one.operation) for one in await boxes.changes()] == [
        ("2", UPDATED),
        (None, DELETED),
    ]


async def test_no_change_is_told_twice_at_once(boxes: Boxes) -> None:
    crowd = [change(str(number)) for number in (1, 2, 3)] * 10
    numbers = await asyncio.gather(
        *((boxes.box, boxes.other)[n % 2].enqueue(one) for n, one in enumerate(crowd))
    )
    told = sorted(number for number in numbers if number is not None)
    assert told == [one.sequence for one in await boxes.waiting()]
    assert 1 <= len(told) <= 3
    assert told == list(range(told[0], told[0] + len(told)))
    assert (await boxes.changes())[-1].version == "3"


# --- feeds


async def test_what_was_there_before_following_began_is_no_change(boxes: Boxes) -> None:
    there = [change("5", BEFORE, circle="old"), change("1", NOW, circle="last")]
    assert await boxes.box.enqueue_many(there, since=NOW) == [None, None]
    (number,) = await boxes.box.enqueue_many([change("2", LATER, circle="last")], since=NOW)
    assert number is not None
    late = [change("5", BEFORE, circle="old"), change("1", NOW, circle="b"), change("1", LATER, circle="c")]
    later = await boxes.other.enqueue_many(late, since=BEFORE)
    assert [one is not None for one in later] == [False, False, True], "where it began stays where it was"
    other = await boxes.box.enqueue_many([change("1", NOW, manager="occ")], since=BEFORE)
    assert other != [None]


async def test_a_write_is_a_change_whenever_following_began(boxes: Boxes) -> None:
    await boxes.box.enqueue_many([change("1", BEFORE, circle="x")], since=NOW)
    assert await boxes.box.enqueue(change("1", NOW, operation=CREATED)) is not None
    assert await boxes.box.enqueue_many([change("1", NOW)], since=NOW) == [None]


async def test_a_feed_may_show_all_at_once(boxes: Boxes) -> None:
    many = [change("1", NOW, circle=f"c{number}") for number in range(450)]
    assert None not in await boxes.box.enqueue_many(many, since=BEFORE)
    assert await boxes.box.enqueue_many(many, since=BEFORE) == [None] * 450
    assert await boxes.box.enqueue_many([], since=BEFORE) == []
    assert len({one.circle for one in await boxes.changes()}) == 450


# --- forgetting


async def forgotten(box: Outbox, manager: str = "bre", *, older: float) -> int:
    gone = 0
    for first in range(0, 4096, 32):
        parts = (box.tidy(manager, part, older=older) for part in range(first, first + 32))
        gone += sum(await asyncio.gather(*parts))
    return gone


async def test_what_was_forgotten_is_not_told_again(boxes: Boxes) -> None:
    recent = "2999-01-01T00:00:00Z"
    await boxes.accepted(change("1", BEFORE, circle="a"), change("2", NOW, circle="b"))
    await boxes.accepted(change("1", recent, circle="c"), change("1", None, circle="d"))
    assert await forgotten(boxes.box, older=-200 * 365 * 86_400) == 2
    assert await forgotten(boxes.box, older=-200 * 365 * 86_400) == 0
    again = [change("1", BEFORE, circle="a"), change("2", NOW, circle="b"), change("1", BEFORE, circle="e")]
    assert await boxes.box.enqueue_many(again, since=LONG_AGO) == [None] * 3
    first = (await boxes.waiting())[1].sequence
    await boxes.advance(1)
    (number,) = await boxes.box.enqueue_many([change("3", LATER, circle="b")], since=LONG_AGO)
    assert number is not None
    assert number > first, "numbers grow over forgetting"
    assert await boxes.accepted(change("1", recent, circle="c"), change("1", NOW, circle="d")) == [False] * 2


# --- publishing


async def test_one_node_publishes(boxes: Boxes) -> None:
    await boxes.accepted(change("1"), change("2", LATER))
    token = await boxes.box.lead("one", seconds=30)
    assert token is not None
    assert await boxes.other.lead("two", seconds=30) is None
    assert await boxes.box.lead("one", seconds=30) == token
    assert (await boxes.other.state()).leader == "one"
    found = await boxes.box.peek(token, after=None, limit=1)
    assert found is not None
    await boxes.advance(31)
    newer = await boxes.other.lead("two", seconds=30)
    assert newer is not None
    assert newer > token
    assert await boxes.box.peek(token, after=None, limit=10) is None
    assert not await boxes.box.remove(token, [found[0].place])
    again = await boxes.other.peek(newer, after=None, limit=1)
    assert again is not None
    assert [replace(one, age=0) for one in again] == [replace(one, age=0) for one in found]
    await boxes.other.lead("two", seconds=0)
    assert await boxes.box.peek(newer, after=None, limit=10) is None
    assert (await boxes.box.state()).leader is None


async def test_reading_goes_on_behind_what_stays(boxes: Boxes) -> None:
    await boxes.accepted(*(change("1", circle=f"c{number}") for number in range(5)))
    token = await boxes.box.lead("one", seconds=30)
    assert token is not None
    first = await boxes.box.peek(token, after=None, limit=2)
    assert first is not None
    rest = await boxes.box.peek(token, after=first[-1].place, limit=10)
    assert rest is not None
    assert [one.change.circle_id for one in [*first, *rest]] == ["c0", "c1", "c2", "c3", "c4"]
    assert await boxes.box.remove(token, [first[1].place, rest[0].place])
    assert await boxes.box.remove(token, [first[1].place, rest[0].place])
    assert await boxes.box.remove(token, [])
    left = await boxes.box.peek(token, after=None, limit=10)
    assert left is not None
    assert [one.change.circle_id for one in left] == ["c0", "c3", "c4"]
    assert await boxes.box.peek(token, after=rest[-1].place, limit=10) == []


async def test_waiting_ends_when_something_comes(boxes: Boxes) -> None:
    assert not await boxes.box.wait(None, seconds=0.02)
    await boxes.accepted(change("1"))
    assert await boxes.box.wait(None, seconds=1)
    (first,) = await boxes.waiting()
    assert not await boxes.box.wait(first.place, seconds=0.02)
    waiter = asyncio.create_task(boxes.box.wait(first.place, seconds=1))
    await asyncio.sleep(0.05)
    await boxes.other.enqueue(change("2", LATER))
    async with asyncio.timeout(0.8):
        assert await waiter


async def test_what_waits_is_measured(boxes: Boxes) -> None:
    state = await boxes.box.state()
    assert (state.depth, state.age, state.added, state.leader) == (0, None, 0, None)
    await boxes.accepted(change("1"), change("2", LATER), change("2", LATER))

    async def aged() -> bool:
        await boxes.advance(0.01)
        return ((await boxes.box.state()).age or 0) > 0

    await until(aged)
    state = await boxes.box.state()
    assert (state.depth, state.added) == (2, 2)
    token = await boxes.box.lead("one", seconds=30)
    assert token is not None
    found = await boxes.box.peek(token, after=None, limit=10)
    assert found is not None
    assert found[0].age > 0
    await boxes.box.remove(token, [one.place for one in found])
    state = await boxes.box.state()
    assert (state.depth, state.age, state.added) == (0, None, 2)


async def test_numbers_and_tokens_grow_over_a_lost_store(boxes: Boxes) -> None:
    (first, second) = [await boxes.box.enqueue(change(version, None)) for version in ("1", "2")]
    token = await boxes.box.lead("one", seconds=30)
    await boxes.lose()
    assert token is not None
    assert await boxes.box.peek(token, after=None, limit=10) is None
    third = await boxes.other.enqueue(change("3", None))
    assert first is not None
    assert second == first + 1
    assert third is not None
    assert third > second + 1, "the step shows that something was lost"
    assert (await boxes.other.lead("two", seconds=30) or 0) > token


# --- the joint step


async def enqueued(boxes: Boxes) -> Sequence[str | None]:
    return [one.version for one in await boxes.changes()]


async def test_a_finished_write_is_in_the_outbox(boxes: Boxes) -> None:
    token = await boxes.writes.claim([b"alice", b"bruno"], seconds=30)
    assert isinstance(token, int)
    assert await boxes.writes.intend("w1", b"blob", names=[b"alice", b"bruno"], token=token, due=60)
    two = [change("1", operation=CREATED), change("4", circle="13")]
    assert await boxes.writes.finish(
        "w1", names=[b"alice", b"bruno"], token=token, result=b"r", keep=60, changes=two
    )
    assert await boxes.changes() == two
    assert await boxes.writes.pending() == (0, None)
    assert await boxes.writes.look([b"alice"]) == (None, b"r")
    assert await boxes.writes.finish("w1", changes=two), "told again: nothing new"
    assert await boxes.changes() == two


async def test_a_write_that_knows_its_own_names_is_told_once(boxes: Boxes) -> None:
    await boxes.writes.intend("w1", b"blob", names=[b"alice", b"bruno"], due=60)
    assert await boxes.writes.finish("w1", names=[b"bruno"], changes=[change("1")])
    assert await boxes.writes.look([b"alice", b"bruno"]) == (None, None)
    assert await enqueued(boxes) == ["1"]


async def test_writer_and_settler_tell_one_change(boxes: Boxes) -> None:
    await boxes.writes.intend("w1", b"blob", due=0)
    await asyncio.gather(*(boxes.writes.finish("w1", changes=[change("1")]) for _ in range(4)))
    await boxes.box.enqueue_many([change("1")], since=BEFORE)
    assert await enqueued(boxes) == ["1"]


async def test_what_was_written_is_told_though_its_claim_was_lost(boxes: Boxes) -> None:
    late = await boxes.writes.claim([b"alice"], seconds=5)
    await boxes.advance(6)
    assert isinstance(late, int)
    assert isinstance(await boxes.writes.claim([b"alice"], seconds=30), int)
    assert not await boxes.writes.finish(None, names=[b"alice"], token=late, changes=[change("1")])
    assert await enqueued(boxes) == ["1"]


async def test_nothing_written_tells_nothing(boxes: Boxes) -> None:
    await boxes.writes.intend("w1", b"blob", due=60)
    assert await boxes.writes.finish("w1")
    assert await boxes.changes() == []


# --- numbers


async def test_the_number_of_a_circle_as_it_is_now(boxes: Boxes) -> None:
    first = await boxes.box.enqueue(change("1", BEFORE, operation=CREATED))
    await boxes.box.enqueue(change("v-2", NOW, circle="13"))
    assert first is not None
    one, two, none = await boxes.other.numbers("bre", ["12", "13", "14"])
    assert (one.number, one.known, two.known, none.known) == (first, True, True, False)
    assert one.of("1") == one.of("2") == first  # it holds the change, or more
    assert one.of("0") == one.of(None) == one.of("w") == first - 1
    assert (two.of("v-2"), two.of("v-3"), two.of("9")) == (two.number, two.number - 1, two.number - 1)
    assert none.of("1") == none.number
    assert len(await boxes.waiting()) == 2
    await boxes.box.enqueue(change("2"))
    (again,) = await boxes.box.numbers("bre", ["12"])
    assert again.number == first + 1
    assert not one.is_still(again)
    assert one.is_still(one)


async def test_an_unknown_circle_has_a_number_below_its_first_change(boxes: Boxes) -> None:
    (before,) = await boxes.box.numbers("bre", ["12"])
    (still,) = await boxes.box.numbers("bre", ["12"])
    assert before.is_still(still)
    number = await boxes.box.enqueue(change("1", operation=CREATED))
    assert number is not None
    assert number > before.number
    (after,) = await boxes.box.numbers("bre", ["12"])
    assert not before.is_still(after)
    assert await boxes.box.numbers("bre", []) == []


async def test_many_numbers_in_one_call(boxes: Boxes) -> None:
    told = {str(one): await boxes.box.enqueue(change("1", circle=str(one))) for one in range(450)}
    found = await boxes.box.numbers("bre", list(told))
    assert [one.number for one in found] == list(told.values())


# --- faults


async def test_a_lost_answer_costs_nothing() -> None:
    box = FakeOutbox(answer_lost={"enqueue"})
    with pytest.raises(StoreError):
        await box.enqueue(change("1"))
    box.answer_lost.clear()
    assert await box.enqueue(change("1")) is None
    assert (await box.state()).depth == 1


async def test_a_store_that_is_out_says_so() -> None:
    client = connect("redis://127.0.0.1:1")
    for box in (RedisOutbox(client), FakeOutbox(down=True)):
        for call in (
            box.enqueue(change("1")),
            box.enqueue_many([change("1")], since=NOW),
            box.numbers("bre", ["1"]),
            box.lead("one", seconds=1),
            box.peek(1, after=None, limit=1),
            box.remove(1, ["1-1"]),
            box.wait(None, seconds=0.1),
            box.state(),
            box.tidy("bre", 0, older=1),
        ):
            with pytest.raises(StoreError):
                await call
    await client.aclose()


# --- traces

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_change_keeps_its_trace(boxes: Boxes) -> None:
    traced = replace(change("2", LATER), trace=TRACE)
    assert traced == change("2", LATER), "it is no part of what the change is"
    assert await boxes.accepted(change("1"), traced, replace(traced, trace=None)) == [True, True, False]
    assert await boxes.writes.intend("w1", b"blob", due=60)
    assert await boxes.writes.finish("w1", changes=[replace(change("3", LATER, circle="13"), trace=TRACE)])
    assert [one.trace for one in await boxes.changes()] == [None, TRACE, TRACE]
