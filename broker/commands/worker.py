"""One process that serves: from settings to a drained end.

SIGTERM and SIGINT let running requests finish. Before that, SIGTERM has the worker say for `CDS_DRAIN` seconds that it is
not ready, while it answers as ever; a second one, and SIGINT, wait for nobody who may still come. SIGHUP reads the files of
managers, of clients and of TLS again. As one of several workers it also ends when the process that supervises it is gone,
however that one ended.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field

from broker.commands.garbage import settle
from broker.commands.log_lines import log_to_stderr, loop_errors_as_lines
from broker.commands.terminal import cannot_listen, complain, exit_code, explained, run
from broker.errors import BrokerError
from broker.settings import Settings
from broker.wiring import RunningBroker, listening_socket, running_broker

_log = logging.getLogger("broker")


@dataclass(frozen=True, slots=True, repr=False)
class Start:
    """What a worker is given. `redis_url` is that of the given or of the embedded server."""

    settings: Settings
    redis_url: str = field(repr=False)
    secret: bytes = field(repr=False)


async def work(start: Start) -> None:
    """Serve until told to stop. Raises `ConfigurationError`, `StoreError` where it cannot start."""
    loop = asyncio.get_running_loop()
    loop_errors_as_lines(loop)
    leave, stop, reread = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def terminated() -> None:
        (stop if leave.is_set() else leave).set()

    loop.add_signal_handler(signal.SIGTERM, terminated)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reread.set)
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop.add_reader(parent.sentinel, stop.set)
    try:
        listener = listening_socket(start.settings)
    except OSError as error:
        raise cannot_listen(start.settings.host, start.settings.port, error) from error
    async with running_broker(
        start.settings, redis_url=start.redis_url, secret=start.secret, listener=listener
    ) as broker:
        settle()
        _log.info("serving %s", broker.base_url)
        rereading = asyncio.create_task(_reread_when_told(broker, reread))
        await _either(leave, stop)
        broker.draining.begin()
        if start.settings.drain and not stop.is_set():
            _log.info("draining: not ready, and still answering")
            with suppress(TimeoutError):
                async with asyncio.timeout(start.settings.drain):
                    await stop.wait()
        _log.info("stopping: running requests are finished first")
        rereading.cancel()


async def _either(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _reread_when_told(broker: RunningBroker, reread: asyncio.Event) -> None:
    while True:
        await reread.wait()
        reread.clear()
        for what, load in (
            ("gestionnaires file", broker.load_file),
            ("clients file", broker.access.reread),
            ("TLS files", broker.load_tls),
        ):
            try:
                await load()
            except BrokerError as error:
                _log.error("the %s was not taken over: %s", what, explained(error))  # no traceback


def worker_process(start: Start) -> None:
    """The whole life of a worker in a process of its own. Exits 0, 1 or 2 as the command line does."""
    log_to_stderr(start.settings.log_level, start.settings.log_format)
    try:
        run(work(start))
    except BrokerError as error:
        complain(explained(error))
        sys.exit(exit_code(error))
