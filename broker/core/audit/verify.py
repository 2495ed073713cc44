"""Whether a trail is whole: what is missing, changed, moved or cut, and where. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from broker.core.audit.chain import GENESIS, ChainKey, Head, Line, fits, parse


class Flaw(StrEnum):
    CHANGED = "changed"  # the line is not what was sealed
    REMOVED = "removed"  # lines are missing between two
    MOVED = "moved"  # the line stands where it does not belong
    UNLINKED = "unlinked"  # sealed and numbered, but not the successor of the line before
    UNREADABLE = "unreadable"  # no line of a trail
    UNKNOWN_KEY = "unknown-key"  # sealed under a secret that is not at hand
    CUT = "cut"  # the end is missing
    MISSING = "missing"  # the whole stream is
    # What follows is told, and is no sign of tampering:
    TORN = "torn"  # a last line without its end: the process died, or the disk was full; the chain goes on behind it
    REPEATED = "repeated"  # the same line once more, as after a delivery of unknown end

    @property
    def harmless(self) -> bool:
        return self in (Flaw.TORN, Flaw.REPEATED)


@dataclass(frozen=True, slots=True)
class Finding:
    """`place`: a segment's name or a partition; `line`: from 1 in it. `first`–`last`: the numbers (`seq`) concerned."""

    flaw: Flaw
    stream: str
    place: str
    line: int
    first: int | None = None
    last: int | None = None


@dataclass(slots=True)
class StreamCheck:
    """Feed it every line of one stream, as they stand; then `end`.

    `trimmed`: older segments may have been put elsewhere, so the first line need not be number 1. `repeats`: the
    same line may come again at any place (a topic), not only first in a segment.
    """

    stream: str
    keys: Mapping[str, ChainKey]
    head: Head | None = None
    trimmed: bool = False
    repeats: bool = False
    lines: int = 0
    last: Head | None = None
    findings: list[Finding] = field(default_factory=list)
    _doubtful: bool = False  # the line before was changed: what follows need not fit it
    _seals: dict[int, str] = field(default_factory=dict)

    def feed(self, line: bytes, place: str, number: int) -> None:
        """A whole line, with its line feed."""
        read = parse(line)
        if read is None:
            self._find(Flaw.UNREADABLE, place, number)
            self._doubtful = True
            return
        if read.stream != self.stream:
            self._find(Flaw.MOVED, place, number, read.seq)
            return
        self.lines += 1
        if self.last is not None and read.seq <= self.last.seq:
            self._again(read, place, number)
            return
        sound = self._sealed(line, read, place, number)
        self._linked(read, place, number)
        self._note(read)
        self._doubtful = not sound

    def torn(self, place: str, number: int) -> None:
        """A segment's last line lacks its end."""
        self._find(Flaw.TORN, place, number)

    def end(self, place: str) -> None:
        """`place`: where the last line is. What a line that was moved left open is taken back."""
        reached = 0 if self.last is None else self.last.seq
        if self.head is not None and self.head.seq > reached:
            self._find(Flaw.CUT, place, self.lines, reached + 1, self.head.seq)
        elif self.head is not None and self._seals.get(self.head.seq, self.head.mac) != self.head.mac:
            self._find(Flaw.CHANGED, place, self.lines, self.head.seq, self.head.seq)
        moved = {one.first for one in self.findings if one.flaw is Flaw.MOVED}
        self.findings = [
            left
            for one in self.findings
            for left in ([one] if one.flaw is not Flaw.REMOVED else _less(one, moved))
        ]

    def _sealed(self, line: bytes, read: Line, place: str, number: int) -> bool:
        fitting = fits(line, read, self.keys)
        if fitting:
            return True
        self._find(Flaw.UNKNOWN_KEY if fitting is None else Flaw.CHANGED, place, number, read.seq, read.seq)
        return fitting is None

    def _linked(self, read: Line, place: str, number: int) -> None:
        expected = 1 if self.last is None else self.last.seq + 1
        if self.last is None and self.trimmed:
            return
        if read.seq > expected:
            self._find(Flaw.REMOVED, place, number, expected, read.seq - 1)
        elif read.prev != (GENESIS if self.last is None else self.last.mac) and not self._doubtful:
            self._find(Flaw.UNLINKED, place, number, read.seq, read.seq)

    def _again(self, read: Line, place: str, number: int) -> None:
        same = self._seals.get(read.seq) == read.mac
        harmless = same and (self.repeats or number <= 1 or self._repeating(place, number))
        self._find(Flaw.REPEATED if harmless else Flaw.MOVED, place, number, read.seq, read.seq)

    def _repeating(self, place: str, number: int) -> bool:
        """Right behind another repetition at the start of the same segment."""
        before = self.findings[-1] if self.findings else None
        return (
            before is not None
            and before.flaw is Flaw.REPEATED
            and (before.place, before.line) == (place, number - 1)
        )

    def _note(self, read: Line) -> None:
        self.last = read.head
        self._seals[read.seq] = read.mac
        if len(self._seals) > _REMEMBERED:
            kept = self.head.seq if self.head is not None else None
            self._seals = {
                seq: mac
                for seq, mac in self._seals.items()
                if seq > read.seq - _REMEMBERED // 2 or seq == kept
            }

    def _find(
        self, flaw: Flaw, place: str, line: int, first: int | None = None, last: int | None = None
    ) -> None:
        self.findings.append(
            Finding(flaw, self.stream, place, line, first, last if last is not None else first)
        )


_REMEMBERED = 100_000  # seals, to tell a repetition from a forgery


def _less(gap: Finding, moved: set[int | None]) -> list[Finding]:
    """A gap without the single lines that were found elsewhere, at its ends."""
    first, last = gap.first or 0, gap.last or 0
    while first <= last and first in moved:
        first += 1
    while last >= first and last in moved:
        last -= 1
    return [replace(gap, first=first, last=last)] if first <= last else []
