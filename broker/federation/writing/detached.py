"""Work that goes on when its client leaves.

A search that nobody waits for is cancelled. A write must not be: half of it may have been sent. So it runs beside the
request, and a stopping worker waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Detached:
    """`patience`: seconds that a stopping worker waits for what is under way."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; where the caller is cancelled the work is not."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Wait for what is under way; then end it: its intent stays, and the settler finds out."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._patience)
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited was told; where nobody did it is not to be reported as never seen
