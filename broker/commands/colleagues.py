"""What the processes of one broker know together, for whichever of them is asked for it.

The parent asks them all and answers each: it outlives them, so that what they counted is not lost with them, and putting
figures together holds up nobody's requests.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Final

import msgspec

from adapters.process_pipe import ProcessPipe
from broker.observability.together import Together, page
from broker.observability.told import METRICS, OUTLOOK, READY, TELL, Told
from broker.ports import Clock

_EVERY: Final = 5.0
"""Seconds between two looks that nobody asked for: what is lost of the counts of one that is killed."""
_PATIENCE: Final = 0.5
"""Seconds for one of them to tell: who is slower is shown as it was."""
_FRESH: Final = 0.2


@dataclass(slots=True)
class Colleagues:
    """`ready`: set once one of them serves."""

    clock: Clock
    together: Together = field(default_factory=Together)
    pipes: dict[str, ProcessPipe] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    looked: float | None = None

    async def follow(self, name: str, end: socket.socket) -> None:
        """A process, until it closes its end."""
        pipe = await ProcessPipe.over(end, self._answer)
        self.together.gone(name)  # its predecessor, whose end may be read to its end only now
        self.pipes[name] = pipe
        try:
            await pipe.run()
        finally:
            if self.pipes.get(name) is pipe:
                del self.pipes[name]
                self.together.gone(name)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.clock.sleep(_EVERY)
            await self._look()

    async def _answer(self, question: bytes) -> bytes:
        if question == READY:
            self.ready.set()
            return b""
        await self._look()
        if question == OUTLOOK:
            return msgspec.msgpack.encode(self.together.outlook())
        if question == METRICS:
            return page(self.together.families())
        raise ValueError("a question that nobody puts")

    async def _look(self) -> None:
        async with self.looking:
            now = self.clock.monotonic()
            if self.looked is not None and now - self.looked < _FRESH:
                return
            await asyncio.gather(*(self._ask(name, pipe) for name, pipe in [*self.pipes.items()]))
            self.looked = self.clock.monotonic()

    async def _ask(self, name: str, pipe: ProcessPipe) -> None:
        told = await pipe.ask(TELL, seconds=_PATIENCE)
        if told is not None and self.pipes.get(name) is pipe:
            self.together.tell(name, msgspec.msgpack.decode(told, type=Told))
