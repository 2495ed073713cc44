"""The trail of this node, read back: newest first over all its streams, by pages. What is looked through is bounded."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import orjson

from adapters.audit.segments import Segment, reversed_lines, segments
from adapters.audit.slot import node_of
from broker.audit.sink import AuditPage, AuditQuery, AuditRecord
from broker.core.audit.chain import parse
from broker.errors import AuditError, RequestError

_MAX_LINES = 200_000
"""Looked through for one page."""

_RECORDED = b'"recorded":"'

Positions = dict[str, tuple[str, int]]
"""By stream: the segment's name and the offset up to which its lines are still to come."""

_positions = msgspec.json.Decoder(Positions).decode


@dataclass(frozen=True, slots=True)
class Found:
    """A line, where it is, and when it was recorded (as it is written there)."""

    recorded: str
    stream: str
    segment: str
    offset: int
    line: bytes


class FileAuditReader:
    def __init__(self, directory: Path, *, max_lines: int = _MAX_LINES) -> None:
        self._directory = directory
        self._max_lines = max_lines

    async def page(self, query: AuditQuery) -> AuditPage:
        try:
            return await asyncio.to_thread(self._page, query)
        except OSError as error:
            raise AuditError("audit.file", reason=error.strerror or type(error).__name__) from error

    def _page(self, query: AuditQuery) -> AuditPage:
        positions = self._begun(query.after)
        since = _written(query.since)
        until = _written(query.until)
        found: list[AuditRecord] = []
        for looked, one in enumerate(newest_first(self._directory, positions)):
            if len(found) >= query.count or looked >= self._max_lines:
                return AuditPage(node_of(self._directory), tuple(found), _encoded(positions))
            if since is not None and one.recorded < since:
                break
            positions[one.stream] = (one.segment, one.offset)
            if until is not None and one.recorded > until:
                continue
            record = matching(one.line, query)
            if record is not None:
                found.append(record)
        return AuditPage(node_of(self._directory), tuple(found))

    def _begun(self, after: str | None) -> Positions:
        """Where to begin: so that what is written meanwhile is on no later page."""
        if after is not None:
            return _decoded(after)
        ends: Positions = {}
        for stream, ordered in groupby(segments(self._directory), lambda one: one.stream):
            last = list(ordered)[-1]
            ends[stream] = (last.name, last.path.stat().st_size)
        return ends


class Follower:
    """What comes after now, stream by stream. Blocking; what is read at a time is little."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets = {one.name: one.path.stat().st_size for one in segments(directory)}

    def more(self, query: AuditQuery) -> list[AuditRecord]:
        """Records since the last call that are what is asked for, by when they were recorded."""
        found: list[AuditRecord] = []
        for segment in segments(self._directory):
            begun = self._offsets.get(segment.name, 0)
            if segment.path.stat().st_size == begun:
                continue
            with segment.path.open("rb") as file:
                file.seek(begun)
                block = file.read()
            whole = block[: block.rfind(b"\n") + 1]
            self._offsets[segment.name] = begun + len(whole)
            found += [record for line in whole.splitlines() if (record := matching(line, query)) is not None]
        return sorted(found, key=lambda one: str(one.event["recorded"]))


def newest_first(directory: Path, positions: Mapping[str, tuple[str, int]]) -> Iterator[Found]:
    """Lines of all streams from these positions, those that cannot be read left out. Raises `OSError`."""
    streams = [
        _backwards(segments(directory, stream), stream, *position) for stream, position in positions.items()
    ]
    return heapq.merge(*streams, key=lambda one: one.recorded, reverse=True)


def _backwards(ordered: list[Segment], stream: str, name: str, offset: int) -> Iterator[Found]:
    for segment in reversed([one for one in ordered if one.name <= name]):
        before = offset if segment.name == name else None
        for line, start in reversed_lines(segment.path, before):
            at = line.find(_RECORDED) + len(_RECORDED)
            if at >= len(_RECORDED):
                recorded = line[at : line.find(b'"', at)].decode("ascii", "replace")
                yield Found(recorded, stream, segment.name, start, line)


def matching(line: bytes, query: AuditQuery) -> AuditRecord | None:
    """The record of a line where it is what is asked for. Most lines are told from their bytes alone."""
    sought = [one for one in (query.client, query.person, query.request_id) if one is not None]
    if any(orjson.dumps(one)[1:-1] not in line for one in sought):
        return None
    read = parse(line)
    if read is None:
        return None
    event = orjson.loads(bytes(read.event))
    tests: tuple[tuple[str | None, Callable[[dict[str, Any], str], bool]], ...] = (
        (query.client, _by_client),
        (query.person, _of_person),
        (query.request_id, _of_request),
    )
    if all(value is None or test(event, value) for value, test in tests):
        return AuditRecord(read.stream, read.seq, event)
    return None


def _by_client(event: dict[str, Any], client: str) -> bool:
    return any(one.get("who", {}).get("identifier", {}).get("value") == client for one in event["agent"])


def _of_person(event: dict[str, Any], person: str) -> bool:
    references = (one.get("what", {}).get("reference", "") for one in event["entity"])
    return any(one == person or one.endswith("/" + person) for one in references)


def _of_request(event: dict[str, Any], request_id: str) -> bool:
    entities = event["entity"]
    return any(one.get("what", {}).get("identifier", {}).get("value") == request_id for one in entities)


def _written(at: dt.datetime | None) -> str | None:
    return None if at is None else at.astimezone(dt.UTC).isoformat(timespec="milliseconds")


def _encoded(positions: Positions) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(positions)).decode().rstrip("=")


def _decoded(after: str) -> Positions:
    try:
        return _positions(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
    except (ValueError, msgspec.MsgspecError):
        raise RequestError("request.bad-value", parameter="after", expected="next") from None
