"""Figures of persons with two homes. Known as of the watch's last look: showing them waits for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from broker.ports import Clock
from broker.sync.conflict_watch import ConflictWatch


@dataclass(frozen=True, slots=True, eq=False)
class ConflictFigures:
    """Nothing is shown while it is not known."""

    watch: ConflictWatch
    clock: Clock

    def collect(self) -> Iterator[Metric]:
        known = self.watch.known
        if known is None:
            return
        now = self.clock.now().timestamp()
        open_ = [one for one in known.conflicts if one.is_open]
        yield GaugeMetricFamily("cds_conflicts", "Persons with more than one home circle", value=len(open_))
        yield GaugeMetricFamily(
            "cds_conflict_oldest_seconds",
            "For how long the oldest of them has been known",
            value=max((now - one.since for one in open_), default=0.0),
        )
        if self.watch.teller is not None:
            yield GaugeMetricFamily(
                "cds_conflicts_unpublished",
                "Conflicts, and ends of conflicts, whose event is not in the change log yet",
                value=sum(not one.is_told for one in known.conflicts),
            )
        if known.looked is not None:
            yield GaugeMetricFamily(
                "cds_conflicts_age_seconds",
                "Since the index was last asked for conflicts",
                value=max(0.0, now - known.looked),
            )
