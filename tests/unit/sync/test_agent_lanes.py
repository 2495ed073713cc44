"""A batch worked off: order per key, bounded parallelism, and how far each partition is done."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from broker.sync.agent_lanes import finished, worked_off
from broker.sync.change_log import Position, Record


def record(place: int, key: str, partition: int = 0) -> Record:
    return Record(key.encode(), b"", (), Position(partition, str(place)), 0.0)


async def test_one_key_one_after_the_other_different_keys_side_by_side() -> None:
    dice = random.Random(3)
    records = [record(place, dice.choice("abcdefgh")) for place in range(80)]
    running: set[bytes] = set()
    most, order = 0, []

    async def work(one: Record) -> bool:
        nonlocal most
        assert one.key not in running
        running.add(one.key)
        most = max(most, len(running))
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        running.remove(one.key)
        order.append(one)
        return True

    ends = await worked_off(records, work, lanes=3)
    assert most == 3
    assert ends == (records[-1].position,)
    for key in {one.key for one in records}:
        mine = [int(one.position.offset) for one in order if one.key == key]
        assert mine == sorted(mine)


async def test_what_is_given_up_holds_back_its_partition_alone() -> None:
    records = [record(0, "a", 0), record(1, "b", 1), record(2, "c", 0), record(3, "d", 1)]

    async def work(one: Record) -> bool:
        return one.key != b"c"

    # The lane that gave up takes nothing more; the other one goes on.
    ends = await worked_off(records, work, lanes=2)
    assert set(ends) == {records[0].position, records[3].position}


async def test_an_earlier_event_of_the_same_circle_that_is_given_up_keeps_the_later_from_being_tried() -> (
    None
):
    seen = []

    async def work(one: Record) -> bool:
        seen.append(one.position.offset)
        return False

    assert await worked_off([record(0, "a"), record(1, "a")], work, lanes=4) == ()
    assert seen == ["0"]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_nothing_is_committed_behind_a_gap(told: list[tuple[int, bool]]) -> None:
    records = [record(place, "k", partition) for place, (partition, _) in enumerate(told)]
    ends = {one.partition: int(one.offset) for one in finished(records, [done for _, done in told])}
    for partition in range(4):
        mine = [(place, done) for place, (where, done) in enumerate(told) if where == partition]
        whole = [
            place for place, _ in mine[: next((n for n, (_, done) in enumerate(mine) if not done), len(mine))]
        ]
        assert ends.get(partition) == (whole[-1] if whole else None)
