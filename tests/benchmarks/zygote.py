"""Children of the benchmarks by forking, for a smoke: a process that has loaded what they load becomes one of them.

To load the broker takes two seconds of a processor, and a smoke of all parts starts some fifty children. What is measured is
started as a program of its own: see `children`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tests.benchmarks import children

_MODULES = ("broker_worker", "agent_worker", "bare_agent", "bare_fan_out", "bare_proxy", "bare_publisher", "canned_crawl",
            "canned_located", "canned_managers", "canned_region", "canned_writes")  # fmt: skip
_MESSAGE = 256 * 1024


class Forked:
    """What `subprocess.Popen` is to a child that was started."""

    def __init__(self, pid: int, stdin: TextIO, stdout: TextIO) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        try:
            self._ended: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code is not known: the process that forked it was told. Raises `subprocess.TimeoutExpired`."""
        if self._ended is not None:
            ready, _, _ = select.select([self._ended], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired("a forked child", timeout or 0.0)
            os.close(self._ended)
            self._ended = None
        return 0

    def kill(self) -> None:
        if self._ended is not None:
            signal.pidfd_send_signal(self._ended, signal.SIGKILL)


class Zygote:
    """From the parent's side."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.benchmarks.zygote", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()

    def start(self, module: str, argument: object) -> Forked:
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        socket.send_fds(self._line, [json.dumps([module, argument]).encode()], [read_in, write_out])
        os.close(read_in)
        os.close(write_out)
        pid = int(self._line.recv(64))
        return Forked(pid, os.fdopen(write_in, "w", buffering=1), os.fdopen(read_out))

    def end(self) -> None:
        self._line.close()
        self._process.wait(children.START_SECONDS)


@contextmanager
def forking() -> Iterator[None]:
    """Children that are started meanwhile are forked."""
    zygote = Zygote()
    children.starting.append(zygote.start)
    try:
        yield
    finally:
        children.starting.remove(zygote.start)
        zygote.end()


def _serve(line: socket.socket) -> None:
    for name in _MODULES:
        importlib.import_module(f"tests.benchmarks.{name}")
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, _MESSAGE, 2)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            line.close()
            _become(json.loads(message), descriptors)
        for one in descriptors:
            os.close(one)
        line.send(str(pid).encode())


def _become(message: list[object], descriptors: list[int]) -> None:
    """Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one, place in zip(descriptors, (0, 1), strict=True):
            os.dup2(one, place)
            os.close(one)
        module, argument = message
        sys.argv = [str(module), json.dumps(argument)]
        children.main(importlib.import_module(str(module)).work)
        sys.stdout.flush()
        code = 0
    except BaseException:  # noqa: BLE001  # whatever it is, the parent's code must not go on here
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
