"""Figures of the index of circles, and of how much of each manager it holds.

Labels: slugs, bounded by the registry, and the three states of coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker.federation.locating import LocatorGuide
from broker.sync.coverage_watch import CoverageWatch
from registry.locator_model import CoverageState
from registry.model import Status


@dataclass(frozen=True, slots=True, eq=False)
class LocatorFigures:
    """`passing`: sightings learnt from searches, and dropped. `coverage`: what the console shows too."""

    guide: LocatorGuide
    passing: Callable[[], tuple[int, int]]
    coverage: CoverageWatch

    def collect(self) -> Iterator[Metric]:
        yield from self._looking_up()
        yield from self._coverage()

    def _looking_up(self) -> Iterator[Metric]:
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

    def _coverage(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "cds_locator_coverage_state", "1 for the state that it is in", labels=["manager", "state"]
        )
        age = GaugeMetricFamily(
            "cds_locator_coverage_age_seconds",
            "Since the instant up to which every change of an active manager is in the index",
            labels=["manager"],
        )
        fresh = GaugeMetricFamily(
            "cds_locator_coverage_fresh",
            "1 where an active manager is left out of searches of whose circles the index knows none there",
            labels=["manager"],
        )
        circles = GaugeMetricFamily(
            "cds_locator_circles", "Circles that the index holds of a manager", labels=["manager"]
        )
        old = self.coverage.since
        for one in self.coverage.known:
            for name in CoverageState:
                state.add_metric([one.id, name.value], 1 if one.state is name else 0)
            circles.add_metric([one.id], one.circles)
            if one.status is not Status.ACTIVE:
                continue
            trusted = one.fresh and one.age is not None and one.age + old <= self.guide.freshness
            fresh.add_metric([one.id], 1 if trusted else 0)
            if one.age is not None:
                age.add_metric([one.id], one.age + old)
        yield from (state, age, fresh, circles)
