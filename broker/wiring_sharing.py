"""What the processes of one broker tell each other, in one of them, put together. A part of the composition root."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from adapters.process_pipe import ProcessPipe
from broker.observability.outlooks import Outlooks, OwnOutlook, SharedOutlook
from broker.observability.told import METRICS, OUTLOOK, READY, TELL, Outlook, Told, families
from broker.ports import Clock

_PATIENCE: Final = 1.5
"""Seconds for who asks all the others."""


@dataclass(slots=True)
class Sharing:
    """`registry`: the figures of this process. `pipe`: to who knows what all tell; None in one that is the whole broker."""

    own: OwnOutlook
    outlooks: Outlooks = field(init=False)
    registry: CollectorRegistry | None = None
    pipe: ProcessPipe | None = None

    def __post_init__(self) -> None:
        self.outlooks = self.own

    async def join(self, end: socket.socket, clock: Clock, stack: AsyncExitStack) -> None:
        """From now on this process is one of several. It leaves with the stack."""
        pipe = self.pipe = await ProcessPipe.over(end, self._answer)
        self.outlooks = SharedOutlook(lambda: pipe.ask(OUTLOOK, seconds=_PATIENCE), clock, self.own)
        following = asyncio.create_task(pipe.run())
        stack.push_async_callback(pipe.aclose)
        stack.callback(following.cancel)

    async def serves(self) -> None:
        if self.pipe is not None:
            await self.pipe.ask(READY, seconds=_PATIENCE)

    async def page(self) -> bytes:
        """Of all of them; of this one where nobody else answers."""
        told = None if self.pipe is None else await self.pipe.ask(METRICS, seconds=_PATIENCE)
        if told is not None:
            return told
        return b"" if self.registry is None else generate_latest(self.registry)

    async def _answer(self, question: bytes) -> bytes:
        if question != TELL:
            raise ValueError("a question that nobody puts")
        own = self.own
        outlook = Outlook.of(own.health(), own.traffic().known, own.waiting_for())
        figures = () if self.registry is None else self.registry.collect()  # None: it is only just starting
        return msgspec.msgpack.encode(Told(families(figures), outlook))
