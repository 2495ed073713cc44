"""Processes of the benchmark: started, asked and ended by the one that measures.

A child is a module run with `python -m`. It says what the parent must know in one line of JSON, then answers one line
for each line it is sent, and ends when its input does, so that none outlives the benchmark.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.commands.terminal import run

START_SECONDS = 30.0

Command = Callable[[str], object]


class Child:
    """A running child, from the parent's side. `started` is what it said of itself."""

    def __init__(self, module: str, argument: object) -> None:
        self.module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(argument)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.started = self._line()

    def ask(self, command: str, argument: str = "") -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command} {argument}\n")
        return self._line()

    def cpu(self) -> float:
        """Seconds of CPU time, user and system, of all its threads so far."""
        return float(self.ask("cpu"))

    def resident(self) -> int:
        """Bytes of memory that it holds now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def end(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

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
    """The child's side: answer the parent until it closes the line. `cpu` is always understood."""
    known: dict[str, Command] = {"cpu": lambda _: time.process_time(), **(commands or {})}
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        name, _, argument = line.decode().strip().partition(" ")
        say(known[name](argument))


def main(work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """A child's `main`: `work` with its argument, on the event loop that `cds-broker serve` uses."""
    run(work(json.loads(sys.argv[1])))
