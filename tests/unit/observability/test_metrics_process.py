"""Tasks of the event loop, as `/metrics` tells them."""

from __future__ import annotations

import asyncio

from broker.observability.metrics_process import LoopFigures


def _told() -> float:
    (family,) = LoopFigures().collect()
    assert family.name == "cds_tasks"
    (sample,) = family.samples
    return sample.value


async def test_tasks_are_counted_until_they_end() -> None:
    before = _told()
    stop = asyncio.Event()
    tasks = [asyncio.create_task(stop.wait()) for _ in range(7)]
    assert _told() == before + 7
    stop.set()
    await asyncio.gather(*tasks)
    assert _told() == before


def test_outside_of_a_loop_there_is_nothing_to_count() -> None:
    assert list(LoopFigures().collect()) == []
