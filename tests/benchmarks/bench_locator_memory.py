"""Memory and speed of the locator's index: circles over 13 managers, each with a UUID id, one business identifier and a
subject with one identifier, all three indexes included.

A server of its own, run as the embedded one is; memory is `used_memory` of `INFO memory` (what the store's limit counts)
and resident memory, after less before. Measured also: learning, four pages of 500 at once, and looking one person up, with
the CPU of this process alone.

Run with `python -m tests.benchmarks.bench_locator_memory` (`--quick`: a tenth of the circles).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from rich.console import Console
from rich.table import Table

from adapters.clock import SystemClock
from registry.locator import RedisLocator
from registry.locator_hash import Kind
from registry.locator_model import Coverage, CoverageState, Sighting
from registry.locator_state import GenerationState
from registry.redis_connection import connect
from tests.support.valkey import ValkeyServer

CIRCLES, MANAGERS = 1_000_000, 13
PAGE, AT_ONCE = 500, 4
NATION = 68_000_000
BUDGET = 80.0
INS = "urn:oid:1.2.250.1.213.1.4.10"


def sightings(count: int) -> Iterator[Sighting]:
    rng = random.Random(5)
    for number in range(count):
        yield Sighting(
            f"region-{number % MANAGERS:02}",
            str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            str(rng.randint(1, 40)),
            1.7e9 + rng.random() * 1e8,
            (("urn:oid:1.2.250.1.999.1", f"CDS-{number:09}"),),
            (person(number),),
        )


def person(number: int) -> tuple[str, str]:
    return INS, f"{number:015}"


async def measure(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="cds-bench-") as directory:
        server = ValkeyServer(Path(directory))
        client: Any = connect(server.url)
        try:
            locator = RedisLocator(client, SystemClock(), b"a secret of the benchmark", expected=count)
            await _cover(locator)
            before = await client.info("memory")
            learning = await _learn(locator, count)
            after = await client.info("memory")
            figures = {
                "circles": float(count),
                "bytes_per_circle": (after["used_memory"] - before["used_memory"]) / count,
                "resident_bytes_per_circle": (after["used_memory_rss"] - before["used_memory_rss"]) / count,
                "keys": float(await client.dbsize()),
                **learning,
                **await _look_up(locator, client, count),
            }
        finally:
            await client.aclose()
            server.stop()
    return figures | _extrapolated(figures)


async def _cover(locator: RedisLocator) -> None:
    newest = (await locator.generations())[-1].number
    for number in range(MANAGERS):
        coverage = Coverage(
            CoverageState.COMPLETE, 1.79e9, "2026-11-20T09:00:00.000+01:00", circles=1, generation=newest
        )
        await locator.save_coverage(f"region-{number:02}", coverage)


async def _learn(locator: RedisLocator, count: int) -> dict[str, float]:
    coming = sightings(count)
    wall, cpu = 0.0, 0.0
    while pages := [page for _ in range(AT_ONCE) if (page := list(islice(coming, PAGE)))]:
        start, start_cpu = perf_counter(), process_time()
        await asyncio.gather(*map(locator.learn, pages))
        wall, cpu = wall + perf_counter() - start, cpu + process_time() - start_cpu
    return {"learnt_per_second": count / wall, "learn_cpu_us": cpu / count * 1e6}


async def _look_up(locator: RedisLocator, client: Any, count: int) -> dict[str, float]:
    """`bare`: redis-py reading as many keys of the same sizes, and nothing else."""
    rng = random.Random(6)
    people = [rng.randrange(count) for _ in range(2_000)]
    for number in people[:200]:
        held = (await locator.holders([person(number)], [])).persons[person(number)]
        assert held == {f"region-{number % MANAGERS:02}"}
    strangers = await locator.holders([person(count + number) for number in range(500)], [])
    times = []
    start_cpu = process_time()
    for number in people:
        start = perf_counter()
        await locator.holders([person(number)], [])
        times.append(perf_counter() - start)
    cpu = process_time() - start_cpu
    bucket = b"x" * 1_720
    await client.set("bare-1", bucket)
    await client.set("bare-2", bucket)
    start_cpu = process_time()
    for _ in people:
        await client.mget("bare-1", "bare-2")
    bare = process_time() - start_cpu
    return {
        "holders_median_us": statistics.median(times) * 1e6,
        "holders_p99_us": sorted(times)[int(len(times) * 0.99)] * 1e6,
        "holders_cpu_us": cpu / len(people) * 1e6,
        "bare_cpu_us": bare / len(people) * 1e6,
        "strangers_named": float(sum(map(bool, strangers.persons.values()))),
    }


def _extrapolated(figures: dict[str, float]) -> dict[str, float]:
    """For the country: the same bytes of records, and the buckets that so many circles are laid out in."""
    count = int(figures["circles"])
    here, there = (
        sum(1 << GenerationState(1, "", size).bits(kind) for kind in Kind) for size in (count, NATION)
    )
    records = _record_bytes()
    per_bucket = (figures["bytes_per_circle"] - records) * count / here
    each = records + per_bucket * there / NATION
    return {
        "record_bytes": records,
        "bytes_per_bucket_beside": per_bucket,
        "nation_bytes_per_circle": each,
        "nation_gib": each * NATION / 2**30,
    }


def _record_bytes() -> float:
    from registry.locator_records import LINK, Entry, Links, pack_entry

    one = next(sightings(1))
    digest = frozenset((bytes(7),))
    entry = Entry(1, one.circle_id, 1, one.version, links=Links(digest, digest))
    return 2.0 * LINK + 1 + len(pack_entry(entry))


def run(circles: int = CIRCLES) -> dict[str, float]:
    """Figures, for `make bench`."""
    return asyncio.run(measure(circles))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 000 circles")
    quick = parser.parse_args().quick
    figures = run(CIRCLES // 10 if quick else CIRCLES)
    table = Table(title=f"Locator: {figures['circles']:,.0f} circles, {MANAGERS} managers")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.1f}")
    Console().print(table)
    if figures["bytes_per_circle"] > BUDGET:
        raise SystemExit(f"more than {BUDGET:.0f} bytes a circle")


if __name__ == "__main__":
    main()
