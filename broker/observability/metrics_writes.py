"""Figures of the writes whose end is not known yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True, eq=False)
class WriteFigures:
    """`pending`: writes that were sent and not finished, and the age of the oldest in seconds, as of the last look.
    `settled`: how many of them this worker settled, by how."""

    pending: Callable[[], tuple[int, float | None]]
    settled: Callable[[], Mapping[str, int]]

    def collect(self) -> Iterator[Metric]:
        pending, oldest = self.pending()
        yield GaugeMetricFamily(
            "cds_writes_pending", "Writes that were recorded and whose end is not known yet", value=pending
        )
        yield GaugeMetricFamily("cds_writes_oldest_seconds", "Age of the oldest of them", value=oldest or 0)
        settled = CounterMetricFamily(
            "cds_writes_settled",
            "Writes of which somebody else had to find out what became",
            labels=["outcome"],
        )
        for how, count in self.settled().items():
            settled.add_metric([how], count)
        yield settled
