"""Keeping what is in memory as a store has it, told of its changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from broker.ports import Clock

T = TypeVar("T")


async def follow(
    changes: AsyncIterator[T],
    told: Callable[[T], Awaitable[object]],
    refresh: Callable[[], Awaitable[object]],
    clock: Clock,
    *,
    seconds: float,
) -> None:
    """Until cancelled: `told` of each change, and `refresh` every `seconds`.

    The second is the bound for what publish/subscribe may lose: its messages are not stored.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_each(changes, told))
        while True:
            await clock.sleep(seconds)
            await refresh()


async def _each(changes: AsyncIterator[T], told: Callable[[T], Awaitable[object]]) -> None:
    try:
        async for one in changes:
            await told(one)
    finally:
        if isinstance(changes, AsyncGenerator):
            await changes.aclose()
