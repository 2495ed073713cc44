"""Processes of the benchmark: started, asked and ended by the one that measures.

A child is a module run with `python -m`. It says what the parent must know in one line of JSON, then answers one line
for each line it is sent, and ends when its input does, so that none outlives the benchmark. Several start at the same time:
what one says of itself is waited for when it is first needed.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from broker.commands.terminal import run
from tests.benchmarks.processes import Memory, memory
from tests.benchmarks.watchdog import Commands, Watched

START_SECONDS = 30.0

Command = Callable[[str], object]


def _program(module: str, argument: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(argument)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,  # Ctrl-C is for who started it
    )


starting: list[Callable[[str, object], Any]] = []
"""How children are started, the last one counts; else each is a program of its own. See `zygote`."""


class Child:
    """A running child, from the parent's side."""

    def __init__(self, module: str, argument: object) -> None:
        self.module = module
        self._started: Any = None
        self._process: Any = (starting[-1] if starting else _program)(module, argument)

    @property
    def started(self) -> Any:
        """What it said of itself. The first time this waits until it has; raises where it ended instead."""
        if self._started is None:
            self._started = self._line()
        return self._started

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def ask(self, command: str, argument: str = "") -> Any:
        _ = self.started
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command} {argument}\n")
        return self._line()

    def cpu(self) -> float:
        """Seconds of CPU time, user and system, of all its threads so far."""
        return float(self.ask("cpu"))

    def watch(self) -> None:
        """Begin to watch its loop, which costs it a little: see `watchdog`."""
        self.ask("watch")

    def watched(self) -> Watched:
        return Watched(**self.ask("watched"))

    def memory(self) -> Memory:
        return memory(self.pid)

    def resident(self) -> int:
        """Bytes of memory that it holds now."""
        return self.memory().resident

    def end(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.module} ended with {self._process.wait()}")
        return json.loads(line)


@contextmanager
def child(module: str, argument: object) -> Iterator[Child]:
    """A child for as long as the context lasts."""
    one = Child(module, argument)
    try:
        yield one
    finally:
        one.end()


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


async def serve_commands(commands: Mapping[str, Command] | None = None) -> None:
    """The child's side: answer the parent until it closes the line. `cpu`, `watch`, `watched` are always understood.

    What a command gives to be awaited is, before the next one is read."""
    watch = Commands()
    known: dict[str, Command] = {
        "cpu": lambda _: time.process_time(),
        "watch": watch.watch,
        "watched": watch.watched,
        **(commands or {}),
    }
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        name, _, argument = line.decode().strip().partition(" ")
        told = known[name](argument)
        say(await told if inspect.isawaitable(told) else told)


def main(work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """A child's `main`: `work` with its argument, on the event loop that `cds-broker serve` uses."""
    run(work(json.loads(sys.argv[1])))
