"""The spans under which changes of one circle are published: one for each change, in the trace of what changed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.core.change_event import Change
from broker.core.trace_context import TraceContext
from broker.tracing import Kind, Span, Tracer, Within, passed


@dataclass(frozen=True, slots=True)
class Telling:
    """`changes`: each with the `traceparent` that its records carry. `spans`: of each; none where nothing is traced here."""

    changes: Sequence[Change]
    spans: Sequence[Span] = ()

    def under(self) -> Within | Span:
        """To be entered: the last change decides what is read at the home."""
        return Within(self.spans[-1]) if self.spans else passed(self.changes[-1].traceparent)

    def end(self, outcome: str) -> None:
        """`outcome`: sent, refused (by the log), put-off (its home does not give it now, or not yet)."""
        for span in self.spans:
            span.note("cds.outcome", outcome)
            span.end()


def telling(tracer: Tracer | None, changes: Sequence[Change]) -> Telling:
    """Begun now."""
    if tracer is None:
        return Telling(changes)
    spans = [_begun(tracer, change, len(changes)) for change in changes]
    told = [
        replace(change, traceparent=_traceparent(span)) for change, span in zip(changes, spans, strict=True)
    ]
    return Telling(told, spans)


def _begun(tracer: Tracer, change: Change, together: int) -> Span:
    parent = None if change.traceparent is None else TraceContext(change.traceparent)
    span = tracer.begin("publish change", Kind.PRODUCER, parent=parent)
    span.note("messaging.operation.type", "send")
    span.note("messaging.batch.message_count", together)
    span.note("cds.home", change.manager)
    return span


def _traceparent(span: Span) -> str | None:
    return None if span.context is None else span.context.traceparent
