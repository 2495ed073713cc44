"""Figures of traces: what became of spans. There are none where tracing is off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

from broker.tracing import SpanCounts


@dataclass(frozen=True, slots=True)
class SpanFigures:
    counts: SpanCounts

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "cds_spans_exported", "Spans that the collector took", value=self.counts.exported
        )
        dropped = CounterMetricFamily(
            "cds_spans_dropped",
            "Spans that nobody will see: the collector did not take them, or no room was left for them to wait",
            labels=["reason"],
        )
        dropped.add_metric(["collector"], self.counts.lost)
        dropped.add_metric(["queue"], self.counts.dropped)
        yield dropped
