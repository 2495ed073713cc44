"""Where those of one process who want the same wait for each other, before they cost a manager anything.

It is no part of what keeps a circle single (`claims` is, on every node); it keeps two hundred who try at once from asking
managers two hundred times for what the first of them finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from broker.errors import RequestError
from broker.federation.context import RequestContext
from broker.federation.writing.records import Marker


@dataclass(slots=True)
class Line:
    """Those who wait for one name. `marker`: what one of them found, while others waited."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    marker: Marker | None = None


class Turnstile:
    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    @asynccontextmanager
    async def turn(self, name: str | None, context: RequestContext) -> AsyncIterator[Line]:
        """One at a time for each name; at once where there is none. `write.being-made` where it takes too long."""
        if name is None:
            yield Line()
            return
        line = self._lines.setdefault(name, Line())
        line.waiting += 1
        try:
            await self._wait(line, context)
            try:
                yield line
            finally:
                line.lock.release()
        finally:
            line.waiting -= 1
            if not line.waiting:
                self._lines.pop(name, None)

    async def _wait(self, line: Line, context: RequestContext) -> None:
        if not line.lock.locked():
            await line.lock.acquire()
            return
        try:
            async with asyncio.timeout(max(0.0, context.deadline - context.clock.monotonic())):
                await line.lock.acquire()
        except TimeoutError:
            raise RequestError("write.being-made") from None
