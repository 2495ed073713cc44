"""Figures of the index of circles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker.federation.locating import LocatorGuide


@dataclass(frozen=True, slots=True, eq=False)
class LocatorFigures:
    """`passing`: sightings learnt from searches, and dropped."""

    guide: LocatorGuide
    passing: Callable[[], tuple[int, int]]

    def collect(self) -> Iterator[Metric]:
        guide = self.guide
        yield GaugeMetricFamily(
            "cds_locator_up",
            "1 while the locator answers; 0 while it is out and everybody is asked",
            value=0 if guide.out else 1,
        )
        yield CounterMetricFamily(
            "cds_locator_lookups", "Searches that asked the locator", value=guide.lookups
        )
        yield CounterMetricFamily(
            "cds_locator_outages", "Look-ups that the locator did not answer", value=guide.outages
        )
        learnt, dropped = self.passing()
        yield CounterMetricFamily(
            "cds_locator_learnt_in_passing", "Circles learnt from searches", value=learnt
        )
        yield CounterMetricFamily("cds_locator_dropped_in_passing", "Pages not learnt from", value=dropped)
