"""`/metrics` in Prometheus' text format: what the rooms already know, read at the moment of asking.

Labels are manager slugs: bounded by the registry. Nothing of a person is ever a label or a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from broker.core.breaker import BreakerState
from broker.federation.locating import LocatorGuide
from broker.federation.manager_guard import ManagerHealth
from broker.ports import Managers
from registry.model import Status


@dataclass(frozen=True, slots=True, eq=False)
class LocatorFigures:
    """`conflicts`: persons with two homes, None while not known. `passing`: sightings learnt from searches, and dropped."""

    guide: LocatorGuide
    conflicts: Callable[[], int | None]
    passing: Callable[[], tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class WriteFigures:
    """`pending`: writes that were sent and not finished, and the age of the oldest in seconds, as of the last look.
    `settled`: how many of them this worker settled, by how."""

    pending: Callable[[], tuple[int, float | None]]
    settled: Callable[[], Mapping[str, int]]


@dataclass(frozen=True, slots=True, eq=False)  # known by itself in Prometheus' registry
class Figures(Collector):
    """Where the figures come from. `locator` is None where there is none."""

    managers: Managers
    health: Callable[[], Mapping[str, ManagerHealth]]
    locator: LocatorFigures | None
    writes: WriteFigures | None = None

    def collect(self) -> Iterator[Metric]:
        yield from self._managers()
        if self.writes is not None:
            yield from _writes(self.writes)
        if self.locator is not None:
            yield from _locator(self.locator)

    def _managers(self) -> Iterator[Metric]:
        active = GaugeMetricFamily("cds_manager_active", "1 where the manager is asked", labels=["manager"])
        for one in self.managers.all():
            manager = one.gestionnaire
            active.add_metric([manager.id], 1 if manager.status is Status.ACTIVE else 0)
        yield active
        closed = GaugeMetricFamily(
            "cds_manager_breaker_closed", "1 where the breaker lets requests through", labels=["manager"]
        )
        in_flight = GaugeMetricFamily("cds_manager_in_flight", "Requests under way", labels=["manager"])
        for slug, health in self.health().items():
            closed.add_metric([slug], 1 if health.breaker is BreakerState.CLOSED else 0)
            in_flight.add_metric([slug], health.in_flight)
        yield closed
        yield in_flight


def _locator(figures: LocatorFigures) -> Iterator[Metric]:
    guide = figures.guide
    yield GaugeMetricFamily(
        "cds_locator_up",
        "1 while the locator answers; 0 while it is out and everybody is asked",
        value=0 if guide.out else 1,
    )
    yield CounterMetricFamily("cds_locator_lookups", "Searches that asked the locator", value=guide.lookups)
    yield CounterMetricFamily(
        "cds_locator_outages", "Look-ups that the locator did not answer", value=guide.outages
    )
    learnt, dropped = figures.passing()
    yield CounterMetricFamily("cds_locator_learnt_in_passing", "Circles learnt from searches", value=learnt)
    yield CounterMetricFamily("cds_locator_dropped_in_passing", "Pages not learnt from", value=dropped)
    conflicts = figures.conflicts()
    if conflicts is not None:
        yield GaugeMetricFamily("cds_conflicts", "Persons with more than one home circle", value=conflicts)


def _writes(figures: WriteFigures) -> Iterator[Metric]:
    pending, oldest = figures.pending()
    yield GaugeMetricFamily(
        "cds_writes_pending", "Writes that were recorded and whose end is not known yet", value=pending
    )
    yield GaugeMetricFamily("cds_writes_oldest_seconds", "Age of the oldest of them", value=oldest or 0)
    settled = CounterMetricFamily(
        "cds_writes_settled", "Writes of which somebody else had to find out what became", labels=["outcome"]
    )
    for how, count in figures.settled().items():
        settled.add_metric([how], count)
    yield settled


def metrics_page(figures: Figures) -> Callable[[], bytes]:
    """What renders the page. Each worker has its own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(figures)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)
