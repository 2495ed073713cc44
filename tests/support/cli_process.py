"""`cds-broker` as a process of its own, as an operator starts it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

BOUND = 60.0
"""Seconds for anything to happen: generous, for a loaded machine."""


@dataclass
class CliProcess:
    """`stdout` and `stderr` hold what it has said so far."""

    process: asyncio.subprocess.Process
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)

    def signal(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    async def line(self, part: str, *, count: int = 1) -> str:
        """Wait for the `count`-th line, of either stream, with `part` in it."""
        async with asyncio.timeout(BOUND):
            while True:
                found = [line for line in [*self.stdout, *self.stderr] if part in line]
                if len(found) >= count:
                    return found[count - 1]
                if self.process.returncode is not None:
                    raise AssertionError(f"ended with {self.process.returncode}: {self.stdout} {self.stderr}")
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        async with asyncio.timeout(BOUND):
            return await self.process.wait()


@asynccontextmanager
async def cli(
    *arguments: str, environment: Mapping[str, str] | None = None, module: str = "broker"
) -> AsyncIterator[CliProcess]:
    """Run `cds-broker` with nothing of this machine's `CDS_*` settings; killed at the end if it still runs.

    `module`: what is run in its place, as tests do to shorten what no setting does.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CDS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **inherited,
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "200",
            "CDS_LOG_FORMAT": "text",
            **(environment or {}),
        },
    )
    running = CliProcess(process)
    readers = [
        asyncio.create_task(_collect(stream, lines))
        for stream, lines in ((process.stdout, running.stdout), (process.stderr, running.stderr))
        if stream is not None
    ]
    try:
        yield running
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        await asyncio.gather(*readers)


async def _collect(stream: asyncio.StreamReader, lines: list[str]) -> None:
    async for line in stream:
        lines.append(line.decode().rstrip("\n"))  # noqa: PERF401  # one by one: they are waited for


def worker_of(line: str) -> int:
    """Process id of the worker that said this line of the log (as text)."""
    found = re.search(r"broker\[(\d+)\]", line)
    assert found is not None, line
    return int(found[1])


def below(pid: int) -> list[int]:
    """Process ids of a process's children, and of theirs (Linux)."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError), open(f"/proc/{entry.name}/stat") as stat:  # noqa: PTH123  # gone meanwhile
                parents[int(entry.name)] = int(stat.read().rpartition(")")[2].split()[1])
    found: list[int] = []
    above = {pid}
    while above:
        above = {one for one, parent in parents.items() if parent in above}
        found += above
    return sorted(found)


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie (Linux)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
