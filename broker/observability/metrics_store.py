"""Figures of the store: whether it may throw away what it was given to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """`evicting`: None where it is not known. `evicted`: keys since the server started."""

    evicting: Callable[[], bool | None]
    evicted: Callable[[], int]

    def collect(self) -> Iterator[Metric]:
        evicting = self.evicting()
        if evicting is None:
            return
        yield GaugeMetricFamily(
            "cds_store_may_evict",
            "1 where the store's maxmemory-policy throws keys away at its limit",
            value=1 if evicting else 0,
        )
        yield CounterMetricFamily(
            "cds_store_evicted_keys",
            "Keys that the store threw away since it started, of whomsoever",
            value=self.evicted(),
        )
