"""The files of a trail: segments of lines, named by stream and first number, so that their names sort in the order of
writing.

    {stream}.{first:012}-{turn:02}.ndjson      stream = {node}-{slot}

A segment only grows, and is never opened again for writing once its writer has ended. All here blocks.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.core.audit.chain import Head, parse

_NAME = re.compile(r"([0-9a-f]{8}-[0-9]{1,3})\.([0-9]{12})-([0-9]{2})\.ndjson")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    stream: str
    first: int
    turn: int
    directory: Path

    @property
    def name(self) -> str:
        return f"{self.stream}.{self.first:012d}-{self.turn:02d}.ndjson"

    @property
    def path(self) -> Path:
        return self.directory / self.name


def segments(directory: Path, stream: str | None = None) -> list[Segment]:
    """In order of stream, then of writing; none where the directory is not there. Raises `OSError`."""
    if not directory.exists():
        return []
    found = [
        Segment(match[1], int(match[2]), int(match[3]), directory)
        for entry in os.scandir(directory)
        if (match := _NAME.fullmatch(entry.name)) is not None
    ]
    return sorted(one for one in found if stream is None or one.stream == stream)


def created(directory: Path, stream: str, first: int) -> tuple[Segment, int]:
    """A new segment, mode 0600, and its descriptor. Raises `OSError`."""
    for turn in range(100):
        segment = Segment(stream, first, turn, directory)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            return segment, os.open(segment.path, flags, 0o600)
        except FileExistsError:
            continue
    raise FileExistsError("a hundred segments with one first number")


def last_head(directory: Path, stream: str) -> Head:
    """Of the last whole line that can be read as one."""
    for segment in reversed(segments(directory, stream)):
        for line, _ in reversed_lines(segment.path):
            read = parse(line)
            if read is not None and read.stream == stream:
                return read.head
    return Head()


def reversed_lines(path: Path, before: int | None = None) -> Iterator[tuple[bytes, int]]:
    """Whole lines from the last to the first, each with its line feed, and its offset. `before`: those that end at
    or before this offset. What stands behind the last line feed is not whole."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            end = held.rfind(b"\n", 0, size if before is None else before) + 1
            while end > 0:
                start = held.rfind(b"\n", 0, end - 1) + 1
                yield held[start:end], start
                end = start


def lines_of(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Every line, and whether it is whole."""
    with path.open("rb") as file:
        for line in file:
            yield line, line.endswith(b"\n")
