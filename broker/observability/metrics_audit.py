"""Figures of the trail of accesses: what was written, how long that takes, what waits, what was refused for want of
it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker.audit.sink import AuditState, ForwardState

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


@dataclass(frozen=True, slots=True, eq=False)
class AuditFigures:
    """`forwarding`: towards a repository, with what waits for it; None where there is none."""

    state: AuditState
    forwarding: Callable[[], tuple[ForwardState, int]] | None = None
    seconds: Histogram = field(
        default_factory=lambda: Histogram(
            "cds_audit_write_seconds",
            "A group of records into one sink",
            registry=None,
            buckets=_BUCKETS,
        )
    )

    def observe(self, seconds: float) -> None:
        self.seconds.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        state = self.state
        yield CounterMetricFamily(
            "cds_audit_accesses", "Accesses that left their trace", value=state.accesses
        )
        yield CounterMetricFamily("cds_audit_records", "AuditEvents written", value=state.records)
        yield CounterMetricFamily(
            "cds_audit_refused", "Requests refused since no trace could be written", value=state.refused
        )
        yield CounterMetricFamily(
            "cds_audit_lost", "Accesses without a trace (CDS_AUDIT_FAILURE=allow)", value=state.lost
        )
        failures = CounterMetricFamily(
            "cds_audit_failures", "Writes that a sink did not take", labels=["sink"]
        )
        for sink, count in state.failures.items():
            failures.add_metric([sink], count)
        yield failures
        yield GaugeMetricFamily(
            "cds_audit_broken", "1 while traces cannot be written", value=1 if state.broken else 0
        )
        yield GaugeMetricFamily(
            "cds_audit_waiting", "Accesses whose trace is not written yet", value=state.waiting
        )
        yield from self.seconds.collect()
        if self.forwarding is not None:
            yield from _forwarding(*self.forwarding())


def _forwarding(state: ForwardState, waiting: int) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "cds_audit_spool", "AuditEvents that wait for the repository, of this worker", value=waiting
    )
    yield CounterMetricFamily("cds_audit_delivered", "AuditEvents that it took", value=state.delivered)
    yield CounterMetricFamily(
        "cds_audit_rejected", "Those that it rejected, which were put aside", value=state.rejected
    )
    yield CounterMetricFamily(
        "cds_audit_delivery_failures", "Deliveries that it did not take", value=state.failures
    )
