"""What is large is computed beside the loop, so that nobody else waits for it.

A thread that computes in Python gives the interpreter back after a while to whoever asks for it. The loop asks anew after
each call of the kernel, several times in one step; so that while is made a short one. There is one such thread: several
would have the loop wait for each of them in turn.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE: Final = 65_536
"""Bytes of text: to read, check or write more at once takes milliseconds."""

_TURN: Final = 0.001
"""Seconds. With Python's 5 ms, five calls of the kernel in one step make 25 in which nobody is served (`make bench`)."""


async def aside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives or raises; in the thread where `size` bytes are large. It must touch nothing that others change."""
    if size <= LARGE:
        return work(*args, **kwargs)
    context = contextvars.copy_context()
    called = partial(context.run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_thread(), called)


@cache
def _thread() -> ThreadPoolExecutor:
    sys.setswitchinterval(_TURN)
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")
