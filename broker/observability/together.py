"""The figures of several processes as those of one broker. Pure.

What is counted is added up, also of processes that have ended: a counter never falls. Of what is so now, each name has its
rule: added up where each process has its own share, else the least or the most of what they say of one shared thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from broker.core.breaker import BreakerState
from broker.federation.manager_guard import ManagerHealth
from broker.federation.traffic import Bucket
from broker.observability.told import Family, Outlook, Sample, Told, TrafficTold

ADDED_UP: Final = frozenset(
    {"cds_manager_in_flight", "cds_audit_waiting", "cds_audit_spool", "cds_publisher_waiting", "cds_tasks"}
)
"""Gauges of which each process has its own share."""
LEAST: Final = frozenset(
    {"cds_manager_active", "cds_manager_breaker_closed", "cds_locator_up", "cds_locator_coverage_fresh"}
)
"""Gauges that are 1 where all is well: one process that sees it otherwise is enough."""
MOST: Final = frozenset({
    "cds_locator_circles", "cds_locator_coverage_age_seconds", "cds_locator_coverage_state",
    "cds_audit_broken", "cds_bootstraps", "cds_conflict_oldest_seconds", "cds_conflicts", "cds_conflicts_age_seconds",
    "cds_conflicts_unpublished", "cds_dead_letters", "cds_hook_events_lost", "cds_hook_events_waiting", "cds_hook_failing",
    "cds_hook_parked", "cds_outbox_depth", "cds_outbox_oldest_seconds", "cds_publisher_leading", "cds_store_may_evict",
    "cds_subscriber_lag_events", "cds_subscriber_lag_seconds", "cds_subscriptions", "cds_writes_oldest_seconds",
    "cds_writes_pending",
})  # fmt: skip
"""Gauges of one thing that all see, or one alone; and those that are 1 where something is wrong."""
SHARED: Final = frozenset({"cds_store_evicted_keys"})
"""Counters of one thing that each process sees."""
OWN: Final = "process_"
"""Figures of a process itself: told of each, by name."""

_COUNTED: Final = frozenset({"counter", "histogram", "summary"})
_WORST: Final = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)

_Key = tuple[str, tuple[tuple[str, str], ...]]
_Rule = Callable[[float, float], float]
_T = TypeVar("_T")


def _rule(family: Family, sample: Sample) -> _Rule:
    if sample.name.endswith("_created"):
        return min  # since when there is such a figure
    if family.kind in _COUNTED:
        return max if family.name in SHARED else _sum
    if family.name in LEAST:
        return min
    return _sum if family.name in ADDED_UP else max


def _sum(one: float, other: float) -> float:
    return one + other


@dataclass(slots=True)
class Together:
    """By name of the process. `ended`: what those counted that are gone."""

    told: dict[str, Told] = field(default_factory=dict)
    ended: list[Family] = field(default_factory=list)

    def tell(self, process: str, told: Told) -> None:
        self.told[process] = told

    def gone(self, process: str) -> None:
        told = self.told.pop(process, None)
        if told is not None:
            counted = [
                one
                for one in told.families
                if one.kind in _COUNTED and not one.name.startswith(OWN) and one.name not in SHARED
            ]
            self.ended = list(added([self.ended, counted]))

    def families(self) -> Iterator[Family]:
        """In the order in which they were first told."""
        return added([*(_labelled(name, one.families) for name, one in self.told.items()), self.ended])

    def outlook(self) -> Outlook:
        """The worst that any of them sees of a manager, and all that they exchanged with it."""
        outlooks = [one.outlook for one in self.told.values()]
        waiting: Counter[str] = Counter()
        for one in outlooks:
            waiting.update(one.waiting_for)
        return Outlook(
            {slug: _health(each) for slug, each in _by_slug(one.health for one in outlooks)},
            {slug: _traffic(each) for slug, each in _by_slug(one.traffic for one in outlooks)},
            dict(waiting),
        )


def added(told: Iterable[Iterable[Family]]) -> Iterator[Family]:
    """The families of all, each once."""
    heads: dict[str, Family] = {}
    values: dict[str, dict[_Key, Sample]] = {}
    for family in (family for one in told for family in one):
        heads.setdefault(family.name, family)
        known = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            before = known.get(key)
            value = sample.value if before is None else _rule(family, sample)(before.value, sample.value)
            known[key] = Sample(sample.name, sample.labels, value)
    for name, head in heads.items():
        yield Family(name, head.documentation, head.kind, list(values[name].values()))


def page(families: Iterable[Family]) -> bytes:
    """In Prometheus' text format."""
    return generate_latest(_Told(families))


@dataclass(frozen=True, slots=True)
class _Told(Collector):
    families: Iterable[Family]

    def collect(self) -> Iterator[Metric]:
        for family in self.families:
            metric = Metric(family.name, family.documentation, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric


def _labelled(process: str, families: Iterable[Family]) -> Iterator[Family]:
    for family in families:
        if not family.name.startswith(OWN):
            yield family
            continue
        samples = [Sample(one.name, {**one.labels, "process": process}, one.value) for one in family.samples]
        yield Family(family.name, family.documentation, family.kind, samples)


def _by_slug(mappings: Iterable[Mapping[str, _T]]) -> Iterator[tuple[str, Sequence[_T]]]:
    found: dict[str, list[_T]] = {}
    for mapping in mappings:
        for slug, one in mapping.items():
            found.setdefault(slug, []).append(one)
    yield from found.items()


def _health(seen: Sequence[ManagerHealth]) -> ManagerHealth:
    worst = max(seen, key=lambda one: _WORST.index(one.breaker))
    return replace(
        worst, in_flight=sum(one.in_flight for one in seen), waiting=sum(one.waiting for one in seen)
    )


def _traffic(seen: Sequence[TrafficTold]) -> TrafficTold:
    latest = max(seen, key=lambda one: one.last)
    results: Counter[str] = Counter()
    buckets: dict[int, Bucket] = {}
    for one in seen:
        results.update(one.results)
        for bucket in one.buckets:
            before = buckets.get(bucket.place, Bucket(bucket.place))
            buckets[bucket.place] = Bucket(
                bucket.place,
                before.exchanges + bucket.exchanges,
                before.failed + bucket.failed,
                before.seconds + bucket.seconds,
            )
    return TrafficTold(
        dict(results),
        sum(one.seconds for one in seen),
        latest.failing,
        latest.last,
        [buckets[place] for place in sorted(buckets)],
    )
