"""Brokers and managers as processes of their own, to be killed, stopped and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cli_process import CliProcess, below, cli, worker_of
from tests.support.ports import lasting_port


@dataclass
class Program:
    """`cds-broker` with these arguments. `ready` is in the line by which it says that it serves.

    `base_url`: known beforehand, or else taken from that line at each start. `module`: see `cli`.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    ready: str
    base_url: str = ""
    module: str = "broker"
    _stack: AsyncExitStack | None = None
    _running: CliProcess | None = None
    said: list[str] = field(default_factory=list)
    """What the processes that ended had written to stderr."""

    async def start(self) -> None:
        """Start, and wait until it serves."""
        assert self._stack is None, "it runs already"
        self._stack = AsyncExitStack()
        self._running = await self._stack.enter_async_context(
            cli(*self.arguments, environment=self.environment, module=self.module)
        )
        line = await self._running.line(self.ready)
        if not self.base_url:
            self.base_url = line[line.index("http://") :].split()[0]

    def send_signal(self, what: signal.Signals) -> None:
        assert self._running is not None
        self._running.signal(what)

    def kill(self) -> None:
        """SIGKILL, at once, with all that it has started; does nothing where it has ended."""
        if self.runs:
            started = below(self.pid)
            self.send_signal(signal.SIGKILL)
            for pid in started:
                _kill(pid)

    def kill_one(self, said: str) -> None:
        """SIGKILL for the last of its processes in whose log this is; does nothing where it has ended."""
        lines = [] if self._running is None else [line for line in self._running.stderr if said in line]
        if self.runs and lines:
            _kill(worker_of(lines[-1]))

    @property
    def runs(self) -> bool:
        return self._running is not None and self._running.process.returncode is None

    @property
    def pid(self) -> int:
        """Of the process that was started, which may have more below it."""
        assert self._running is not None
        return self._running.process.pid

    @property
    def stderr(self) -> list[str]:
        """Of all its processes."""
        return [*self.said, *(self._running.stderr if self._running else ())]

    async def gone(self) -> None:
        """Kill what runs, and wait until it is gone."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()
        if self._running is not None:
            self.said += self._running.stderr
            self._running = None

    async def stopped(self) -> int:
        """SIGTERM, and wait for the orderly end; the exit code."""
        assert self._running is not None
        running = self._running
        running.signal(signal.SIGTERM)
        code = await running.ended()
        await self.gone()
        return code


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def sandbox_program(region: str) -> Program:
    """A manager in a box, empty. It is not to be started twice: what it held would be gone."""
    return Program(("sandbox", "--port", "0", "--region", region, "--seed", "0"), {}, "Sandbox Gestionnaire")


def broker_program(file: Path, redis_url: str, directory: Path, **settings: str) -> Program:
    """A broker over the managers of a Gestionnaires file, on a port that stays the same.

    `settings`: more of them, without `CDS_` and in lower case.
    """
    port = lasting_port()
    given = {
        "auth": "none",
        "redis_url": redis_url,
        "data_dir": str(directory),
        "locator_secret": "a secret for tests, long enough",
        "background": "worker",  # one process: what is killed is all of it
    } | settings
    return Program(
        ("serve", "--port", str(port), "--gestionnaires", str(file)),
        {f"CDS_{name.upper()}": value for name, value in given.items()},
        "serving http",
        f"http://127.0.0.1:{port}/fhir",
    )
