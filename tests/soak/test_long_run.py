"""Everything at once, for long: mixed load on a whole federation of processes while its parts fail and come back.

What it owes: no memory, connection, task or file is lost by and by; every answer is whole or says what is missing; and in
the end replicas are as their homes, nothing waits, everybody was told, and the trail of accesses is whole.

    SOAK_MINUTES=30 SOAK_SEED=… make soak        # draws the same faults again; figures go to SOAK_REPORT
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.kafka_server import KafkaServer
from tests.support.long_run import plan, report
from tests.support.long_run.run import LongRun
from tests.support.long_run.site import site

SEED = os.environ.get("SOAK_SEED") or str(random.randrange(10**6))
MINUTES = float(os.environ.get("SOAK_MINUTES") or 30)
REPORT = Path(os.environ.get("SOAK_REPORT") or "bench-results/soak.json")

pytestmark = pytest.mark.kafka


@pytest.mark.timeout(420)
async def test_a_short_run_leaks_nothing_and_says_what_is_so(
    tmp_path: Path, kafka_server: KafkaServer
) -> None:
    await _run(plan.short(), tmp_path, kafka_server, tmp_path / "soak.json")


@pytest.mark.soak
@pytest.mark.timeout(60 * MINUTES * 1.5 + 900)
async def test_a_long_run_stays_as_it_was(tmp_path: Path, kafka_server: KafkaServer) -> None:
    await _run(plan.long(MINUTES), tmp_path, kafka_server, REPORT)


async def _run(chosen: plan.Plan, directory: Path, kafka: KafkaServer, saved: Path) -> None:
    print(f"\nseed {SEED}")
    async with ended_by_sigterm(), site(directory, kafka) as running:
        run = LongRun(running, chosen, SEED)
        await run.run()
        report.save(run, saved)
        report.show(run, Console(width=120))
        assert report.failures(run) == []


@asynccontextmanager
async def ended_by_sigterm() -> AsyncIterator[None]:
    """Whoever ends so long a run ends it in order: with all the processes that it has started."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    except asyncio.CancelledError:
        pytest.fail("ended by SIGTERM")
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
