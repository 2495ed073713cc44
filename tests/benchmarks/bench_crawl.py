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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
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


@asynccontextmanager
async def crawled(circles: int) -> AsyncIterator[tuple[Child, Callable[[], Awaitable[bool]]]]:
    """A broker that crawls a manager of so many circles, and whether it has."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-"))
        manager = stack.enter_context(child("tests.benchmarks.canned_crawl", {"circles": circles}))
        valkey = EmbeddedValkey(Path(directory))
        redis = valkey.start()
        stack.callback(valkey.stop)
        argument = {
            "redis": redis,
            "prefix": "crawl",
            "bases": [manager.started["base"]],
            "data_dir": directory,
            "locator": True,
            "sync": False,
        }
        broker = stack.enter_context(child("tests.benchmarks.broker_worker", argument))
        http = aiohttp.ClientSession()

        async def done() -> bool:
            return (await _state(broker, http))[1] == "complete"

        try:
            yield broker, done
        finally:
            await http.close()


async def _state(broker: Child, http: aiohttp.ClientSession) -> tuple[int, str]:
    """Circles so far."""
    address = f"http://127.0.0.1:{urlsplit(broker.started['base']).port}/registry/locator"
    async with http.get(address) as response:
        (line,) = (await response.json())["managers"]
    return line["circles"], line["state"]


async def measure(circles: int) -> dict[str, float]:
    """The longest step is watched for too, which adds about a hundredth to the CPU."""
    async with crawled(circles) as (broker, _):
        broker.watch()
        samples = await _watch(broker, circles)
        watched = broker.watched()
        cpu = broker.cpu()
    return _figures(samples, cpu, circles) | {
        "longest_step_ms": watched.step_ms,
        "longest_turn_ms": watched.turn_ms,
    }


async def _watch(broker: Child, circles: int) -> list[Sample]:
    samples: list[Sample] = []
    async with aiohttp.ClientSession() as http:
        while not samples or samples[-1].state != "complete":
            assert len(samples) < 2400, samples[-1]
            count, state = await _state(broker, http)
            samples.append(Sample(time.monotonic(), count, state, broker.resident()))
            await asyncio.sleep(min(_LOOK, circles / 100_000))
    assert samples[-1].circles == circles, samples[-1]
    return samples


def _figures(samples: list[Sample], cpu: float, circles: int) -> dict[str, float]:
    moving = [one for one in samples if 0 < one.circles < circles] or samples
    first, last = moving[0], next(one for one in samples if one.circles == circles)
    settled = [one.resident for one in samples if one.circles >= circles / 10]
    seconds = max(last.seconds - first.seconds, 1e-3)
    return {
        "circles": circles,
        "seconds": seconds,
        "circles_per_second": (last.circles - first.circles) / seconds,
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
    table.add_row(
        "the longest step, the longest turn of the loop",
        f"{figures['longest_step_ms']:.1f}, {figures['longest_turn_ms']:.1f} ms",
    )
    console.print(table)


if __name__ == "__main__":
    show(run(CIRCLES // 5 if "--quick" in sys.argv else CIRCLES), Console())
