"""Two ends that ask each other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.process_pipe import Answer, ProcessPipe
from tests.support.waiting import until


@asynccontextmanager
async def pair(one: Answer, other: Answer) -> AsyncIterator[tuple[ProcessPipe, ProcessPipe]]:
    ends = socket.socketpair()
    pipes = [await ProcessPipe.over(end, answer) for end, answer in zip(ends, (one, other), strict=True)]
    running = [asyncio.create_task(pipe.run()) for pipe in pipes]
    try:
        yield pipes[0], pipes[1]
    finally:
        for task, pipe in zip(running, pipes, strict=True):
            task.cancel()
            await pipe.aclose()
        await asyncio.gather(*running, return_exceptions=True)


async def echoed(question: bytes) -> bytes:
    return b"answer to " + question


async def test_both_ends_ask_at_once_and_each_is_answered() -> None:
    async with pair(echoed, echoed) as (one, other):
        asked = [end.ask(b"%d" % number, seconds=5) for number in range(50) for end in (one, other)]
        assert await asyncio.gather(*asked) == [b"answer to %d" % (number // 2) for number in range(100)]


async def test_a_slow_answer_is_not_waited_for_and_holds_up_no_other() -> None:
    release = asyncio.Event()

    async def slow(question: bytes) -> bytes:
        if question == b"slow":
            await release.wait()
        return question

    async with pair(echoed, slow) as (one, _):
        assert await one.ask(b"slow", seconds=0.05) is None
        release.set()  # its late answer is nobody's
        assert await one.ask(b"quick", seconds=5) == b"quick"


async def test_who_asks_an_end_that_goes_gets_no_answer() -> None:
    async def never(_: bytes) -> bytes:
        return await asyncio.get_running_loop().create_future()

    async with pair(echoed, never) as (one, other):
        asking = asyncio.create_task(one.ask(b"", seconds=30))
        await until(lambda: len(other._answering) == 1)
        await other.aclose()
        assert await asking is None
        assert await one.ask(b"", seconds=5) is None


async def test_large_answers_pass() -> None:
    async def large(_: bytes) -> bytes:
        return b"x" * 3_000_000

    async with pair(echoed, large) as (one, _):
        assert len(await one.ask(b"", seconds=20) or b"") == 3_000_000
