"""Figures of synchronisation: what waits, how long publishing takes, how far subscribers are behind.

What is asked of the store or the log was asked a moment ago (`broker.sync.watch`): showing figures waits for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker.sync.publisher import Publisher
from broker.sync.rest_hook import HookFigures
from broker.sync.watch import SyncWatch
from registry.subscription_model import QueueState

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


@dataclass(frozen=True, slots=True, eq=False)
class PublishLatency:
    """Seconds from the outbox into the log, of each change that this worker published."""

    histogram: Histogram = field(
        default_factory=lambda: Histogram(
            "cds_publish_seconds",
            "From the outbox into the change log, each change",
            registry=None,
            buckets=_BUCKETS,
        )
    )

    def observe(self, seconds: float) -> None:
        self.histogram.observe(seconds)


@dataclass(frozen=True, slots=True, eq=False)
class SyncFigures:
    """`queues`: of rest-hooks, by subscription. `subscriptions`: how many, by status; `bootstraps`: by state."""

    watch: SyncWatch
    publisher: Publisher
    hooks: HookFigures
    queues: Mapping[str, QueueState]
    subscriptions: Callable[[], Mapping[str, int]]
    bootstraps: Callable[[], Mapping[str, int]]
    latency: PublishLatency

    def collect(self) -> Iterator[Metric]:
        yield from self._publishing()
        yield from self._subscribers()
        yield from self._hooks()
        yield from self.latency.histogram.collect()

    def _publishing(self) -> Iterator[Metric]:
        state = self.watch.outbox_state
        if state is not None:
            yield GaugeMetricFamily(
                "cds_outbox_depth", "Changes that wait to be published", value=state.depth
            )
            yield GaugeMetricFamily(
                "cds_outbox_oldest_seconds", "Age of the oldest of them", value=state.age or 0
            )
        figures = self.publisher.figures
        yield GaugeMetricFamily(
            "cds_publisher_leading",
            "1 on the worker that publishes",
            value=1 if self.publisher.leading else 0,
        )
        yield CounterMetricFamily(
            "cds_events_published", "Changes that this worker published", value=figures.published
        )
        yield CounterMetricFamily(
            "cds_events_reduced", "Those too large for the log, told by ids only", value=figures.reduced
        )
        yield CounterMetricFamily(
            "cds_log_failures", "Publishings that the change log did not take", value=figures.log_failures
        )
        waiting = GaugeMetricFamily(
            "cds_publisher_waiting", "Circles that wait for their home to give them", labels=["manager"]
        )
        for slug, count in figures.waiting_for.items():
            waiting.add_metric([slug], count)
        yield waiting

    def _subscribers(self) -> Iterator[Metric]:
        behind = GaugeMetricFamily(
            "cds_subscriber_lag_events", "Events that a manager's agents have not settled", labels=["manager"]
        )
        late = GaugeMetricFamily(
            "cds_subscriber_lag_seconds", "Age of the oldest of them", labels=["manager"]
        )
        for slug, left in self.watch.backlogs.items():
            behind.add_metric([slug], left.events)
            late.add_metric([slug], left.seconds)
        letters = GaugeMetricFamily(
            "cds_dead_letters", "Events that a manager's agents could not apply", labels=["manager"]
        )
        for slug, count in self.watch.letters.items():
            letters.add_metric([slug], count)
        status = GaugeMetricFamily("cds_subscriptions", "Subscriptions", labels=["status"])
        for name, count in self.subscriptions().items():
            status.add_metric([name], count)
        newcomers = GaugeMetricFamily(
            "cds_bootstraps", "Subscriptions and managers: the present state is sent", labels=["state"]
        )
        for name, count in self.bootstraps().items():
            newcomers.add_metric([name], count)
        yield from (behind, late, letters, status, newcomers)

    def _hooks(self) -> Iterator[Metric]:
        states = self.queues.values()
        yield GaugeMetricFamily(
            "cds_hook_events_waiting",
            "Events that wait for their endpoint",
            value=sum(one.waiting for one in states),
        )
        yield GaugeMetricFamily(
            "cds_hook_failing",
            "Endpoints that did not take their last notification",
            value=sum(1 for one in states if one.failures),
        )
        yield GaugeMetricFamily(
            "cds_hook_parked",
            "Endpoints that nothing is sent to until their owner asks",
            value=sum(1 for one in states if one.parked),
        )
        yield GaugeMetricFamily(
            "cds_hook_events_lost",
            "Events dropped before they arrived, being over the bounds",
            value=sum(one.lost for one in states),
        )
        yield CounterMetricFamily(
            "cds_hook_events_delivered", "Events that this worker delivered", value=self.hooks.delivered
        )
        yield CounterMetricFamily(
            "cds_hook_posts_failed", "Notifications that were not taken", value=self.hooks.failed
        )
