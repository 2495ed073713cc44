"""One manager of the demonstration, in a process of its own: `python -m broker.commands.demo_manager`.

It is given a `ManagerSpec` as one line of JSON on standard input, answers with its base address on standard output, and
serves until standard input ends: so it ends with whoever started it, however that one ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.seed import seed_region
from broker.commands.terminal import run


class ManagerSpec(msgspec.Struct, frozen=True):
    """What one manager holds: seeded circles of a region and `extra` resources. `options`: of `SandboxOptions`."""

    region: str
    circles: int
    options: Mapping[str, bool | int] = {}
    extra: tuple[dict[str, Any], ...] = ()


class Started(msgspec.Struct, frozen=True):
    base_url: str


async def serve(spec: ManagerSpec) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            stop.set()

    loop.add_reader(sys.stdin.fileno(), heard)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    clock = SystemClock()
    resources = [*seed_region(spec.region, spec.circles, clock=clock), *spec.extra]
    options = SandboxOptions(**spec.options)  # type: ignore[arg-type]  # names and values are the demonstration's own
    async with running_sandbox(resources, options=options, clock=clock) as box:
        sys.stdout.buffer.write(msgspec.json.encode(Started(box.base_url)) + b"\n")
        sys.stdout.buffer.flush()
        await stop.wait()


if __name__ == "__main__":
    run(serve(msgspec.json.decode(sys.stdin.buffer.readline(), type=ManagerSpec)))
