"""`Tracer` on OpenTelemetry's SDK: the only module that knows its spans. Imported where tracing is on, and not before.

Spans that are not sampled are not made: of such a trace only its ids go on, with the flag that says so. No `tracestate` is
told to the SDK, which would export it: it is a client's own text. What goes on to managers is kept beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace import Span as Recorded
from opentelemetry.trace import Tracer as Recorder
from opentelemetry.trace.status import Status, StatusCode

from broker.core.trace_context import TraceContext, written
from broker.tracing import ATTRIBUTES, SPAN, Kind, Passed, Span, Value, kind_of

_KINDS: Final[Mapping[Kind, SpanKind]] = {one: SpanKind[one.name] for one in Kind}
_NOWHERE: Final = Context()
_FAILED: Final = Status(StatusCode.ERROR)


class OtelTracer:
    """`ratio`: of the traces that begin here, 0 to 1. `resource`: attributes of this process, beside those that the
    environment gives (`OTEL_RESOURCE_ATTRIBUTES`)."""

    def __init__(
        self, processor: SpanProcessor, *, ratio: float, resource: Mapping[str, str | int], version: str
    ) -> None:
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create(resource),
            shutdown_on_exit=False,  # whoever made the processor ends it, within a bound
        )
        provider.add_span_processor(processor)
        self._recorder = provider.get_tracer("cds-broker", version)

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
    ) -> Span:
        recorded = self._recorder.start_span(
            name,
            context=_NOWHERE if parent is None else set_span_in_context(_remote(parent), _NOWHERE),
            kind=_KINDS[kind],
            links=[Link(_context(one)) for one in links],
        )
        state = None if parent is None else parent.state
        context = recorded.get_span_context()
        goes_on = TraceContext(written(context.trace_id, context.span_id, context.trace_flags), state)
        if not recorded.is_recording():
            return Passed(goes_on)
        return _OtelSpan(self._recorder, recorded, goes_on)


class _OtelSpan:
    __slots__ = ("_before", "_recorded", "_recorder", "_within", "context")

    def __init__(self, recorder: Recorder, recorded: Recorded, context: TraceContext) -> None:
        self._recorder = recorder
        self._recorded = recorded
        self._within: Context | None = None
        self._before: Token[Span | None] | None = None
        self.context: TraceContext | None = context

    def note(self, name: str, value: Value) -> None:
        if name in ATTRIBUTES:  # whatever is put elsewhere, nothing else leaves
            self._recorded.set_attribute(name, value)

    def failed(self, kind: str) -> None:
        self._recorded.set_attribute("error.type", kind)
        self._recorded.set_status(_FAILED)

    def child(self, name: str, kind: Kind = Kind.INTERNAL) -> Span:
        if self._within is None:
            self._within = set_span_in_context(self._recorded, _NOWHERE)
        recorded = self._recorder.start_span(name, context=self._within, kind=_KINDS[kind])
        own = recorded.get_span_context()
        state = None if self.context is None else self.context.state
        context = TraceContext(written(own.trace_id, own.span_id, own.trace_flags), state)
        return _OtelSpan(self._recorder, recorded, context)

    def end(self) -> None:
        self._recorded.end()

    def __enter__(self) -> Span:
        self._before = SPAN.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            SPAN.reset(self._before)
        if error is not None:
            self.failed(kind_of(error))
        self._recorded.end()


def _context(of: TraceContext) -> SpanContext:
    return SpanContext(
        int(of.trace_id, 16), int(of.span_id, 16), is_remote=True, trace_flags=TraceFlags(of.flags)
    )


def _remote(parent: TraceContext) -> NonRecordingSpan:
    return NonRecordingSpan(_context(parent))
