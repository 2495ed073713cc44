"""What the store does wrong becomes one error, and nothing that it does hides a cancellation."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from broker.errors import StoreError
from registry.redis_connection import store_errors


@pytest.mark.parametrize("error", [RedisConnectionError("x"), TimeoutError(), ConnectionResetError()])
async def test_failures_are_one_error(error: Exception) -> None:
    with pytest.raises(StoreError), store_errors():
        raise error


async def test_a_cancellation_that_the_client_lost_ends_the_work() -> None:
    """As `asyncio.wait_for` loses it where what it waits for is done in the same moment (Python 3.11)."""
    started = asyncio.Event()
    rounds = 0

    async def loses_it() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async def listen() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            with store_errors():
                await loses_it()

    task = asyncio.create_task(listen())
    await started.wait()
    task.cancel()
    await asyncio.wait([task], timeout=2)
    ended = task.cancelled()
    task.cancel()
    assert ended
    assert rounds == 1
