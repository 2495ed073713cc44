"""Ending tasks for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

_AGAIN = 0.5


async def end(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel tasks until they have ended: redis-py loses a cancellation that comes while it connects."""
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: what matters of it was raised already
