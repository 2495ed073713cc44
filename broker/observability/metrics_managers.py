"""Figures of what managers are asked: how many requests, how they ended, how long they took.

Labels: slugs, bounded by the registry, and kinds of failure, bounded by `FailureKind`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, Metric

from broker.core.breaker import BreakerState
from broker.core.manager_failure import kind_of_status
from broker.errors import ManagerError
from broker.federation.manager_guard import ManagerHealth
from broker.ports import Clock, ManagerAnswer, ManagerClient, ManagerRequest
from registry.model import Gestionnaire

OK = "ok"

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True, slots=True, eq=False)
class ManagerFigures:
    """What the clients that it observes were answered; what was not sent (breaker open, busy) has a kind and no time."""

    clock: Clock
    results: dict[tuple[str, str], int] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)
    by_slug: dict[str, Histogram] = field(default_factory=dict)
    seconds: Histogram = field(
        default_factory=lambda: Histogram(
            "cds_manager_seconds",
            "Requests to a manager, until the whole answer was there or it failed",
            ["manager"],
            registry=None,
            buckets=_BUCKETS,
        )
    )

    def observing(self, client: ManagerClient) -> ManagerClient:
        return _Observed(client, self)

    def breaker_changed(self, health: ManagerHealth) -> None:
        if health.breaker is not BreakerState.CLOSED:
            self.opened[health.slug] = self.opened.get(health.slug, 0) + 1

    def count(self, slug: str, kind: str, seconds: float | None) -> None:
        self.results[slug, kind] = self.results.get((slug, kind), 0) + 1
        if seconds is None:
            return
        histogram = self.by_slug.get(slug)
        if histogram is None:
            histogram = self.by_slug[slug] = self.seconds.labels(slug)
        histogram.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        results = CounterMetricFamily(
            "cds_manager_requests", "Requests to a manager, by how they ended", labels=["manager", "kind"]
        )
        for which, count in [*self.results.items()]:
            results.add_metric(which, count)
        opened = CounterMetricFamily(
            "cds_manager_breaker_opened", "How often its breaker opened", labels=["manager"]
        )
        for slug, count in [*self.opened.items()]:
            opened.add_metric([slug], count)
        yield from (results, opened)
        yield from self.seconds.collect()


@dataclass(frozen=True, slots=True)
class _Observed:
    """A `ManagerClient` around another."""

    client: ManagerClient
    figures: ManagerFigures

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        figures = self.figures
        began = figures.clock.monotonic()
        try:
            answer = await self.client.send(manager, request, timeout=timeout)
        except ManagerError as error:
            seconds = figures.clock.monotonic() - began if error.sent else None
            figures.count(manager.id, error.kind.value, seconds)
            raise
        kind = kind_of_status(answer.status)
        figures.count(manager.id, OK if kind is None else kind.value, figures.clock.monotonic() - began)
        return answer
