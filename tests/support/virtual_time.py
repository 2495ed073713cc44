"""An event loop whose time jumps to the next timer instead of waiting for it: seconds of waiting, exact, in no time.

    result = run_virtually(scenario)     # `scenario(clock)`: a coroutine function

For what speaks to nothing but this process: a socket's answer would come too late. A loop that waits for nothing at all
fails at once, in place of hanging.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("nothing is left to wait for")
            self.now += max(0.0, timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


class LoopClock:
    """The `Clock` port on the running loop's time."""

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_virtually(scenario: Callable[[LoopClock], Awaitable[T]]) -> T:
    async def main() -> T:
        made = await scenario(LoopClock())
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return made

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
