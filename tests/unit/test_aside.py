from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from broker.aside import LARGE, aside

_who = contextvars.ContextVar("_who", default="nobody")


def _seen(_body: bytes) -> tuple[str, str]:
    return threading.current_thread().name, _who.get()


async def test_what_is_small_is_computed_at_once() -> None:
    assert await aside(LARGE, _seen, b"") == (threading.current_thread().name, "nobody")


async def test_what_is_large_is_computed_in_one_thread_with_the_context_of_who_asks() -> None:
    _who.set("somebody")
    seen = await asyncio.gather(*(aside(LARGE + 1, _seen, b"") for _ in range(8)))
    assert {*seen} == {("aside_0", "somebody")}


async def test_the_loop_goes_on_meanwhile() -> None:
    beats, done = 0, threading.Event()

    async def beat() -> None:
        nonlocal beats
        while beats < 5:
            await asyncio.sleep(0)
            beats += 1
        done.set()

    beating = asyncio.create_task(beat())
    assert await aside(LARGE + 1, done.wait, 10.0)
    await beating


async def test_what_it_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await aside(LARGE + 1, divmod, 1, 0)
