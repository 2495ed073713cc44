"""The trail in files: one write for each group, in a thread of its own, so that a slow disk holds up nobody but who
waits for it.

A write that fails leaves no half line behind where that can be helped: the segment is cut back to its last whole
line. What cannot be cut back, and what a killed process leaves, is a torn last line; the chain goes on in a new
segment. A segment is never opened again by another process.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue

from adapters.audit.segments import Segment, created
from broker.audit.sink import Group
from broker.errors import AuditError
from broker.ports import Clock


class Lasting(StrEnum):
    """When the disk is told to keep what was written (fsync)."""

    ALWAYS = "always"  # before anything is answered
    SECOND = "second"  # once a second: a loss of power costs the last one
    NEVER = "never"  # the operating system's own time, some 30 seconds


_Job = tuple[Callable[[], None], asyncio.AbstractEventLoop, asyncio.Future[None]]


class FileSink:
    """`max_bytes`: after which a segment is left for a new one, as it is at midnight UTC. One stream, one writer."""

    name = "file"

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        lasting: Lasting = Lasting.SECOND,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._max_bytes = max_bytes
        self._lasting = lasting
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="cds-audit-file", daemon=True)
        self._thread.start()
        # Of the thread alone:
        self._segment: Segment | None = None
        self._descriptor = -1
        self._size = 0
        self._day = dt.date.min
        self._last = 0
        self._dirty = False

    async def write(self, group: Group) -> None:
        await self._done(lambda: self._write(group))

    async def sync(self) -> None:
        await self._done(self._look_after)

    async def aclose(self) -> None:
        try:
            await self._done(self._close)
        finally:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, 5.0)

    async def _done(self, job: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._jobs.put((job, loop, done))
        try:
            await done
        except OSError as error:
            raise AuditError("audit.file", reason=error.strerror or type(error).__name__) from error

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, loop, done = task
            error: OSError | None = None
            try:
                job()
            except OSError as failure:
                error = failure
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_settle, done, error)

    def _write(self, group: Group) -> None:
        if group.head.seq <= self._last:
            return  # offered again by one who did not wait for the end of the first time
        today = self._clock.now().date()
        if self._descriptor < 0 or self._size >= self._max_bytes or today != self._day:
            self._leave()
            self._segment, self._descriptor = created(self._directory, group.stream, group.first)
            self._size, self._day = 0, today
            _sync_directory(self._directory)
        try:
            written = _write_all(self._descriptor, b"".join(group.lines))
            self._dirty = True
            if self._lasting is Lasting.ALWAYS:
                self._sync()
        except OSError:
            self._give_up()
            raise
        self._size += written
        self._last = group.head.seq

    def _look_after(self) -> None:
        """Raises `OSError` also where the segment was removed: what is written to it would be seen by nobody."""
        if self._descriptor < 0:
            return
        if os.fstat(self._descriptor).st_nlink == 0:
            self._give_up()
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if self._lasting is Lasting.SECOND:
            self._sync()

    def _sync(self) -> None:
        if self._dirty and self._descriptor >= 0:
            os.fdatasync(self._descriptor)
            self._dirty = False

    def _give_up(self) -> None:
        """Back to the last whole line, and on to another segment: whether this one takes anything more is not known."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
        if self._size == 0 and self._segment is not None:
            with suppress(OSError):
                self._segment.path.unlink()
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor, self._dirty = -1, False

    def _leave(self) -> None:
        if self._descriptor >= 0:
            if self._lasting is not Lasting.NEVER:
                self._sync()
            os.close(self._descriptor)
            self._descriptor, self._dirty = -1, False

    def _close(self) -> None:
        self._leave()


def _settle(done: asyncio.Future[None], error: OSError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _write_all(descriptor: int, data: bytes) -> int:
    """Raises `OSError`, also where only a part found room."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)


def _sync_directory(directory: Path) -> None:
    """A new name in it must outlast a loss of power as its content does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
