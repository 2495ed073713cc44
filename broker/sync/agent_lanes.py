"""A batch worked off: each circle's events in their order, different circles side by side, never too many at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from broker.sync.change_log import Position, Record

Work = Callable[[Record], Awaitable[bool]]
"""What is done with a record. False: it was given up, since the process ends; it comes again."""


async def worked_off(records: Sequence[Record], work: Work, *, lanes: int) -> tuple[Position, ...]:
    """How far each partition is done: up to the first record that was given up. Records of one key go one by one."""
    waiting: dict[bytes, deque[int]] = {}
    for place, record in enumerate(records):
        waiting.setdefault(record.key, deque()).append(place)
    keys = deque(waiting.values())
    done = bytearray(len(records))

    async def lane() -> None:
        while keys:
            for place in keys.popleft():
                if not await work(records[place]):
                    return
                done[place] = 1

    async with asyncio.TaskGroup() as group:
        for _ in range(min(lanes, len(keys))):
            group.create_task(lane())
    return finished(records, done)


def finished(records: Sequence[Record], done: Sequence[int]) -> tuple[Position, ...]:
    """The last position of each partition up to which everything is done."""
    ends: dict[int, Position] = {}
    stopped: set[int] = set()
    for record, settled in zip(records, done, strict=True):
        partition = record.position.partition
        if not settled:
            stopped.add(partition)
        elif partition not in stopped:
            ends[partition] = record.position
    return tuple(ends.values())
