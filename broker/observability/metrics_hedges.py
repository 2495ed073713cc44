"""Figures of what was done about slow managers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

from broker.federation.hedging import HedgeCounts


@dataclass(frozen=True, slots=True)
class HedgeFigures:
    counts: HedgeCounts

    def collect(self) -> Iterator[Metric]:
        hedges = CounterMetricFamily(
            "cds_hedges",
            "Managers that searches did not wait for (spared; stood-in: by a replica), and hedged reads (replica, home: "
            "whoever answered first; none, unproven, budget: no replica was shown, or none asked)",
            labels=["outcome"],
        )
        for outcome, count in self.counts.outcomes.items():
            hedges.add_metric([outcome], count)
        yield hedges
