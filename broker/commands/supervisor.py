"""The processes of a broker: started, watched, told what is told to their parent, and ended together.

`CDS_WORKERS` of them serve. Each listens for itself with SO_REUSEPORT and the kernel spreads the connections; the parent
only holds the address, bound but not listening, so that a port chosen by the system stays theirs. One more does in the
background what is done once for all of them: it begins when the first serves, and ends when the last has ended. One that
ends unasked is started again, later each time that it ends soon. One that ends over its configuration ends them all: the
next would too.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterable
from multiprocessing.context import ForkServerProcess

from broker.commands.colleagues import Colleagues
from broker.commands.life import begin
from broker.commands.start import HEARD, Duty, Start
from broker.commands.terminal import WRONG_USE, cannot_listen
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
    """`await Supervisor(start, clock).run()` returns an exit code once every process has ended."""

    def __init__(self, start: Start, clock: Clock) -> None:
        self._start = start
        self._clock = clock
        # Forked from a process that has loaded everything, and has no thread, no loop and no connection.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["broker.commands.loaded"])
        self._running: dict[str, tuple[Duty, ForkServerProcess]] = {}
        self._colleagues = Colleagues(clock)
        self._stopping = asyncio.Event()
        self._how = signal.SIGTERM
        self._exit_code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._told_to_end, name)
        loop.add_signal_handler(signal.SIGHUP, self._tell, Duty.SERVE, signal.SIGHUP)
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._colleagues.run())
            keepers = [
                tasks.create_task(self._keep(f"worker {number}", Duty.SERVE, tasks))
                for number in range(self._start.settings.workers)
            ]
            keepers.append(tasks.create_task(self._keep_background(tasks)))
            await self._stopping.wait()
            for keeper in keepers:
                keeper.cancel()
            await self._end()
            looking.cancel()
        return self._exit_code

    async def _keep_background(self, tasks: asyncio.TaskGroup) -> None:
        await self._colleagues.ready.wait()
        await self._keep("background", Duty.CHORES, tasks)

    async def _keep(self, name: str, duty: Duty, tasks: asyncio.TaskGroup) -> None:
        """Keep one running until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            process = self._begun(name, duty, tasks)
            began = self._clock.monotonic()
            await _ended(process)
            process.join()
            if process.exitcode == WRONG_USE:
                self._exit_code = WRONG_USE
                self._stopping.set()
                return
            if self._clock.monotonic() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            _log.warning("%s ended (exit code %s); started again in %.1f s", name, process.exitcode, pause)
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _begun(self, name: str, duty: Duty, tasks: asyncio.TaskGroup) -> ForkServerProcess:
        ours, theirs = socket.socketpair()
        process = self._context.Process(
            target=begin, args=(duty, self._start, theirs), name=f"cds-broker {name}"
        )
        # A signal would end it, with a traceback or without, before it can hear it: until then it waits. The process that
        # they are forked from, which is started with the first, hears none at all: it ends when this one has ended.
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        theirs.close()
        tasks.create_task(self._colleagues.follow(name.replace(" ", "-"), ours))
        self._running[name] = (duty, process)
        return process

    def _told_to_end(self, how: signal.Signals) -> None:
        """The first time by draining, where that is what `how` asks of a worker; the second time without."""
        if self._stopping.is_set():
            self._tell(Duty.SERVE, signal.SIGINT)
        self._how = how
        self._stopping.set()

    def _of(self, duty: Duty) -> Iterable[ForkServerProcess]:
        return [process for one, process in self._running.values() if one is duty]

    def _tell(self, duty: Duty, what: signal.Signals) -> None:
        for process in self._of(duty):
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, what)

    async def _end(self) -> None:
        """Those that serve, then what they left to be done."""
        await self._end_all(Duty.SERVE, _DRAIN_SECONDS + self._start.settings.drain)
        await self._end_all(Duty.CHORES, _DRAIN_SECONDS)

    async def _end_all(self, duty: Duty, patience: float) -> None:
        """Ask each to drain; kill those that do not end."""
        self._tell(duty, self._how)
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(*map(_ended, self._of(duty)))
        except TimeoutError:
            _log.warning("what did not end in %.0f s is killed", patience)
            self._tell(duty, signal.SIGKILL)
        for process in self._of(duty):
            process.join()


async def _ended(process: ForkServerProcess) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)
