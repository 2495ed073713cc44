"""A manager in a box that outlives a kill, lets delete, and is slow from SIGUSR1 to SIGUSR2."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.clock import SystemClock
from adapters.sandbox.app import build_app
from adapters.sandbox.options import SandboxOptions
from tests.support.broker_process import Program
from tests.support.lasting_manager import LastingStore
from tests.support.ports import lasting_port

READY = "Sandbox Gestionnaire"
SLOW = (0.2, 1.2)
"""Seconds that each request waits at a slow manager, from and to: within the broker's patience with it."""


def manager_program(file: Path) -> Program:
    """On a port that stays the same; every version is in `file` before it is answered."""
    port = lasting_port()
    return Program(
        (str(file), str(port)),
        {},
        READY,
        f"http://127.0.0.1:{port}/fhir",
        module="tests.support.long_run.manager",
    )


class Slowness:
    def __init__(self) -> None:
        self._on = False
        self._dice = random.Random(7)

    def turn(self, on: bool) -> None:  # what a signal handler is given
        self._on = on

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._on:
            await asyncio.sleep(self._dice.uniform(*SLOW))
        return await handler(request)


async def _serve(file: str, port: str) -> None:
    slowness, loop = Slowness(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, slowness.turn, True)
    loop.add_signal_handler(signal.SIGUSR2, slowness.turn, False)
    store = LastingStore(SystemClock(), Path(file), SandboxOptions(allow_delete=True))
    app = build_app(store)
    app.middlewares.insert(0, slowness.middleware)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    print(f"{READY} http://127.0.0.1:{port}/fhir", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
