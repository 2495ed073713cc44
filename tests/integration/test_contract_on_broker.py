"""The broker is a Gestionnaire itself: the contract suite that judges managers judges it, over three of them.

The suite runs in a process of its own and knows nothing but an address.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.seed import seed_region
from registry.model import REGIONS, Gestionnaire
from tests.support.federation import Broker, federation
from tests.support.valkey import Valkey

ROOT = Path(__file__).parents[2]
CIRCLES = 9
"""Of each manager. Fewer than the suite looks at in all, so that it looks at circles of each."""

REGION = {"bre": "53", "idf": "11", "cor": "94"}
ABLE = dict.fromkeys(REGION, SandboxOptions())
LACKING = {
    "bre": SandboxOptions(max_page=5, getpages_links=True, no_type_history=True, uuid_versions=True),
    "idf": SandboxOptions(
        chains_match_nothing=True, lying_statement=True, no_total=True, ignores_elements=True
    ),
    "cor": SandboxOptions(
        ignores_include=True,
        ignores_sort=True,
        no_full_url=True,
        no_search_mode=True,
        no_self_link=True,
        no_post_search=True,
        relative_next_links=True,
        id_last=True,
    ),
}


@asynccontextmanager
async def broker_over(valkey: Valkey, options: Mapping[str, SandboxOptions]) -> AsyncIterator[Broker]:
    async with AsyncExitStack() as stack:
        managers = []
        for slug, region in REGION.items():
            seed = seed_region(region, CIRCLES, clock=SystemClock())
            box = await stack.enter_async_context(running_sandbox(seed, options=options[slug]))
            managers.append(Gestionnaire(slug, f"Gestionnaire {REGIONS[region]}", region, box.base_url))
        yield await stack.enter_async_context(
            federation(valkey, *managers, checked=True, search_deadline=30.0)
        )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [ABLE, LACKING], ids=["able", "lacking"])
async def test_the_broker_keeps_the_managers_contract(
    valkey: Valkey, options: Mapping[str, SandboxOptions]
) -> None:
    async with broker_over(valkey, options) as broker:
        status, shown = await put_to_the_suite(broker.base_url)
    print(shown)
    assert status == 0, shown[-20_000:]
    passed = re.search(r"(\d+) passed", shown)
    assert passed is not None, "no result"
    assert int(passed[1]) > 200, "the suite did not run whole"
    assert " skipped" not in shown, "the seeds leave something unillustrated"


async def put_to_the_suite(base_url: str) -> tuple[int | None, str]:
    """Exit code and output of the suite, read-only, against an address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "tests/contract/gestionnaire", "-q", "-p", "no:cacheprovider"),
        *("--gestionnaire-url", base_url, "--read-only"),
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
    return process.returncode, output.decode()
