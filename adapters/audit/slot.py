"""Which stream a worker writes: a slot of its node's directory, taken by a lock that ends with the process.

The node's name is drawn once and kept in the directory (`node`). A worker takes the first slot that nobody holds, so
that a worker that is started again goes on with a chain that is there. All here blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.errors import AuditError, BrokerError, ConfigurationError

_SLOTS = 256
_TRANSIENT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class Slot:
    """`stream`: what is written under it. Held until `release`, or the end of the process."""

    stream: str
    descriptor: int

    def release(self) -> None:
        os.close(self.descriptor)


def take(directory: Path) -> Slot:
    """The first free slot; makes the directory, mode 0700. Raises `ConfigurationError`, or `AuditError` where the
    disk is full or ill."""
    with _file_errors():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        node = node_of(directory, create=True)
        for number in range(_SLOTS):
            descriptor = _locked(directory / f"{number}.lock")
            if descriptor is not None:
                return Slot(f"{node}-{number}", descriptor)
        raise OSError(errno.EAGAIN, "every slot is taken")


@contextmanager
def orphan(directory: Path, stream: str) -> Iterator[bool]:
    """Whether nobody writes this stream of this node; nobody begins to as long as the context lasts."""
    descriptor = _locked(directory / f"{stream.rpartition('-')[2]}.lock")
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def node_of(directory: Path, *, create: bool = False) -> str:
    """The node's name, eight hexadecimal digits; empty where it has none yet. Raises `OSError`."""
    path = directory / "node"
    if create and not path.exists():
        draft = directory / f"node.{secrets.token_hex(4)}"
        draft.write_text(secrets.token_hex(4) + "\n", encoding="utf-8")
        try:
            os.link(draft, path)  # appears whole, and never replaces: of several processes one wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refused(error) from error


def refused(error: OSError) -> BrokerError:
    """At the start: what mends itself lets the worker be started again, anything else is the operator's to mend."""
    reason = error.strerror or type(error).__name__
    if error.errno in _TRANSIENT:
        return AuditError("audit.file", reason=reason)
    return ConfigurationError("config.file", setting="CDS_AUDIT_DIR", reason=reason)
