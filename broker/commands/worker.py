"""One process of a broker: from settings to a drained end.

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
import socket
from contextlib import suppress

from broker.commands.garbage import settle
from broker.commands.log_lines import loop_errors_as_lines
from broker.commands.start import HEARD, Start
from broker.commands.terminal import cannot_listen, explained
from broker.errors import BrokerError
from broker.wiring import RunningBroker, listening_socket, running_background, running_broker

_log = logging.getLogger("broker")


async def work(start: Start, beside: socket.socket | None = None) -> None:
    """Serve until told to stop. Raises `ConfigurationError`, `StoreError` where it cannot start.

    `beside`: as one of several processes, the way to the others.
    """
    loop = asyncio.get_running_loop()
    loop_errors_as_lines(loop)
    leave, stop, reread = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def terminated() -> None:
        (stop if leave.is_set() else leave).set()

    loop.add_signal_handler(signal.SIGTERM, terminated)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reread.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
    _end_with_parent(stop)
    try:
        listener = listening_socket(start.settings, shared=beside is not None)
    except OSError as error:
        raise cannot_listen(start.settings.host, start.settings.port, error) from error
    async with running_broker(
        start.settings, redis_url=start.redis_url, secret=start.secret, listener=listener, beside=beside
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


async def work_in_background(start: Start, beside: socket.socket) -> None:
    """Do what is done once for those that serve, until told to stop. Raises as `work` does."""
    loop = asyncio.get_running_loop()
    loop_errors_as_lines(loop)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _nothing_to_read)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
    _end_with_parent(stop)
    async with running_background(
        start.settings, redis_url=start.redis_url, secret=start.secret, beside=beside
    ):
        settle()
        _log.info("working in the background")
        await stop.wait()


def _end_with_parent(stop: asyncio.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        asyncio.get_running_loop().add_reader(parent.sentinel, stop.set)


def _nothing_to_read() -> None:
    """What a file of managers says comes by the store."""


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
