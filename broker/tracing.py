"""Traces: which steps a request was, how long each took, and which request caused what was done elsewhere. A port.

Off, which is the default, there is no tracer: nobody makes a span, `SPAN` is empty, and each place that would make one looks
at it once. What a client says of a trace of its own is then passed on as it came (`Passed`).

On, a tracer (`adapters.tracing_otel`) begins spans where something comes in: a request, a change to be published, an event
to be applied. Everything within makes children of the span that `SPAN` holds, which tasks inherit; so the rooms in between
know of spans by `stage` alone. What is not sampled costs no more than that: it is passed on too.

A span has what `ATTRIBUTES` names, and nothing else: no address, no query, no header, no text of an error, nothing of a
person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from types import TracebackType
from typing import Final, Protocol

from broker.core.trace_context import TraceContext
from broker.errors import BrokerError

Value = str | int | float

ATTRIBUTES: Final[Mapping[str, str]] = {
    "http.request.method": "HTTP method; `_OTHER` where HTTP does not define it",
    "http.route": "template of the path of a request to the broker, as `/fhir/{type}/{id}`",
    "url.template": "what a manager is asked, relative to its base: type and interaction, `{id}` and `{link}` for the rest",
    "http.response.status_code": "of the answer",
    "http.response.body.size": "bytes of a manager's answer",
    "error.type": "how it failed: a status, a kind of failure, the type of an error",
    "messaging.operation.type": "send or process",
    "messaging.batch.message_count": "changes of a circle that are published together; events in one notification",
    "cds.request_id": "X-Request-Id, of the answer, the log and the trail of accesses",
    "cds.reason": "key of the text that a refusal was told with",
    "cds.manager": "a manager's id",
    "cds.resent": "why it was sent once more: connection (a kept one was gone) or credentials (they were renewed)",
    "cds.managers": "how many managers are asked at a time",
    "cds.streams": "managers whose results are merged",
    "cds.matches": "results on a page",
    "cds.home": "id of the manager that a change was made at",
    "cds.outcome": "what became of a change: sent, refused, put-off; of an event: applied, needless, own, dead",
    "cds.attempt": "which try it is",
    "cds.notification": "what a subscriber is told: handshake, heartbeat, event-notification",
}
"""What a span may have, beside its name, times and links."""


class Kind(Enum):
    """As OpenTelemetry has them."""

    SERVER = auto()
    CLIENT = auto()
    INTERNAL = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class Span(Protocol):
    """A step of a trace. As a context manager it is the present one (`SPAN`) until its block ends, and ends with it.

    What leaves the block as an exception is noted by its type.
    """

    @property
    def context(self) -> TraceContext | None:
        """What goes on to whoever is asked within it; None where nothing does."""
        ...

    def note(self, name: str, value: Value) -> None:
        """`name`: one of `ATTRIBUTES`."""
        ...

    def failed(self, kind: str) -> None:
        """`kind`: for `error.type`."""
        ...

    def child(self, name: str, kind: Kind = Kind.INTERNAL) -> Span:
        """A step of it, begun now."""
        ...

    def end(self) -> None:
        """Of one that was not entered: now."""
        ...

    def __enter__(self) -> Span: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Tracer(Protocol):
    """Where spans begin that have no parent in this process."""

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
    ) -> Span:
        """A step of `parent`'s trace, recorded where that is; without one, of a trace of its own. `links`: what else it is
        about."""
        ...


@dataclass(slots=True)
class SpanCounts:
    """What became of recorded spans. `exported`: the collector took them. `lost`: it did not. `dropped`: they found no room
    to wait."""

    exported: int = 0
    lost: int = 0
    dropped: int = 0


SPAN: Final[ContextVar[Span | None]] = ContextVar("cds_span", default=None)
"""The present span of this task; tasks that it starts inherit it."""


class _Nothing:
    """In place of a span where none is made. One for all."""

    __slots__ = ()

    @property
    def context(self) -> TraceContext | None:
        return None

    def note(self, name: str, value: Value) -> None: ...

    def failed(self, kind: str) -> None: ...

    def child(self, name: str, kind: Kind = Kind.INTERNAL) -> Span:
        return self

    def end(self) -> None: ...

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


NOTHING: Final[Span] = _Nothing()


class Passed:
    """A trace that goes through and leaves nothing: of a client where tracing is off, or one that is not sampled."""

    __slots__ = ("_before", "context")

    def __init__(self, context: TraceContext) -> None:
        self.context: TraceContext | None = context
        self._before: Token[Span | None] | None = None

    def note(self, name: str, value: Value) -> None: ...

    def failed(self, kind: str) -> None: ...

    def child(self, name: str, kind: Kind = Kind.INTERNAL) -> Span:
        return NOTHING

    def end(self) -> None: ...

    def __enter__(self) -> Span:
        self._before = SPAN.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            SPAN.reset(self._before)


class Within:
    """A span made the present one for a block, and not ended by it."""

    __slots__ = ("_before", "_span")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._before: Token[Span | None] | None = None

    def __enter__(self) -> Span:
        self._before = SPAN.set(self._span)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            SPAN.reset(self._before)


def stage(name: str, kind: Kind = Kind.INTERNAL) -> Span:
    """A step of the present span, to be entered; nothing where there is none."""
    span = SPAN.get()
    return NOTHING if span is None else span.child(name, kind)


def passed(traceparent: str | None) -> Span:
    """To be entered where tracing is off: what is asked within belongs to that trace. None: to none."""
    return NOTHING if traceparent is None else Passed(TraceContext(traceparent))


def present() -> TraceContext | None:
    """Where in which trace this is done."""
    span = SPAN.get()
    return None if span is None else span.context


def traceparent() -> str | None:
    """The same, for what is done about it later."""
    span = SPAN.get()
    context = None if span is None else span.context
    return None if context is None else context.traceparent


def kind_of(error: BaseException) -> str:
    """For `error.type`: its kind, the key of its text, or its type; of no error the text itself."""
    kind = getattr(error, "kind", None)
    if isinstance(kind, StrEnum):
        return kind.value
    if isinstance(error, BrokerError):
        return error.key
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
