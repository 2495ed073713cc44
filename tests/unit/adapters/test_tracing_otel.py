"""Spans as they are made and sent off: what they may hold, what is not recorded, and a collector that is of no use."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from adapters.tracing_otel import OtelTracer
from adapters.tracing_otel_export import ExportOptions, SpanExport
from broker.core.trace_context import TraceContext
from broker.errors import FailureKind, ManagerError, RequestError
from broker.observability.metrics_tracing import SpanFigures
from broker.observability.tracing import target_template
from broker.tracing import NOTHING, SPAN, Kind, Passed, SpanCounts, Tracer, present, stage, traceparent

THEIRS = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=secret")


class Taking(SpanExporter):
    """`refuse`: it takes nothing. `gate`: it takes nothing until that is set. `breaks`: it raises."""

    def __init__(self) -> None:
        self.taken: list[ReadableSpan] = []
        self.batches: list[int] = []
        self.refuse = self.breaks = False
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.gate.wait(10)
        if self.breaks:
            raise ValueError("patient 295109912611193")
        if self.refuse:
            return SpanExportResult.FAILURE
        self.taken += spans
        self.batches.append(len(spans))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.gate.set()


class Rig:
    def __init__(self, ratio: float = 1.0, options: ExportOptions | None = None) -> None:
        self.exporter, self.counts = Taking(), SpanCounts()
        self.export = SpanExport(self.exporter, self.counts, options)
        self.tracer: Tracer = OtelTracer(
            self.export, ratio=ratio, resource={"service.name": "x"}, version="1"
        )

    def sent(self) -> list[ReadableSpan]:
        """All, once they are."""
        self.export.close(10)
        return self.exporter.taken


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.export.close(5)


def test_a_stage_is_a_child_of_the_present_span(rig: Rig) -> None:
    with rig.tracer.begin("a", Kind.SERVER) as outer:
        assert SPAN.get() is outer
        with stage("b") as inner:
            assert SPAN.get() is inner
            assert inner.context is not None
            assert traceparent() == inner.context.traceparent
            with stage("c", Kind.CLIENT):
                pass
        assert SPAN.get() is outer
    assert SPAN.get() is None
    found = {one.name: one for one in rig.sent()}
    assert len({one.context.trace_id for one in found.values()}) == 1
    assert found["a"].parent is None
    for child, parent in (("b", "a"), ("c", "b")):
        told = found[child].parent
        assert told is not None
        assert told.span_id == found[parent].context.span_id
    assert found["c"].kind.name == "CLIENT"


def test_nothing_is_made_where_there_is_no_present_span() -> None:
    assert stage("a") is NOTHING
    with stage("a") as span:
        span.note("cds.managers", 3)
        assert SPAN.get() is None
        assert present() is None


def test_a_parent_is_continued_and_its_state_is_not_told_to_the_collector(rig: Rig) -> None:
    with rig.tracer.begin("a", Kind.SERVER, parent=THEIRS) as span:
        context = span.context
        assert context is not None
        assert (context.trace_id, context.state) == (THEIRS.trace_id, "vendor=secret")
        with stage("b") as child:
            assert child.context is not None
            assert child.context.state == "vendor=secret"
    for one in rig.sent():
        assert one.context.trace_state == {}
        assert "secret" not in one.to_json()
        assert one.parent is not None


def test_a_link_leads_to_another_trace(rig: Rig) -> None:
    with rig.tracer.begin("a", Kind.SERVER, links=[THEIRS]) as span:
        assert span.context is not None
        assert span.context.trace_id != THEIRS.trace_id
        assert span.context.state is None
    (one,) = rig.sent()
    assert [f"{link.context.trace_id:032x}" for link in one.links] == [THEIRS.trace_id]
    assert one.links[0].context.trace_state == {}


def test_only_what_the_catalogue_names_is_told(rig: Rig) -> None:
    with rig.tracer.begin("a", Kind.SERVER) as span:
        span.note("cds.manager", "bre")
        span.note("patient", "295109912611193")
    (one,) = rig.sent()
    assert dict(one.attributes or {}) == {"cds.manager": "bre"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("patient 295109912611193"), "ValueError"),
        (RequestError("request.bad-value", parameter="295109912611193", expected="x"), "request.bad-value"),
        (ManagerError(FailureKind.TIMEOUT, slug="bre"), "timeout"),
        (asyncio.CancelledError("295109912611193"), "cancelled"),
    ],
)
def test_of_an_error_the_kind_is_told_and_not_the_text(rig: Rig, error: BaseException, kind: str) -> None:
    with pytest.raises(type(error)), rig.tracer.begin("a", Kind.SERVER):
        raise error
    (one,) = rig.sent()
    assert one.status.status_code.name == "ERROR"
    assert one.attributes == {"error.type": kind}
    assert one.events == ()
    assert "295109912611193" not in one.to_json()


def test_what_is_not_sampled_is_passed_on_and_leaves_nothing() -> None:
    rig = Rig(ratio=0.0)
    with rig.tracer.begin("a", Kind.SERVER) as span:
        assert isinstance(span, Passed)
        assert stage("b") is NOTHING
        context = present()
        assert context is not None
        assert not context.is_sampled
        assert int(context.trace_id, 16)
        assert int(context.span_id, 16)
    assert rig.sent() == []
    assert rig.counts == SpanCounts()


@pytest.mark.parametrize(("flag", "recorded"), [("01", 1), ("00", 0)])
def test_who_began_a_trace_decides_whether_it_is_recorded(flag: str, recorded: int) -> None:
    rig = Rig(ratio=0.0 if recorded else 1.0)
    with rig.tracer.begin("a", Kind.CONSUMER, parent=TraceContext(THEIRS.traceparent[:-2] + flag)):
        pass
    assert len(rig.sent()) == recorded


def test_the_share_that_is_recorded() -> None:
    rig = Rig(ratio=0.2)
    spans = [rig.tracer.begin("a", Kind.SERVER) for _ in range(2000)]
    recorded = [one for one in spans if not isinstance(one, Passed)]
    assert 300 < len(recorded) < 500
    assert all(one.context is not None and one.context.is_sampled for one in recorded)
    rig.export.close(5)


def test_it_goes_in_batches_and_is_counted() -> None:
    rig = Rig(options=ExportOptions(batch=10, every=60.0))
    rig.exporter.gate.clear()
    for _ in range(25):
        rig.tracer.begin("a", Kind.SERVER).end()
    rig.exporter.gate.set()
    assert len(rig.sent()) == 25
    assert max(rig.exporter.batches) == 10
    assert rig.counts == SpanCounts(exported=25)


def test_few_do_not_wait_for_more() -> None:
    rig = Rig(options=ExportOptions(batch=10, every=0.05))
    rig.tracer.begin("a", Kind.SERVER).end()
    assert rig.exporter.asked.wait(10)
    assert len(rig.sent()) == 1


def test_a_collector_that_takes_nothing_costs_spans_and_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(options=ExportOptions(batch=1, every=60.0))
    with caplog.at_level(logging.INFO, "broker.tracing"):
        rig.exporter.refuse = True
        for _ in range(3):
            rig.exporter.asked.clear()
            rig.tracer.begin("a", Kind.SERVER).end()
            assert rig.exporter.asked.wait(10)
        rig.exporter.refuse, rig.exporter.breaks = False, True
        rig.exporter.asked.clear()
        rig.tracer.begin("a", Kind.SERVER).end()
        assert rig.exporter.asked.wait(10)
        rig.exporter.breaks = False
        rig.tracer.begin("a", Kind.SERVER).end()
        rig.export.close(10)
    assert rig.counts.exported + rig.counts.lost == 5
    assert rig.counts.lost >= 3
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 2, told
    assert "295109912611193" not in caplog.text


def test_what_waits_is_bounded_and_the_end_does_not_wait_for_a_hung_collector() -> None:
    rig = Rig(options=ExportOptions(most=20, batch=5, every=60.0))
    rig.exporter.gate.clear()
    for _ in range(5):
        rig.tracer.begin("a", Kind.SERVER).end()
    assert rig.exporter.asked.wait(10)  # the first five are in hand, and stay there
    for _ in range(50):
        rig.tracer.begin("a", Kind.SERVER).end()
    assert rig.counts.dropped == 30
    rig.export.close(0.1)
    assert rig.counts.dropped == 50
    rig.tracer.begin("a", Kind.SERVER).end()
    assert rig.counts.dropped == 51


def test_the_figures() -> None:
    counts = SpanCounts(exported=5, lost=2, dropped=1)
    samples = {
        (sample.name, sample.labels.get("reason")): sample.value
        for metric in SpanFigures(counts).collect()
        for sample in metric.samples
    }
    assert samples == {
        ("cds_spans_exported_total", None): 5,
        ("cds_spans_dropped_total", "collector"): 2,
        ("cds_spans_dropped_total", "queue"): 1,
    }


@pytest.mark.parametrize(
    ("target", "template"),
    [
        ("", "/"),
        ("metadata", "metadata"),
        ("CareTeam", "CareTeam"),
        ("CareTeam/_search", "CareTeam/_search"),
        ("CareTeam/295109912611193", "CareTeam/{id}"),
        ("CareTeam/12/_history/3", "CareTeam/{id}/_history/{id}"),
        ("CareTeam?identifier=295109912611193", "CareTeam"),
        ("295109912611193", "{other}"),
        ("metadata/295109912611193", "{other}"),
        ("https://m.example/fhir?_getpages=295109912611193", "{link}"),
    ],
)
def test_a_managers_address_is_told_as_a_template(target: str, template: str) -> None:
    assert target_template(target) == template
