"""W3C Trace Context: what `traceparent` and `tracestate` say, and whether they say it rightly. Pure.

    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
                 version, trace, span, flags; in lower-case hexadecimal digits
    tracestate:  vendor=opaque,tenant@other=opaque

Source: https://www.w3.org/TR/trace-context/ (level 1; of level 2 the flag `random`). Whoever sends what is not so has sent
nothing: the specification asks for that, and what is passed on is bounded so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MOST_STATE: Final = 512
"""Characters of `tracestate` that are passed on; what the specification asks for."""

_MOST_MEMBERS: Final = 32
_LONGEST: Final = 512  # of a traceparent of a later version, which may go on behind the flags
_VERSION, _NO_VERSION = "00", "ff"
_SAMPLED, _KNOWN_FLAGS = 0x01, 0x03  # of a later version the others mean nobody knows what
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)  # keys as level 2 has them: level 1's are among them


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace something is done. `traceparent`: valid, of version 00. `state`: `tracestate` to go with it."""

    traceparent: str
    state: str | None = None

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        return self.traceparent[36:52]

    @property
    def flags(self) -> int:
        return int(self.traceparent[53:], 16)

    @property
    def is_sampled(self) -> bool:
        return bool(self.flags & _SAMPLED)

    def headers(self) -> dict[str, str]:
        """Of an HTTP request that is a part of it."""
        if self.state is None:
            return {"traceparent": self.traceparent}
        return {"traceparent": self.traceparent, "tracestate": self.state}


def written(trace_id: int, span_id: int, flags: int) -> str:
    """A `traceparent`."""
    return f"{_VERSION}-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def read_traceparent(text: str) -> str | None:
    """As version 00 writes it; None for what is none."""
    match = _TRACEPARENT.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == _NO_VERSION or trace == _NO_TRACE or span == _NO_SPAN:
        return None
    if version == _VERSION:
        return None if more else text
    return f"{_VERSION}-{trace}-{span}-{int(flags, 16) & _KNOWN_FLAGS:02x}"


def read_state(headers: Iterable[str]) -> str | None:
    """The members of one or more `tracestate`, in order, as many as fit; None where there are none, or one is wrong."""
    members: list[str] = []
    keys: set[str] = set()
    for member in ",".join(headers).split(","):
        member = member.strip(" \t")
        if not member:
            continue
        match = _MEMBER.fullmatch(member)
        if match is None or match[1] in keys or len(members) == _MOST_MEMBERS:
            return None
        keys.add(match[1])
        members.append(member)
    return ",".join(_fitting(members)) or None


def _fitting(members: Sequence[str]) -> Sequence[str]:
    """Whole ones, from the left: the newest stand there."""
    size = -1
    for number, member in enumerate(members):
        size += 1 + len(member)
        if size > MOST_STATE:
            return members[:number]
    return members


def received(traceparents: Sequence[str], states: Sequence[str]) -> TraceContext | None:
    """What a request's headers of these names say; None where there is not exactly one `traceparent`, or it is none."""
    traceparent = read_traceparent(traceparents[0].strip(" \t")) if len(traceparents) == 1 else None
    return None if traceparent is None else TraceContext(traceparent, read_state(states))
