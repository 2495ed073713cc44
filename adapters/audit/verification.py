"""Looking whether a trail is whole, in its files or on its topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from adapters.audit.segments import lines_of, segments
from adapters.audit.slot import node_of
from broker.core.audit.chain import ChainKey, Head
from broker.core.audit.verify import Finding, Flaw, StreamCheck
from broker.sync.change_log import ChangeLog


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store knows of the trail; `None` in its place where it was not reached. `mourned`: see `HeadStore`."""

    heads: Mapping[str, Head]
    mourned: Sequence[tuple[str, int, int]] = ()


@dataclass(slots=True)
class Report:
    """`lines`: by stream. `elsewhere`: streams that the store knows and that are not of this place."""

    lines: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notices: list[Finding] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    heads_known: bool = False

    @property
    def intact(self) -> bool:
        return not self.findings

    def take(self, check: StreamCheck) -> None:
        self.lines[check.stream] = check.lines
        for one in check.findings:
            (self.notices if one.flaw.harmless else self.findings).append(one)

    def compare(self, stored: Stored | None, here: str) -> None:
        """`here`: what the streams of this place begin with. Streams that were looked at have had their heads
        compared."""
        self.heads_known = stored is not None
        if stored is None:
            return
        for stream, head in sorted(stored.heads.items()):
            if stream in self.lines or head.seq == 0:
                continue  # looked at, or begun by a process that has written nothing yet
            if here and stream.startswith(here):
                self.findings.append(Finding(Flaw.MISSING, stream, "", 0, 1, head.seq))
            else:
                self.elsewhere.append(stream)
        for stream, first, last in stored.mourned:
            if stream in self.lines or (here and stream.startswith(here)):
                self.findings.append(Finding(Flaw.CUT, stream, "", 0, first, last))


def verify_files(
    directory: Path, keys: Mapping[str, ChainKey], stored: Stored | None, *, trimmed: bool = False
) -> Report:
    """Blocking. `stored` must have been asked for before: what is written meanwhile is ahead of it. Raises
    `OSError`."""
    report = Report()
    for stream, ordered in groupby(segments(directory), lambda one: one.stream):
        check = StreamCheck(stream, keys, _head(stored, stream), trimmed)
        place = ""
        for segment in ordered:
            place = segment.name
            for number, (line, whole) in enumerate(lines_of(segment.path), 1):
                if whole:
                    check.feed(line, place, number)
                else:
                    check.torn(place, number)
        check.end(place)
        report.take(check)
    node = node_of(directory)
    report.compare(stored, f"{node}-" if node else "")
    return report


async def verify_topic(
    log: ChangeLog, topic: str, keys: Mapping[str, ChainKey], stored: Stored | None
) -> Report:
    """What the topic's retention has left. Raises `StoreError`."""
    report = Report()
    checks: dict[str, StreamCheck] = {}
    last: dict[str, str] = {}
    async for batch in log.read(topic):
        for number, record in enumerate(batch.records, 1):
            stream = record.key.decode("ascii", "replace")
            if stream not in checks:
                checks[stream] = StreamCheck(stream, keys, _head(stored, stream), trimmed=True, repeats=True)
            last[stream] = f"{record.position.partition}/{record.position.offset}"
            checks[stream].feed((record.value or b"") + b"\n", last[stream], number)
    for stream, check in sorted(checks.items()):
        check.end(last[stream])
        report.take(check)
    report.compare(stored, "")
    return report


def _head(stored: Stored | None, stream: str) -> Head | None:
    return None if stored is None else stored.heads.get(stream)
