"""`GET /console/events`: server-sent events that say what changed, at most one a second; never anything of a person.

An event is named by its topic; its data is JSON: `changed`, the lines that are other than they were told last, by name,
None for one that is gone; `urgent`, whether a `state` is among what changed. Pages take it as a hint to look again.
(WHATWG HTML, 9.2, "Server-sent events".)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import web

from broker.console.frame import HEADERS
from broker.errors import LimitError
from broker.gateway.fhir_request import PRINCIPAL
from broker.ports import Clock

EVERY: Final = 1.0
HEARTBEAT: Final = 15.0
LONGEST: Final = 900.0
"""Seconds for which one is served: whoever follows on comes again, and shows who they are."""
PATIENCE: Final = 30.0
"""Seconds for which somebody who asked for a page counts as looking on."""
MOST: Final = 16
"""Streams of one caller: a client, or a person behind it."""

Line = Mapping[str, str | int | float | None]
Look = Callable[[], Mapping[str, Line]]
"""The lines of a topic as they are now, from memory."""


@dataclass(slots=True)
class Live:
    """`topics`: what is followed. `streams`: how many each caller has open. `looked`: when a page was last asked for that is
    followed (monotonic): with several workers its stream may be another's."""

    clock: Clock
    topics: Mapping[str, Look]
    streams: Counter[str] = field(default_factory=Counter)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    looked: float | None = None

    @property
    def watched(self) -> bool:
        """Whether anybody looks on."""
        recent = self.looked is not None and self.clock.monotonic() - self.looked < PATIENCE
        return recent or self.streams.total() > 0

    def look(self) -> None:
        """Somebody does."""
        self.looked = self.clock.monotonic()

    async def end(self, _: object = None) -> None:
        """End every stream, so that a shutdown does not wait for browsers."""
        self.closing.set()

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get("/console/events", self._follow)

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        caller = request[PRINCIPAL].caller
        if self.streams[caller] >= MOST:
            raise LimitError("console.streams", limit=MOST, retry_after=5)
        self.streams[caller] += 1
        try:
            response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
            response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
            await response.prepare(request)
            await self._tell(response)
        finally:
            self.streams[caller] -= 1
            if not self.streams[caller]:
                del self.streams[caller]
        return response

    async def _tell(self, response: web.StreamResponse) -> None:
        told = {name: dict(look()) for name, look in self.topics.items()}
        await response.write(b"retry: 2000\n\n")
        begun = spoken = self.clock.monotonic()
        while not await self._over() and self.clock.monotonic() - begun < LONGEST:
            news = [
                event for name, look in self.topics.items() if (event := _event(name, told[name], look()))
            ]
            if news:
                await response.write(b"".join(news))
                spoken = self.clock.monotonic()
            elif self.clock.monotonic() - spoken >= HEARTBEAT:
                await response.write(b": still here\n\n")
                spoken = self.clock.monotonic()

    async def _over(self) -> bool:
        """True at shutdown; False when it is time to look again."""
        try:
            async with asyncio.timeout(EVERY):
                await self.closing.wait()
        except TimeoutError:
            return False
        return True


def _event(name: str, told: dict[str, Line], now: Mapping[str, Line]) -> bytes | None:
    """What is other than `told`, which is brought up to date."""
    changed: dict[str, Line | None] = {key: line for key, line in now.items() if told.get(key) != line}
    changed |= dict.fromkeys(told.keys() - now.keys())
    if not changed:
        return None
    urgent = any(
        line is None or told.get(key, {}).get("state") != line.get("state") for key, line in changed.items()
    )
    told.clear()
    told.update(now)
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"urgent": urgent, "changed": changed}))
