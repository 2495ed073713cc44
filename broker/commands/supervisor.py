"""Several workers on one port: started, watched, told what is told to their parent, and ended together.

Each worker listens for itself with SO_REUSEPORT and the kernel spreads the connections. The parent only holds the
address, bound but not listening, so that a port chosen by the system stays theirs. One that ends unasked is started
again, later each time that it ends soon. One that ends over its configuration ends them all: the next would too.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
from multiprocessing.context import SpawnProcess

from broker.commands.terminal import WRONG_USE, cannot_listen
from broker.commands.worker import Start, worker_process
from broker.ports import Clock
from broker.settings import Settings

_log = logging.getLogger("broker.supervisor")

_DRAIN_SECONDS = 15.0  # for running requests, beside CDS_DRAIN
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STEADY_SECONDS = 60.0  # one that lived as long did not fail at starting


def held_address(settings: Settings) -> socket.socket:
    """The address, bound for the workers and not listened on. Raises `ConfigurationError` where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        # SO_REUSEPORT would let a second broker in beside a running one; a plain socket shows that one is there.
        socket.create_server((settings.host, settings.port), family=family).close()
        held = socket.socket(family, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((settings.host, settings.port))
    except OSError as error:
        raise cannot_listen(settings.host, settings.port, error) from error
    return held


class Supervisor:
    """`await Supervisor(start, clock).run()` returns an exit code once every worker has ended."""

    def __init__(self, start: Start, clock: Clock) -> None:
        self._start = start
        self._clock = clock
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[int, SpawnProcess] = {}
        self._stopping = asyncio.Event()
        self._how = signal.SIGTERM
        self._exit_code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._told_to_end, name)
        loop.add_signal_handler(signal.SIGHUP, self._tell, signal.SIGHUP)
        async with asyncio.TaskGroup() as tasks:
            keepers = [
                tasks.create_task(self._keep(number)) for number in range(self._start.settings.workers)
            ]
            await self._stopping.wait()
            for keeper in keepers:
                keeper.cancel()
        await self._end()
        return self._exit_code

    async def _keep(self, number: int) -> None:
        """Keep worker `number` running until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            process = self._context.Process(
                target=worker_process, args=(self._start,), name=f"cds-broker worker {number}"
            )
            process.start()
            self._running[number] = process
            began = self._clock.monotonic()
            await _ended(process)
            process.join()
            if process.exitcode == WRONG_USE:
                self._exit_code = WRONG_USE
                self._stopping.set()
                return
            if self._clock.monotonic() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            _log.warning(
                "worker %d ended (exit code %s); started again in %.1f s", number, process.exitcode, pause
            )
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _told_to_end(self, how: signal.Signals) -> None:
        """The first time by draining, where that is what `how` asks of a worker; the second time without."""
        if self._stopping.is_set():
            self._tell(signal.SIGINT)
        self._how = how
        self._stopping.set()

    def _tell(self, what: signal.Signals) -> None:
        for process in self._running.values():
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, what)

    async def _end(self) -> None:
        """Ask every worker to drain; kill those that do not end."""
        self._tell(self._how)
        patience = _DRAIN_SECONDS + self._start.settings.drain
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(*map(_ended, self._running.values()))
        except TimeoutError:
            _log.warning("workers that did not end in %.0f s are killed", patience)
            self._tell(signal.SIGKILL)
        for process in self._running.values():
            process.join()


async def _ended(process: SpawnProcess) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)
