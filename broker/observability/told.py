"""What one process of a broker tells the others of itself: its figures, and what it lives through with managers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from prometheus_client.core import Metric

from broker.federation.manager_guard import ManagerHealth
from broker.federation.traffic import BUCKETS, Bucket, ManagerTraffic

TELL: Final = b"tell"
"""To a process: what it tells, `Told` as MessagePack."""
OUTLOOK: Final = b"outlook"
"""To who knows what all of them tell: `Outlook` as MessagePack."""
METRICS: Final = b"metrics"
"""To the same: the page of figures, as Prometheus reads it."""
READY: Final = b"ready"
"""To the same: this process serves."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """`kind`: as Prometheus has it, `counter`, `gauge`, `histogram`."""

    name: str
    documentation: str
    kind: str
    samples: list[Sample]


class TrafficTold(msgspec.Struct, frozen=True):
    """A `ManagerTraffic`: clocks are those of one machine, and so are the places of its buckets."""

    results: dict[str, int]
    seconds: float
    failing: int
    last: float
    buckets: list[Bucket]

    @classmethod
    def of(cls, traffic: ManagerTraffic) -> TrafficTold:
        return cls(
            dict(traffic.results), traffic.seconds, traffic.failing, traffic.last, list(traffic.buckets)
        )

    def traffic(self) -> ManagerTraffic:
        buckets = deque(self.buckets, maxlen=BUCKETS)
        return ManagerTraffic(Counter(self.results), self.seconds, self.failing, self.last, buckets)


class Outlook(msgspec.Struct, frozen=True):
    """On the managers, by slug. `waiting_for`: circles that wait for their home to give them, so that they are published."""

    health: dict[str, ManagerHealth] = {}
    traffic: dict[str, TrafficTold] = {}
    waiting_for: dict[str, int] = {}

    @classmethod
    def of(
        cls,
        health: Mapping[str, ManagerHealth],
        traffic: Mapping[str, ManagerTraffic],
        waiting_for: Mapping[str, int],
    ) -> Outlook:
        return cls(
            dict(health),
            {slug: TrafficTold.of(one) for slug, one in traffic.items()},
            dict(waiting_for),
        )


class Told(msgspec.Struct, frozen=True):
    families: list[Family]
    outlook: Outlook


def families(metrics: Iterable[Metric]) -> list[Family]:
    return [
        Family(
            one.name,
            one.documentation,
            one.type,
            [Sample(each.name, each.labels, float(each.value)) for each in one.samples],
        )
        for one in metrics
    ]
