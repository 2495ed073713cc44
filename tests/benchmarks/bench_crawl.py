"""Crawling one manager into the index: circles a second, and whether the broker's memory stays flat.

Everything is real and on its own: a canned manager, a worker of the broker, an embedded Valkey, each a process. Measured
from the first circle to the last; memory is the broker's resident one (`VmRSS`), from the time a tenth is crawled.

Run with `python -m tests.benchmarks.bench_crawl` (`--quick`: a fifth of the circles).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.table import Table

from adapters.embedded_valkey import EmbeddedValkey
from tests.benchmarks.children import Child, child

CIRCLES = 100_000
GOAL = 2_000
"""Circles a second, on two cores."""

_LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    seconds: float
    circles: int
    state: str
    resident: int  # bytes


async def measure(circles: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="cds-bench-") as directory:
        valkey = EmbeddedValkey(Path(directory))
        try:
            redis = valkey.start()
            with child("tests.benchmarks.canned_crawl", {"circles": circles}) as manager:
                argument = {
                    "redis": redis,
                    "prefix": "crawl",
                    "bases": [manager.started["base"]],
                    "data_dir": directory,
                    "locator": True,
                }
                with child("tests.benchmarks.broker_worker", argument) as broker:
                    samples = await _watch(broker, circles)
                    cpu = broker.cpu()
        finally:
            valkey.stop()
    return _figures(samples, cpu, circles)


async def _watch(broker: Child, circles: int) -> list[Sample]:
    samples: list[Sample] = []
    address = f"http://127.0.0.1:{urlsplit(broker.started['base']).port}/registry/locator"
    async with aiohttp.ClientSession() as http:
        while not samples or samples[-1].state != "complete":
            assert len(samples) < 2400, samples[-1]
            async with http.get(address) as response:
                (line,) = (await response.json())["managers"]
            samples.append(Sample(time.monotonic(), line["circles"], line["state"], broker.resident()))
            await asyncio.sleep(_LOOK)
    assert samples[-1].circles == circles, samples[-1]
    return samples


def _figures(samples: list[Sample], cpu: float, circles: int) -> dict[str, float]:
    moving = [one for one in samples if 0 < one.circles < circles] or samples
    first, last = moving[0], next(one for one in samples if one.circles == circles)
    settled = [one.resident for one in samples if one.circles >= circles / 10]
    return {
        "circles": circles,
        "seconds": last.seconds - first.seconds,
        "circles_per_second": (last.circles - first.circles) / (last.seconds - first.seconds),
        "broker_cpu_us_per_circle": cpu / circles * 1e6,
        "resident_first_mb": settled[0] / 1e6,
        "resident_last_mb": settled[-1] / 1e6,
        "resident_most_mb": max(settled) / 1e6,
    }


def run(circles: int = CIRCLES) -> dict[str, float]:
    return asyncio.run(measure(circles))


def show(figures: dict[str, float], console: Console) -> None:
    table = Table("", "", title="Crawling one manager", title_justify="left", show_header=False)
    table.add_row("circles", f"{figures['circles']:,.0f}")
    table.add_row("circles a second", f"{figures['circles_per_second']:,.0f} (goal: {GOAL:,} at least)")
    table.add_row(
        "the broker's CPU for one circle, start included", f"{figures['broker_cpu_us_per_circle']:.0f} µs"
    )
    table.add_row(
        "the broker's memory: at a tenth, at the end, at most",
        f"{figures['resident_first_mb']:.1f}, {figures['resident_last_mb']:.1f}, {figures['resident_most_mb']:.1f} MB",
    )
    console.print(table)


if __name__ == "__main__":
    show(run(CIRCLES // 5 if "--quick" in sys.argv else CIRCLES), Console())
