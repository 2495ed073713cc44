"""How long an event loop is busy at a stretch: each step of a task, and each turn of the loop, while it is watched.

- A *step* is what a task does between two awaits that wait: nobody else is served meanwhile. Each is timed, by a task
  factory that stands around the coroutines of the tasks that are made while the loop is watched.
- A *turn* is all that the loop does before it looks at its timers again: steps of several tasks, and what the transport
  does. A heartbeat is due every millisecond; a beat that is late was kept waiting by one turn.

Both are without what the program cannot help: the time for which the loop's thread was ready to run and the kernel ran
another (`/proc/…/schedstat` counts it). Where there is no such count, what is taken is the thread's CPU time: a step that
waits without computing is then seen in `late_ms` alone. What a hypervisor takes away is in all figures. The bare servers
of the benchmarks are watched as well: what is long there is long on this machine.

A thread looks at what the loop is in, whenever that lasts for more than 10 ms.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, thread_time
from types import FrameType
from typing import Any

LIMIT_MS = 20.0
"""Milliseconds that one step may take."""

_TICK = 0.001
_LONG = 0.010  # seconds from which on the thread looks, and steps are counted
_TOO_LONG = LIMIT_MS / 1e3
_NOTED = 0.002  # seconds that a beat is late; less is what timers do by themselves
_LOOKS = 0.003
_TOGETHER, _ATTEMPTS = 0.0002, 5  # seconds between two clocks that are read at once
_DEPTH = 7
_MACHINERY = ("asyncio.", "uvloop.", "tests.benchmarks.", "runpy.", "__main__.", "broker.commands.terminal.")


@dataclass(frozen=True, slots=True)
class Watched:
    """Milliseconds. `step_ms`: the longest step; `step`: the task's coroutine. `over_10`, `over_20`: steps that took longer.

    `running`: where it was in that step, innermost first, as often as it was seen there; empty for a step of less than
    10 ms, or where the interpreter let nobody look. `collecting_ms`: the part of Python's garbage collector in it.
    `turn_ms`: the longest turn; `late_ms`: the latest beat, with what the kernel gave to others. `method`: see above.
    """

    seconds: float
    steps: int
    step_ms: float
    step: str
    over_10: int
    over_20: int
    running: list[str]
    collecting_ms: float
    turn_ms: float
    late_ms: float
    method: str

    @property
    def told(self) -> str:
        """What the longest step was in, in a few words."""
        if self.collecting_ms > self.step_ms / 2:
            return f"garbage collector, in {self.step}"
        return self.running[0] if self.running else self.step


class Watchdog:
    """Of the loop and the thread that it is started in. One at a time; `start` begins anew."""

    def __init__(self) -> None:
        self._on = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._on:
            self.told()
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._clock = _OwnTime.of_this_thread()
        self._begun = perf_counter()
        self._steps = self._over_10 = self._over_20 = 0
        self._longest = self._turn = self._late = self._collecting = 0.0
        self._collected = self._collection_begun = 0.0
        self._step_begun: float | None = None
        self._name, self._running = "", list[str]()
        self._stacks: list[tuple[str, ...]] = []
        self._on = True
        self._stop.clear()
        gc.callbacks.append(self._collector)
        self._factory = self._loop.get_task_factory()
        self._loop.set_task_factory(self._task)  # type: ignore[arg-type]  # typeshed wants a generic function
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
        self._set()
        self._thread.start()

    def told(self) -> Watched:
        """What was seen since `start`; the watch ends."""
        self._judge()  # a turn that lasts until now counts
        self._on = False
        self._handle.cancel()
        self._loop.set_task_factory(self._factory)
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        gc.callbacks.remove(self._collector)
        self._clock.close()
        return Watched(
            seconds=perf_counter() - self._begun,
            steps=self._steps,
            step_ms=self._longest * 1e3,
            step=self._name,
            over_10=self._over_10,
            over_20=self._over_20,
            running=self._running,
            collecting_ms=self._collecting * 1e3,
            turn_ms=max(self._turn, self._longest) * 1e3,
            late_ms=self._late * 1e3,
            method=self._clock.method,
        )

    # --- steps

    def _task(
        self, loop: asyncio.AbstractEventLoop, made: Coroutine[Any, Any, Any], **named: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(_Timed(made, self) if asyncio.iscoroutine(made) else made, loop=loop, **named)

    def begin(self) -> Mark:
        """A step begins; what its end is told. Steps do not nest."""
        self._stacks, self._collected = [], 0.0
        mark = self._clock.mark()
        self._step_begun = mark[0]
        return mark

    def end(self, mark: Mark, name: str) -> None:
        begun, self._step_begun = self._step_begun, None
        if begun is None or not self._on:
            return
        self._steps += 1
        took = perf_counter() - begun
        if took <= self._longest and took < _LONG:
            return
        own = self._clock.own(mark)
        self._over_10 += own > _LONG
        self._over_20 += own > _TOO_LONG
        if own > self._longest:
            self._longest, self._name = own, name
            self._collecting, self._running = min(self._collected, own), _told(self._stacks)

    def _collector(self, phase: str, _: dict[str, Any]) -> None:
        now = perf_counter()
        if phase == "start":
            self._collection_begun = now
        else:
            self._collected += now - self._collection_begun

    # --- turns

    def _set(self) -> None:
        self._mark = self._clock.mark()
        self._due = self._mark[0] + _TICK
        self._handle = self._loop.call_later(_TICK, self._beat)

    def _beat(self) -> None:
        if self._on:
            self._judge()
            self._set()

    def _judge(self) -> None:
        late = perf_counter() - self._due
        if late > _NOTED:
            self._late = max(self._late, late)
            self._turn = max(self._turn, self._clock.own(self._mark) - _TICK)

    # --- in the thread

    def _look(self) -> None:
        while not self._stop.wait(_LOOKS):
            begun = self._step_begun
            if begun is not None and perf_counter() - begun > _LONG:
                frame = sys._current_frames().get(self._ident)
                if frame is not None:
                    self._stacks.append(_stack(frame))


class _Timed(Coroutine[Any, Any, Any]):
    """A coroutine, each step of which is timed."""

    def __init__(self, inner: Coroutine[Any, Any, Any], watchdog: Watchdog) -> None:
        self._inner, self._watchdog = inner, watchdog
        self.__qualname__ = self.__name__ = getattr(inner, "__qualname__", type(inner).__name__)

    def send(self, value: Any) -> Any:
        mark = self._watchdog.begin()
        try:
            return self._inner.send(value)
        finally:
            self._watchdog.end(mark, self.__qualname__)

    def throw(self, *raised: Any) -> Any:
        mark = self._watchdog.begin()
        try:
            return self._inner.throw(*raised)
        finally:
            self._watchdog.end(mark, self.__qualname__)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


Mark = tuple[float, float]
"""An instant of `perf_counter`, and the seconds that the thread had waited until then (or computed, where the kernel does
not count waiting)."""


class _OwnTime:
    """How much of a span was not spent waiting for a processor, for one thread."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self.method = "cpu time" if descriptor is None else "schedstat"

    @classmethod
    def of_this_thread(cls) -> _OwnTime:
        path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        try:
            return cls(os.open(path, os.O_RDONLY))
        except OSError:
            return cls(None)

    def mark(self) -> Mark:
        """Both clocks at one instant: read again where the thread lost the processor in between."""
        for _ in range(_ATTEMPTS):
            at = perf_counter()
            counted = self._read()
            if perf_counter() - at < _TOGETHER:
                break
        return at, counted

    def own(self, since: Mark) -> float:
        """Seconds of the thread's own since a mark."""
        at, counted = self.mark()
        span, more = at - since[0], counted - since[1]
        return min(span, more) if self._descriptor is None else max(0.0, span - more)

    def _read(self) -> float:
        if self._descriptor is None:
            return thread_time()
        return int(os.pread(self._descriptor, 64, 0).split()[1]) / 1e9

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """Innermost first, without the loop's own machinery."""
    found: list[str] = []
    while frame is not None and len(found) < _DEPTH:
        module = str(frame.f_globals.get("__name__", "?"))
        if not f"{module}.".startswith(_MACHINERY):
            found.append(f"{module}.{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(found)


def _told(stacks: list[tuple[str, ...]]) -> list[str]:
    """The places that were seen most often, each by its innermost frames."""
    counted = Counter(" ← ".join(stack[:4]) for stack in stacks if stack)
    return [f"{where} (×{count})" for where, count in counted.most_common(3)]


class Commands:
    """What a child answers to `watch` and `watched`."""

    def __init__(self) -> None:
        self._dog = Watchdog()

    def watch(self, _: str) -> None:
        self._dog.start()

    def watched(self, _: str) -> dict[str, Any]:
        return asdict(self._dog.told())
