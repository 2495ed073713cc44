"""From the files to a FHIR repository: store and forward (IHE ITI-20), so that a repository that is away holds up
nobody.

The files are the spool: how far they were delivered is kept beside them (`{stream}.sent`), so a worker that is
started again goes on where it was. What is delivered with an unknown end is delivered again; each event carries its
stream and number as `meta.tag` (`urn:cds-broker:audit-record`), by which a repository can tell. An event that the
repository rejects for good is put into `{stream}.rejected.ndjson` and logged: it holds up no others. Streams that
lost their worker are delivered by whoever finds them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from adapters.audit.repository import Fate, TooMuchError
from adapters.audit.segments import Segment, segments
from adapters.audit.slot import orphan
from broker.audit.sink import ForwardState
from broker.core.audit.chain import parse
from broker.errors import AuditError
from broker.ports import Clock

_log = logging.getLogger("broker.audit")

_BATCH = 100
_BATCH_BYTES = 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_ORPHANS_EVERY = 30.0
TAG = "urn:cds-broker:audit-record"

Send = Callable[[Sequence[dict[str, Any]]], Awaitable[list[Fate]]]


class Sent(msgspec.Struct, frozen=True):
    """Up to where a stream was delivered: a segment's name, an offset in it, a number."""

    segment: str = ""
    offset: int = 0
    seq: int = 0


class Forwarder:
    """`newest`: number of the own stream's last written line. `max_waiting`: lines."""

    def __init__(
        self,
        directory: Path,
        stream: str,
        send: Send,
        clock: Clock,
        newest: Callable[[], int],
        *,
        max_waiting: int,
        every: float = 1.0,
    ) -> None:
        self._directory = directory
        self._stream = stream
        self._send = send
        self._clock = clock
        self._newest = newest
        self._max_waiting = max_waiting
        self._every = every
        self._limit = _BATCH
        self._held: dict[str, tuple[list[bytes], Sent]] = {}  # read, and not settled in full
        self.state = ForwardState(sent=_load(directory, stream).seq)

    @property
    def waiting(self) -> int:
        return max(0, self._newest() - self.state.sent)

    def full(self) -> bool:
        return self.waiting >= self._max_waiting

    async def run(self) -> None:
        """Until cancelled."""
        pause, orphans_at = self._every, 0.0
        while True:
            try:
                done = await self.deliver(self._stream)
                if self._clock.monotonic() >= orphans_at:
                    orphans_at = self._clock.monotonic() + _ORPHANS_EVERY
                    await self._deliver_orphans()
            except AuditError as error:
                _log.error("audit files cannot be read or kept for delivery: %s", error.params.get("reason"))
                done = False
            self._told(done)
            pause = self._every if done else min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            await self._clock.sleep(pause)

    async def deliver(self, stream: str) -> bool:
        """All there is; False where the repository did not take it all. Raises `AuditError`."""
        while True:
            held = self._held.get(stream)
            if held is None:
                place = await _file(_load, self._directory, stream)
                lines, end = await _file(_next, self._directory, stream, place, self._limit)
                if not lines:
                    if end != place:
                        await _file(_save, self._directory, stream, end)
                    return True
                held = self._held[stream] = (lines, end)
            if not await self._delivered(stream, held[0]):
                return False
            await _file(_save, self._directory, stream, held[1])
            del self._held[stream]
            if stream == self._stream:
                self.state.sent = held[1].seq
            self._limit = min(_BATCH, self._limit * 2)

    async def _delivered(self, stream: str, left: list[bytes]) -> bool:
        """Takes from `left` what is settled; False where the repository takes nothing more for now."""
        while left:
            size = min(self._limit, len(left))
            try:
                fates = await self._send([_tagged(line) for line in left[:size]])
            except TooMuchError:
                self._limit = max(1, size // 2)
                continue
            answered = list(zip(left[:size], fates, strict=True))
            rejected = [line for line, fate in answered if fate is Fate.REJECTED]
            later = [line for line, fate in answered if fate is Fate.LATER]
            if rejected:
                await _file(_put_aside, self._directory, stream, rejected)
                self.state.rejected += len(rejected)
                _log.error("the audit repository rejected %d records of %s", len(rejected), stream)
            self.state.delivered += size - len(rejected) - len(later)
            left[:size] = later
            if later:
                return False
        return True

    async def _deliver_orphans(self) -> None:
        streams = sorted({one.stream for one in await _file(segments, self._directory)} - {self._stream})
        for stream in streams:
            with orphan(self._directory, stream) as free:
                if free and not await self.deliver(stream):
                    return

    def _told(self, done: bool) -> None:
        if not done:
            self.state.failures += 1
        if done is self.state.failing:
            self.state.failing = not done
            if done:
                _log.info("the audit repository takes records again")
            else:
                _log.warning("the audit repository does not take records: they wait in the files")


async def _file(work: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return await asyncio.to_thread(work, *arguments)
    except OSError as error:
        raise AuditError("audit.file", reason=error.strerror or type(error).__name__) from error


def _load(directory: Path, stream: str) -> Sent:
    try:
        return msgspec.json.decode((directory / f"{stream}.sent").read_bytes(), type=Sent)
    except (FileNotFoundError, msgspec.MsgspecError):
        return Sent()  # delivered twice rather than not


def _save(directory: Path, stream: str, sent: Sent) -> None:
    draft = directory / f"{stream}.sent.new"
    draft.write_bytes(msgspec.json.encode(sent))
    draft.replace(directory / f"{stream}.sent")


def _next(directory: Path, stream: str, place: Sent, limit: int) -> tuple[list[bytes], Sent]:
    """The next lines, and where they end. What cannot be read is passed over: it is for the verification to tell."""
    lines: list[bytes] = []
    size = 0
    for segment in segments(directory, stream):
        if segment.name < place.segment:
            continue
        if segment.name != place.segment:
            place = Sent(segment.name, 0, place.seq)
        while whole := _whole_lines(segment, place.offset):
            for line in whole:
                read = parse(line)
                fresh = read is not None and read.stream == stream and read.seq > place.seq
                place = Sent(
                    place.segment, place.offset + len(line), read.seq if fresh and read else place.seq
                )
                if fresh:
                    lines.append(line)
                    size += len(line)
                if len(lines) >= limit or size >= _BATCH_BYTES:
                    return lines, place
    return lines, place


def _whole_lines(segment: Segment, offset: int) -> list[bytes]:
    with segment.path.open("rb") as file:
        file.seek(offset)
        block = file.read(2 * _BATCH_BYTES)
    return block[: block.rfind(b"\n") + 1].splitlines(keepends=True)


def _put_aside(directory: Path, stream: str, lines: list[bytes]) -> None:
    path = directory / f"{stream}.rejected.ndjson"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(lines)


def _tagged(line: bytes) -> dict[str, Any]:
    read = parse(line)
    if read is None:
        raise ValueError("a line that was read before")
    event: dict[str, Any] = orjson.loads(bytes(read.event))
    event.setdefault("meta", {}).setdefault("tag", []).append(
        {"system": TAG, "code": f"{read.stream}.{read.seq}"}
    )
    return event
