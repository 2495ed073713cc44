"""Publishing: what becomes of a change, what waits for what, and what is said meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import msgspec
import pytest

from broker.core.change_event import Operation
from broker.core.subscription import ContentLevel
from broker.errors import BrokerError, FailureKind, StoreError
from broker.sync.change_log import MAX_RECORD_BYTES
from broker.sync.event_records import Content
from broker.sync.homes import Absence, StaleError
from broker.sync.routing import Destinations
from tests.support.fake_outbox import FakeOutbox
from tests.support.publishing import (
    NOTIFICATIONS,
    TO_OCC,
    FakeLog,
    Press,
    change,
    circle,
    down,
)
from tests.support.waiting import until

CREATED, DELETED = Operation.CREATED, Operation.DELETED


@pytest.fixture
def press() -> Press:
    return Press()


async def test_a_change_is_told_by_id_and_in_full(press: Press) -> None:
    number = await press.outbox.enqueue(change(12, "3", operation=CREATED, at="2026-01-01T00:00:00Z"))
    async with press.running() as publisher:
        await press.empty()
        assert publisher.leading
    (note,) = press.log.events(NOTIFICATIONS)
    assert (note.change.event_id, note.change.operation, note.change.sequence) == (
        "bre/CareTeam/12/3",
        CREATED,
        number,
    )
    assert note.circle is None
    (full,) = press.log.events(TO_OCC)
    assert full.change == note.change
    assert full.circle is not None
    assert full.circle.version_id == "3"
    assert {record.key for record in press.log.records} == {b"bre.12"}
    assert press.routing.handed == press.routing.settled == ["bre/CareTeam/12/3"]
    assert len(press.latencies) == 1
    assert 0 <= press.latencies[0] < 5


async def test_nobody_subscribed_everybody_entitled_is_told(press: Press) -> None:
    press.routing.destinations = Destinations()
    await press.outbox.enqueue(change(1))
    async with press.running():
        await press.empty()
    assert [record.topic for record in press.log.records] == [NOTIFICATIONS]


async def test_where_nobody_has_subscribed_no_circle_is_read(press: Press) -> None:
    press.routing.awaited = False
    await press.outbox.enqueue(change(1))
    await press.outbox.enqueue(change(2, operation=DELETED))
    async with press.running():
        await press.empty()
    assert [record.topic for record in press.log.records] == [NOTIFICATIONS] * 2
    assert press.homes.asked == []


async def test_who_asked_for_ids_gets_ids(press: Press) -> None:
    press.routing.destinations = Destinations({"occ": ContentLevel.ID_ONLY, "idf": ContentLevel.FULL})
    await press.outbox.enqueue(change(1))
    async with press.running():
        await press.empty()
    assert [one.circle for one in press.log.events(TO_OCC)] == [None]
    assert [one.circle is None for one in press.log.events("cds.replication.idf")] == [False]


async def test_a_deletion_is_a_tombstone_and_needs_no_home(press: Press) -> None:
    press.homes.faults["bre"] = down()
    await press.outbox.enqueue(change(1, None, operation=DELETED))
    async with press.running():
        await press.empty()
    by_topic = {record.topic: record for record in press.log.records}
    assert by_topic[NOTIFICATIONS].value is None
    assert by_topic[TO_OCC].value is not None
    (told,) = press.log.events(TO_OCC)
    assert told.change.operation is DELETED
    assert press.homes.asked == []


async def test_replicas_make_no_events(press: Press) -> None:
    press.homes.faults["bre", "1"] = Absence.REPLICA
    await press.outbox.enqueue(change(1))
    await press.outbox.enqueue(change(2))
    async with press.running() as publisher:
        await press.empty()
        assert publisher.figures.replicas == 1
    assert press.log.told(NOTIFICATIONS) == press.log.told(TO_OCC)
    assert {record.key for record in press.log.records} == {b"bre.2"}


async def test_several_changes_of_a_circle_are_looked_up_once(press: Press) -> None:
    numbers = [await press.outbox.enqueue(change(1, str(version))) for version in (1, 2, 3)]
    press.homes.versions["bre", "1"] = "3"
    async with press.running():
        await press.empty()
    assert press.homes.asked == [("bre", "1")]
    assert press.log.told(NOTIFICATIONS) == press.log.told(TO_OCC)
    assert [number for _, number in press.log.told(TO_OCC)] == numbers
    assert [one.circle.version_id for one in press.log.events(TO_OCC) if one.circle] == ["3"] * 3


# --- homes that do not answer


async def test_a_home_that_is_down_is_waited_for_and_overtaken(press: Press) -> None:
    press.homes.faults["occ"] = down()
    for number in range(5):
        await press.outbox.enqueue(change(number, manager="occ"))
        await press.outbox.enqueue(change(number, manager="bre"))
    async with press.running() as publisher:
        await until(lambda: len(press.log.told(TO_OCC)) == 5)
        await until(lambda: len(press.log.told(NOTIFICATIONS)) == 10)
        assert (await press.outbox.state()).depth == 5
        assert publisher.figures.waiting_for == {"occ": 5}
        assert publisher.figures.notified_early == 5
        press.homes.faults.clear()
        await press.empty()
        assert publisher.figures.waiting_for == {}
    assert len(press.log.told(TO_OCC)) == 10
    assert len(press.log.events(NOTIFICATIONS)) == 10, "what was told by id is not told again"


async def test_what_changes_while_its_home_is_down_is_told_in_order(press: Press) -> None:
    press.homes.faults["bre"] = down(FailureKind.TIMEOUT)
    numbers = [await press.outbox.enqueue(change(1, "1"))]
    async with press.running():
        await until(lambda: len(press.log.told(NOTIFICATIONS)) == 1)
        numbers += [await press.outbox.enqueue(change(1, version)) for version in ("2", "3")]
        numbers += [await press.outbox.enqueue(change(1, None, operation=DELETED))]
        await until(lambda: len(press.log.told(NOTIFICATIONS)) == 4)
        press.homes.faults.clear()
        await press.empty()
    assert [number for _, number in press.log.told(TO_OCC)] == numbers
    assert [number for _, number in press.log.told(NOTIFICATIONS)] == numbers
    assert [one.change.operation for one in press.log.events(TO_OCC)][-1] is DELETED


async def test_a_home_that_is_down_is_asked_for_one_circle_at_a_time(press: Press) -> None:
    press.homes.faults["bre"] = BrokerError("manager.suspended", slug="bre", name="", region="53")
    press.homes.seconds = 0.01
    for number in range(50):
        await press.outbox.enqueue(change(number))
    async with press.running() as publisher:
        await until(lambda: publisher.figures.notified_early == 50)
        first = len(press.homes.asked)
        assert first <= press.options.at_once
        await until(lambda: len(press.homes.asked) > first)
        await asyncio.sleep(0.05)
        assert len(press.homes.asked) == first + 1
        press.homes.faults.clear()
        await press.empty()
    assert len(press.log.told(TO_OCC)) == 50


async def test_one_circle_that_is_not_given_holds_up_no_other(press: Press) -> None:
    press.homes.faults["bre", "1"] = down(FailureKind.ERROR)
    for number in range(20):
        await press.outbox.enqueue(change(number))
    async with press.running() as publisher:
        await until(lambda: len(press.log.told(TO_OCC)) == 19)
        await until(lambda: len(press.log.told(NOTIFICATIONS)) == 20)
        assert publisher.figures.waiting_for == {"bre": 1}
        press.homes.faults.clear()
        await press.empty()
    assert len(press.log.told(TO_OCC)) == 20


async def test_a_home_is_not_pressed(press: Press) -> None:
    press.homes.seconds = 0.01
    for number in range(60):
        await press.outbox.enqueue(change(number))
    async with press.running():
        await press.empty()
    assert press.homes.most_at_once == press.options.at_once


async def test_an_older_version_than_announced_is_waited_for(press: Press) -> None:
    press.homes.faults["bre", "1"] = StaleError(Content(circle(1, version="1")))
    await press.outbox.enqueue(change(1, "2"))
    async with press.running():
        await until(lambda: len(press.log.told(NOTIFICATIONS)) == 1)
        assert press.log.told(TO_OCC) == []
        press.homes.faults.clear()
        await press.empty()
    assert [one.circle.version_id for one in press.log.events(TO_OCC) if one.circle] == ["2"]


async def test_an_older_version_is_believed_in_the_end(press: Press) -> None:
    press.options = replace(press.options, stale=1)
    press.homes.faults["bre", "1"] = StaleError(Content(circle(1, version="1")))
    await press.outbox.enqueue(change(1, "2"))
    async with press.running():
        await press.empty()
    assert [one.circle.version_id for one in press.log.events(TO_OCC) if one.circle] == ["1"]


# --- circles that are not there


async def test_a_deleted_circle_becomes_a_deletion(press: Press) -> None:
    press.homes.faults["bre", "1"] = Absence.GONE
    await press.outbox.enqueue(change(1, "2"))
    async with press.running() as publisher:
        await press.empty()
        await until(lambda: len(press.log.told(TO_OCC)) == 1)
        assert publisher.figures.found_deleted == 1
        await press.outbox.enqueue(change(1, "3", operation=DELETED))
        assert (await press.outbox.state()).depth == 0, "the feed tells nothing new"
    updated, deleted = press.log.events(NOTIFICATIONS)
    assert updated.change.operation is Operation.UPDATED
    assert deleted.change.operation is DELETED
    assert deleted.change.sequence == updated.change.sequence + 1
    assert deleted.change.event_id != updated.change.event_id
    assert [one.change for one in press.log.events(TO_OCC)] == [deleted.change]


async def test_a_circle_that_is_not_found_is_looked_for_again(press: Press) -> None:
    press.homes.faults["bre", "1"] = Absence.MISSING
    press.options = replace(press.options, quiet=0.3)
    await press.outbox.enqueue(change(1))
    async with press.running() as publisher:
        await until(lambda: len(press.log.told(NOTIFICATIONS)) == 1)
        press.homes.faults.clear()
        await press.empty()
        assert publisher.figures.found_deleted == 0
    assert len(press.log.told(TO_OCC)) == 1


async def test_a_circle_that_is_not_found_twice_is_deleted(press: Press) -> None:
    press.homes.faults["bre", "1"] = Absence.MISSING
    await press.outbox.enqueue(change(1))
    async with press.running():
        await press.empty()
    assert len(press.homes.asked) == 2
    assert [one.change.operation for one in press.log.events(TO_OCC)] == [DELETED]


async def test_a_home_that_left_is_told_of_by_id(press: Press) -> None:
    press.homes.faults["bre"] = Absence.LEFT
    await press.outbox.enqueue(change(1))
    async with press.running() as publisher:
        await press.empty()
        assert publisher.figures.abandoned == 1
    assert [record.topic for record in press.log.records] == [NOTIFICATIONS]


# --- the log


async def test_the_log_is_waited_for(press: Press) -> None:
    press.log.down = True
    async with press.running() as publisher:
        for number in range(20):
            await press.outbox.enqueue(change(number))
        await until(lambda: publisher.figures.log_failures >= 1)
        assert (await press.outbox.state()).depth == 20
        assert (await press.outbox.state()).age is not None
        press.log.down = False
        await press.empty()
    assert len(press.log.told(TO_OCC)) == 20


async def test_an_answer_that_is_lost_costs_a_duplicate(press: Press) -> None:
    press.log.answer_lost = True
    await press.outbox.enqueue(change(1))
    async with press.running():
        await until(lambda: len(press.log.records) >= 2)
        press.log.answer_lost = False
        await press.empty()
    first, *again = [record for record in press.log.records if record.topic == TO_OCC]
    assert again
    assert set(again) == {first}, "the very same record"


async def test_a_topic_that_is_missing_holds_up_its_own_circles_only(press: Press) -> None:
    press.log.missing.add(TO_OCC)
    press.routing.destinations = Destinations({"occ": ContentLevel.FULL})
    await press.outbox.enqueue(change(1))
    async with press.running() as publisher:
        await until(lambda: bool(publisher.figures.waiting_for))
        press.routing.destinations = Destinations({"idf": ContentLevel.FULL})
        await press.outbox.enqueue(change(2))
        await until(lambda: len(press.log.told("cds.replication.idf")) >= 1)
        await press.empty()
    assert len(press.log.told("cds.replication.idf")) == 2
    assert len(press.log.told(NOTIFICATIONS)) == 2


async def test_a_circle_that_no_log_takes_is_told_by_id(
    press: Press, caplog: pytest.LogCaptureFixture
) -> None:
    text = b'{"resourceType":"CareTeam","id":"bre.1","name":"%s"}' % (b"x" * MAX_RECORD_BYTES)
    huge = msgspec.structs.replace(circle(1), raw=text)

    class Huge:
        async def fetch(self, _change: object) -> Content:
            return Content(huge)

    press.homes.fetch = Huge().fetch  # type: ignore[method-assign, assignment]
    await press.outbox.enqueue(change(1))
    async with press.running() as publisher:
        await press.empty()
        assert publisher.figures.reduced == 1
    assert [one.circle for one in press.log.events(TO_OCC)] == [None]
    assert "too large" in caplog.text


# --- the store, and defects


async def test_a_store_that_was_out_costs_a_duplicate_at_most(press: Press) -> None:
    box = press.outbox
    assert isinstance(box, FakeOutbox)
    await box.enqueue(change(1))
    async with press.running() as publisher:
        await until(lambda: publisher.leading)
        await press.empty()
        box.down = True
        await until(lambda: not publisher.leading, seconds=8)
        box.down = False
        await box.enqueue(change(2))
        await press.empty(8)
    assert len(press.log.told(TO_OCC)) == 2


async def test_routing_that_cannot_be_asked_is_a_store_that_is_out(press: Press) -> None:
    press.routing.down = True
    await press.outbox.enqueue(change(1))
    async with press.running():
        await until(lambda: bool(press.homes.asked))
        assert press.log.told(TO_OCC) == []
        press.routing.down = False
        await press.empty()
    assert len(press.log.told(TO_OCC)) == 1


async def test_a_defect_costs_its_own_circle_only(press: Press) -> None:
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context["message"]))
    )
    press.homes.faults["bre", "1"] = ValueError("a defect")  # type: ignore[assignment]
    await press.outbox.enqueue(change(1))
    await press.outbox.enqueue(change(2))
    async with press.running():
        await until(lambda: len(press.log.told(TO_OCC)) == 1)
        press.homes.faults.clear()
        await press.empty()
    assert reported == ["a change at manager bre cannot be published"]
    assert len(press.log.told(TO_OCC)) == 2


# --- two publishers


async def test_two_publishers_take_turns(press: Press) -> None:
    for version in range(1, 30):
        await press.outbox.enqueue(change(version % 3, str(version)))
    async with press.running() as one, press.running() as two:
        await press.empty()
        assert one.leading != two.leading
    assert len(press.log.events(TO_OCC)) == 29, "nothing was told twice"
    async with press.running() as three:
        await press.outbox.enqueue(change(9))
        await press.empty()
        assert three.leading, "the lead is given back at the end"


async def test_a_publisher_that_stood_still_publishes_no_more(press: Press) -> None:
    """Its lease ran out while the log kept it waiting: another took over, and told all."""
    press.options = replace(press.options, lease=0.6, margin=0.2)
    await press.outbox.enqueue(change(1))
    stuck = FakeLog(gate=asyncio.Event())
    async with press.running(press.publisher(log=stuck)) as one:
        await until(lambda: stuck.attempts == 1)
        box = press.outbox
        assert isinstance(box, FakeOutbox)
        box.lose_lead()
        async with press.running() as two:
            await press.empty()
            assert two.leading
            await press.outbox.enqueue(change(1, "2"))
            await press.empty()
            assert stuck.gate is not None
            stuck.gate.set()
            await until(lambda: not one.leading)
    assert [number for _, number in stuck.told(TO_OCC)] <= [number for _, number in press.log.told(TO_OCC)]
    assert len(press.log.told(TO_OCC)) == 2
    assert stuck.attempts == 1


async def test_hundreds_a_second(press: Press) -> None:
    press.homes.seconds = 0.005
    for number in range(1000):
        await press.outbox.enqueue(change(number, manager=("bre", "occ", "idf", "pac")[number % 4]))
    begin = time.monotonic()
    async with press.running():
        await press.empty(20)
    assert 1000 / (time.monotonic() - begin) > 500
    assert len(press.log.told(TO_OCC)) == 1000


async def test_what_is_in_hand_is_bounded(press: Press) -> None:
    press.options = replace(press.options, most_waiting=50, batch=10)
    press.homes.faults["bre"] = down()
    for number in range(100):
        await press.outbox.enqueue(change(number))
    async with press.running() as publisher:
        await until(lambda: publisher.figures.stalled)
        assert 50 <= sum(publisher.figures.waiting_for.values()) < 60
        press.homes.faults.clear()
        await press.empty()
        assert not publisher.figures.stalled
    assert len(press.log.told(TO_OCC)) == 100


async def test_the_lead_is_given_back_though_the_store_is_out(press: Press) -> None:
    box = press.outbox
    assert isinstance(box, FakeOutbox)
    async with press.running() as publisher:
        await until(lambda: publisher.leading)
        box.down = True
    with pytest.raises(StoreError):
        await box.state()
