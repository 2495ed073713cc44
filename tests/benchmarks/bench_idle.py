"""Memory of a worker that has nothing to do: after its start, after a first search, after some hundred of them.

`cds-broker serve`, as an operator starts it with the settings' defaults (synchronisation on Redis Streams, the locator
filled, audit in files), over 13 registered managers; as one worker, and as two. Whatever process stands beside the workers
is told too. Resident memory (RSS)
counts every page that a process holds, proportional (PSS) a shared one in part, own (USS) none of them. Beside it the bare
proxy of the benchmarks: Python with aiohttp and uvloop, which does nothing.

Run with `python -m tests.benchmarks idle`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from adapters.embedded_valkey import EmbeddedValkey
from tests.benchmarks.bench_search import _search, is_covered
from tests.benchmarks.canned_managers import MANAGERS
from tests.benchmarks.children import child
from tests.benchmarks.comparing import Effort, OnCase
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import closed_loop
from tests.benchmarks.processes import Memory, memory
from tests.benchmarks.served import Served, served
from tests.benchmarks.tables import table
from tests.support.waiting import until

LIMIT_MB = 120.0
"""Megabytes (10⁶ bytes) of resident memory of one idle worker, at most."""

_SEARCHES = 300
_CALM = 0.5  # seconds between two looks
_LOOKS = 20
_MOVING = 200_000  # bytes: less from one look to the next is calm


@dataclass(frozen=True, slots=True)
class State:
    """Of one process. `workers`: as how many it was started; `when`: after its start, and so on."""

    workers: int
    process: str
    when: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class Idle:
    """`bare`: of a process that serves nothing."""

    states: list[State]
    bare: Memory

    def figures(self) -> Iterator[Figure]:
        for one in self.states:
            name = f"{one.process} of {one.workers}, {one.when}"
            yield Figure(f"{name}: resident", one.memory.resident / 1e6, "MB")

    def beside(self, when: str) -> float:
        """Megabytes, resident, of what stands beside the worker that is alone."""
        alone = [one for one in self.states if one.workers == 1 and one.when == when]
        return sum(one.memory.resident for one in alone if one.process != "worker") / 1e6

    def worker(self, when: str) -> Memory | None:
        """Of the worker that is alone."""
        alone = (one for one in self.states if one.workers == 1 and one.when == when)
        return next((one.memory for one in alone if one.process == "worker"), None)


STARTED, SEARCHED, DRIVEN = "after its start", "after a first search", f"after {_SEARCHES} searches"


async def run(effort: Effort, on_case: OnCase) -> Idle:
    """Every case. `on_case` hears its name as it begins."""
    states: list[State] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="cds-bench-")))
        managers = stack.enter_context(child("tests.benchmarks.canned_located", {}))
        valkey = EmbeddedValkey(directory)
        redis = valkey.start()
        stack.callback(valkey.stop)
        bases = managers.started["bases"]
        bare = stack.enter_context(child("tests.benchmarks.bare_proxy", {"base": bases[0]}))
        _ = bare.started
        for workers in effort.some((1, 2)):
            on_case(f"{workers} idle worker{'s' if workers > 1 else ''}")
            async with served(redis, directory, f"idle{workers}", bases, workers=workers) as broker:
                states += [one async for one in _states(broker, workers, effort)]
        return Idle(states, memory(bare.pid))


async def _states(broker: Served, workers: int, effort: Effort) -> AsyncIterator[State]:
    names = {
        pid: "worker" if workers == 1 else f"worker {number}" for number, pid in enumerate(broker.workers, 1)
    }
    names |= {pid: "starts them" if pid == broker.pid else "beside" for pid in broker.others}
    await until(partial(is_covered, broker.port), seconds=60.0)
    target = _search(broker.port, 1)
    whens = ((STARTED, 0), (SEARCHED, 1), (DRIVEN, _SEARCHES))
    for when, searches in whens[:2] if effort.smoke else whens:
        if searches:
            # On several connections, so that each worker gets some of them.
            await closed_loop(target, connections=min(16, searches), requests=searches)
        for pid, name in names.items():
            yield State(workers, name, when, await _settled(pid, effort))


async def _settled(pid: int, effort: Effort) -> Memory:
    """Once it moves no more, or after some seconds."""
    last = memory(pid)
    for _ in range(1 if effort.smoke else _LOOKS):
        await asyncio.sleep(0.05 if effort.smoke else _CALM)
        now = memory(pid)
        if abs(now.resident - last.resident) < _MOVING:
            return now
        last = now
    return last


def show(idle: Idle, console: Console) -> None:
    shown = table(
        f"Memory of an idle broker over {MANAGERS} managers, MB", "", "", "resident", "proportional", "own"
    )
    for one in idle.states:
        shown.add_row(f"{one.process} of {one.workers}", one.when, *_cells(one.memory))
    shown.add_row("bare proxy", "after its start", *_cells(idle.bare))
    shown.caption = f"Goal: at most {LIMIT_MB:.0f} MB resident, one worker."
    console.print(shown)


def _cells(one: Memory) -> Iterator[str]:
    for figure in (one.resident, one.proportional, one.own):
        yield f"{figure / 1e6:.1f}"
