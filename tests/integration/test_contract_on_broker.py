"""The broker is a Gestionnaire itself: the contract suite that judges managers judges it, over three of them.

The suite runs in a process of its own and knows nothing but an address.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from registry.model import REGIONS, Gestionnaire
from tests.support.federation import Broker, federation
from tests.support.valkey import Valkey

ROOT = Path(__file__).parents[2]
CIRCLES = {"bre": ("53", 9), "idf": ("11", 9), "cor": ("94", 9)}
"""Region and circles of each manager. Fewer than the suite looks at in all, so that it looks at each manager's."""


@pytest.fixture
async def broker(valkey: Valkey) -> AsyncIterator[Broker]:
    async with AsyncExitStack() as stack:
        managers = []
        for slug, (region, circles) in CIRCLES.items():
            seed = seed_region(region, circles, clock=SystemClock())
            box = await stack.enter_async_context(running_sandbox(seed))
            managers.append(Gestionnaire(slug, f"Gestionnaire {REGIONS[region]}", region, box.base_url))
        yield await stack.enter_async_context(federation(valkey, *managers, checked=True))


@pytest.mark.timeout(300)
async def test_the_broker_keeps_the_managers_contract(broker: Broker) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "tests/contract/gestionnaire", "-q", "-p", "no:cacheprovider"),
        *("--gestionnaire-url", broker.base_url, "--read-only"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    shown = output.decode()
    print(shown)
    assert process.returncode == 0, shown[-20_000:]
    passed = re.search(r"(\d+) passed", shown)
    assert passed is not None and int(passed[1]) > 150, "the suite did not run whole"
    assert " skipped" not in shown, "the seeds leave something unillustrated"
