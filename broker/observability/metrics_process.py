"""What the process itself holds beside what Prometheus' own `process_` figures tell: tasks of its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True)
class LoopFigures:
    """A number that grows without more requests under way tells of tasks that nobody ends."""

    def collect(self) -> Iterator[Metric]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # asked for outside of it, there is nothing to count
        tasks = len(asyncio.all_tasks(loop))
        yield GaugeMetricFamily("cds_tasks", "Tasks of the event loop that have not ended", value=tasks)
