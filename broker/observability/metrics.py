"""`/metrics` in Prometheus' text format: what the rooms already know, read at the moment of asking.

Labels are manager slugs: bounded by the registry. Nothing of a person is ever a label or a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.core.breaker import BreakerState
from broker.federation.manager_guard import ManagerHealth
from broker.ports import Managers
from registry.model import Status


class Room(Protocol):
    """A part of the broker with figures of its own: `metrics_locator`, `metrics_writes`, `metrics_sync`."""

    def collect(self) -> Iterator[Metric]: ...


@dataclass(frozen=True, slots=True, eq=False)  # known by itself in Prometheus' registry
class Figures(Collector):
    """Where the figures come from. `rooms`: the other parts of the broker that have some."""

    managers: Managers
    health: Callable[[], Mapping[str, ManagerHealth]]
    rooms: Sequence[Room] = ()

    def collect(self) -> Iterator[Metric]:
        yield from self._managers()
        for room in self.rooms:
            yield from room.collect()

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


def figures_of_process(figures: Figures) -> CollectorRegistry:
    """With those of the process itself: processor time, memory, open files."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(figures)
    ProcessCollector(registry=registry)
    return registry
