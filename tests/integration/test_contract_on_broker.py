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
from typing import Any

import pytest

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.seed import seed_region
from registry.model import REGIONS, Gestionnaire
from tests.contract.gestionnaire.people import CIRCLE_SYSTEM
from tests.support.federation import Broker, federation
from tests.support.valkey import Valkey

ROOT = Path(__file__).parents[2]
CIRCLES = 9
"""Of each manager. Fewer than the suite looks at in all, so that it looks at circles of each."""

PATIENCE = 30.0
"""Seconds for a request, here and at each manager."""

REGION = {"bre": "53", "idf": "11", "cor": "94"}
SUITES_DEPARTMENT = "35"
"""Where the people live that the suite makes: their manager gets them, and is the default home of carers, who have no
address. So what the suite writes is held in one place, as it is by a lone manager."""

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
async def broker_over(
    valkey: Valkey, options: Mapping[str, SandboxOptions], home: str, **settings: Any
) -> AsyncIterator[Broker]:
    async with AsyncExitStack() as stack:
        managers = []
        for slug, region in REGION.items():
            seed = seed_region(region, CIRCLES, clock=SystemClock())
            box = await stack.enter_async_context(running_sandbox(seed, options=options[slug]))
            name = f"Gestionnaire {REGIONS[region]}"
            territory = (SUITES_DEPARTMENT,) if slug == home else ()
            # As long as the whole has: on a busy machine no manager is to be left out.
            managers.append(
                Gestionnaire(slug, name, region, box.base_url, territory=territory, timeout=PATIENCE)
            )
        yield await stack.enter_async_context(
            federation(
                valkey,
                *managers,
                checked=True,
                home=home,
                search_deadline=PATIENCE,
                write_deadline=PATIENCE,
                **settings,
            )
        )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [ABLE, LACKING], ids=["able", "lacking"])
async def test_the_broker_reads_as_a_manager(valkey: Valkey, options: Mapping[str, SandboxOptions]) -> None:
    """Over circles of each manager, nothing being written."""
    async with broker_over(valkey, options, "bre") as broker:
        status, shown = await put_to_the_suite(broker.base_url, "--read-only")
    kept(status, shown, tests=200)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("options", "home"),
    [(ABLE, "bre"), (LACKING, "bre"), (LACKING, "idf"), (LACKING, "cor")],
    ids=["able", "lacking-bre", "lacking-idf", "lacking-cor"],
)
async def test_the_broker_keeps_the_managers_contract(
    valkey: Valkey, options: Mapping[str, SandboxOptions], home: str
) -> None:
    """All of it, writing included: what is written goes to one manager, and each is asked for it."""
    async with broker_over(valkey, options, home, locator=True) as broker:
        status, shown = await put_to_the_suite(broker.base_url)
        circles = [entry["resource"] for page in await broker.pages("CareTeam") for entry in page["entry"]]
    kept(status, shown, tests=285)
    assert "deselected" not in shown, "the suite did not write"
    written = [circle["id"] for circle in circles if circle["identifier"][0]["system"] == CIRCLE_SYSTEM]
    assert len(written) > 15, "what the suite wrote is not held"
    assert {public_id.partition(".")[0] for public_id in written} == {home}


def kept(status: int | None, shown: str, *, tests: int) -> None:
    print(shown)
    assert status == 0, shown[-20_000:]
    passed = re.search(r"(\d+) passed", shown)
    assert passed is not None, "no result"
    assert int(passed[1]) > tests, "the suite did not run whole"
    assert " skipped" not in shown, "the seeds leave something unillustrated"


async def put_to_the_suite(base_url: str, *more: str) -> tuple[int | None, str]:
    """Exit code and output of the suite against an address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "tests/contract/gestionnaire", "-q", "-p", "no:cacheprovider"),
        *("--gestionnaire-url", base_url, *more),
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
