"""Ports that stay a server's own while it is away, whatever else runs on the machine.

Port 0 is the better choice wherever a server listens at once and tells. These are for servers that are told their
port, or that come back on it: below the ports that the kernel gives to outgoing connections and to port 0, and held
by `flock` against other processes of tests for as long as this one lives.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

_PORTS = range(20_000, 32_000)
_held: list[int] = []
"""Descriptors whose locks say which ports this process holds: the kernel drops them when it ends, however it does."""


def lasting_port() -> int:
    """A free TCP port of 127.0.0.1 that nobody else of the tests is given."""
    directory = Path(tempfile.gettempdir()) / f"cds-broker-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    while True:
        port = random.choice(_PORTS)
        lock = os.open(directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _held.append(lock)  # of a port that somebody else listens on, too: it is not drawn again
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
