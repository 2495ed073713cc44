"""Two processes of one broker that ask each other: a socket pair, over which either side puts questions.

A frame is its length (4 bytes, big-endian, of what follows it), its kind (1 byte), the number of the question (4 bytes) and
the content. Who started the other end trusts it: they are one program, on one machine, of one user.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

_HEAD: Final = struct.Struct(">IBI")
_ASK, _ANSWER = 0, 1
_MOST: Final = 64 << 20

Answer = Callable[[bytes], Awaitable[bytes]]
"""What is answered to a question."""


class ProcessPipe:
    """One end. `run` reads until the other is closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[bytes | None]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    async def over(cls, end: socket.socket, answer: Answer) -> ProcessPipe:
        """`end` is closed with it."""
        end.settimeout(0)
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer, answer)

    async def ask(self, question: bytes, *, seconds: float) -> bytes | None:
        """None where the other end is gone, or did not answer in time."""
        number = next(self._numbers) & 0xFFFFFFFF
        waiting: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = waiting
        try:
            async with asyncio.timeout(seconds):
                await self._send(_ASK, number, question)
                return await waiting
        except (TimeoutError, OSError):
            return None
        finally:
            del self._asked[number]

    async def run(self) -> None:
        """Until the other end is closed, or cancelled. Whoever still waits gets no answer."""
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    await self._take()
        finally:
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_result(None)
            await self.aclose()

    async def aclose(self) -> None:
        for task in self._answering:
            task.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _take(self) -> None:
        length, kind, number = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
        if length > _MOST:
            raise OSError("a frame that no end of ours sends")
        content = await self._reader.readexactly(length)
        if kind == _ASK:
            task = asyncio.create_task(self._reply(number, content))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        waiting = self._asked.get(number)  # None: nobody waits for it any more
        if waiting is not None and not waiting.done():
            waiting.set_result(content)

    async def _reply(self, number: int, question: bytes) -> None:
        with suppress(OSError):
            await self._send(_ANSWER, number, await self._answer(question))

    async def _send(self, kind: int, number: int, content: bytes) -> None:
        self._writer.write(_HEAD.pack(len(content), kind, number) + content)
        await self._writer.drain()
