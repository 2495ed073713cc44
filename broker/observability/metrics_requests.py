"""Figures of clients' requests: how many, how long, how they were recognised, why they were refused.

Labels: routes are those of the code, methods and statuses HTTP's, reasons the keys of the broker's texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, Metric

from broker.current_request import Served

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True, slots=True, eq=False)
class RequestFigures:
    """Told of each request by `tell`. Seconds run until an answer is ready to be sent."""

    requests: dict[tuple[str, str, str], int] = field(default_factory=dict)
    recognised: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    by_route: dict[str, Histogram] = field(default_factory=dict)
    seconds: Histogram = field(
        default_factory=lambda: Histogram(
            "cds_request_seconds",
            "Requests of clients, until the answer is ready",
            ["route"],
            registry=None,
            buckets=_BUCKETS,
        )
    )

    def tell(self, served: Served) -> None:
        which = (served.route, served.method, str(served.status))
        self.requests[which] = self.requests.get(which, 0) + 1
        self.recognised[served.how] = self.recognised.get(served.how, 0) + 1
        if served.reason is not None:
            self.refused[served.reason] = self.refused.get(served.reason, 0) + 1
        histogram = self.by_route.get(served.route)
        if histogram is None:
            histogram = self.by_route[served.route] = self.seconds.labels(served.route)
        histogram.observe(served.seconds)

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "cds_requests", "Requests of clients, by how they ended", labels=["route", "method", "status"]
        )
        for which, count in [*self.requests.items()]:
            requests.add_metric(which, count)
        recognised = CounterMetricFamily(
            "cds_requests_recognised", "Requests, by how who asks was recognised", labels=["how"]
        )
        for how, count in [*self.recognised.items()]:
            recognised.add_metric([how], count)
        refused = CounterMetricFamily(
            "cds_requests_refused", "Requests answered with an error, by its text's key", labels=["reason"]
        )
        for reason, count in [*self.refused.items()]:
            refused.add_metric([reason], count)
        yield from (requests, recognised, refused)
        yield from self.seconds.collect()
