"""`--profile`: py-spy on the broker's process while it is driven, after the rounds that are measured.

Samples of its threads while they run, as a flat table of self time (`….txt`) and for https://www.speedscope.app
(`….speedscope.json`), beside the figures. `native`: with the frames of compiled code, for which py-spy stops the process
longer at each look. py-spy needs the right to read the process's memory: the same user, and where the kernel restricts it
(`kernel.yama.ptrace_scope`) a privileged one.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

ROWS = 30
_RATE = 400  # looks a second
_SECONDS = 5.0
_START = 1.0  # seconds that it needs to find its way in the process

_LIBRARIES = ("aiohttp", "asyncio", "prometheus_client", "redis")
"""Whose time is told as their own; that of others is told as of whoever calls them."""

_WAITING = ("epoll_wait", "epoll_pwait", "select (")
_POOL = "_worker (concurrent/futures/thread.py"

Stack = tuple[str, ...]
"""Outermost first."""


def found() -> str | None:
    """Where py-spy is."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.is_file() else shutil.which("py-spy")


@dataclass(slots=True)
class Profiles:
    """`beside`: a path, to whose name that of the case is added. `written`: what there is so far."""

    program: str
    beside: Path
    native: bool = False
    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def take(self, name: str, pid: int, drive: Callable[[], Awaitable[object]]) -> None:
        """Drive for some seconds, looked at; what goes wrong is noted in `failed`, and nothing else suffers."""
        stem = self.beside.with_name(f"{self.beside.stem}-{slug(name)}")
        raw = stem.with_name(f"{stem.name}.raw")
        raw.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["record", "--pid", str(pid), "--format", "raw", "--output", str(raw)]
        arguments += ["--rate", str(_RATE), "--threads", *(["--native"] if self.native else [])]
        process = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + _START + _SECONDS
        while loop.time() < until and process.returncode is None:
            await drive()
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
        if not raw.is_file():
            self.failed.append(f"{name}: {said.decode(errors='replace').strip()[-300:]}")
            return
        stacks = collapsed(raw.read_text())
        raw.unlink()
        table = stem.with_name(f"{stem.name}.txt")
        table.write_text(f"{name}\n\n{table_of(stacks)}")
        scope = stem.with_name(f"{stem.name}.speedscope.json")
        scope.write_bytes(orjson.dumps(speedscope(name, stacks)))
        self.written += [table, scope]


def slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:70]


def collapsed(text: str) -> Counter[Stack]:
    """py-spy's raw format: a stack, frames separated by semicolons, and how often it was seen. Who waits is left out."""
    counted: Counter[Stack] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = tuple(_frame(one) for one in frames.split(";"))
        if count.isdigit() and not _waits(stack):
            counted[stack] += int(count)
    return counted


def _waits(stack: Stack) -> bool:
    """With native frames py-spy does not know a thread that waits."""
    innermost = next((one for one in reversed(stack) if one.endswith(".py)")), "")
    return stack[-1].startswith(_WAITING) or innermost.startswith(_POOL)


def _frame(text: str) -> str:
    """`name (file:line)` as `name (file)`: one function is one row. Long paths by their last parts."""
    match = re.fullmatch(r"(.*) \((.*?)(?::\d+)?\)", text)
    if match is None:
        return text
    path = match[2].replace("\\", "/")
    for known in ("/site-packages/", "/broker/", "/registry/", "/adapters/", "/lib/"):
        _, cut, rest = path.rpartition(known)
        if cut:
            path = rest if known == "/site-packages/" else known.strip("/") + "/" + rest
            break
    return f"{match[1]} ({path})"


def self_times(stacks: Counter[Stack], rows: int = ROWS) -> Sequence[tuple[str, float, float]]:
    """Function, part of all samples in it alone, part in it and what it calls; most expensive first."""
    total = sum(stacks.values()) or 1
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for stack, count in stacks.items():
        alone[stack[-1]] += count
        for frame in {*stack}:
            within[frame] += count
    return [(name, count / total, within[name] / total) for name, count in alone.most_common(rows)]


def by_room(stacks: Counter[Stack]) -> Sequence[tuple[str, float]]:
    """Package of ours, or library, and its part of all samples; most expensive first. `asyncio` is the loop too, and the
    kernel under it."""
    total = sum(stacks.values()) or 1
    rooms: Counter[str] = Counter()
    for stack, count in stacks.items():
        rooms[next(filter(None, map(_room, reversed(stack))), "")] += count
    return [(room or "elsewhere", count / total) for room, count in rooms.most_common()]


def _room(frame: str) -> str | None:
    path = frame.rpartition("(")[2].removesuffix(")").split("/")
    if path[0] == "broker":
        return "/".join(path[:2]) if len(path) > 2 else "broker"
    return path[0] if path[0] in ("adapters", "registry", *_LIBRARIES) and len(path) > 1 else None


def table_of(stacks: Counter[Stack]) -> str:
    lines = [f"{sum(stacks.values())} samples", "", "  self  room"]
    lines += [f"{own:6.1%}  {room}" for room, own in by_room(stacks)]
    lines += ["", "  self   with  function"]
    lines += [f"{own:6.1%} {all_of_it:6.1%}  {name}" for name, own, all_of_it in self_times(stacks)]
    return "\n".join(lines) + "\n"


def speedscope(name: str, stacks: Counter[Stack]) -> dict[str, Any]:
    """The file format of speedscope (its schema: a `sampled` profile)."""
    numbers: dict[str, int] = {}
    samples = [[numbers.setdefault(one, len(numbers)) for one in stack] for stack in stacks]
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "shared": {"frames": [{"name": one} for one in numbers]},
        "profiles": [
            {
                "type": "sampled",
                "name": name,
                "unit": "none",
                "startValue": 0,
                "endValue": sum(stacks.values()),
                "samples": samples,
                "weights": list(stacks.values()),
            }
        ],
    }
