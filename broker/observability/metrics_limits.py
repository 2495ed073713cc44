"""Figures of what was refused for being too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """`refused`: how many requests, by what bound."""

    refused: Callable[[], Mapping[str, int]]

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "cds_limit_refused", "Requests answered 429, by what was bounded", labels=["by"]
        )
        for name, count in self.refused().items():
            family.add_metric([name], count)
        yield family
