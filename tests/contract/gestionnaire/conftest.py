"""Where the suite gets its Gestionnaire from: an address that is given, else the project's own sandbox."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from . import world as worlds
from .client import Gestionnaire

_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gestionnaire")
    group.addoption("--gestionnaire-url", help="FHIR base of the server under test (CDS_TEST_GESTIONNAIRE)")
    group.addoption(
        "--gestionnaire-token", help="bearer token sent with every request (CDS_TEST_GESTIONNAIRE_TOKEN)"
    )
    group.addoption("--read-only", action="store_true", help="write nothing (CDS_TEST_READ_ONLY=1)")


def _option(config: pytest.Config, name: str, variable: str) -> str | None:
    given = config.getoption(name, default=None)
    return str(given) if given else os.environ.get(variable) or None


def _read_only(config: pytest.Config) -> bool:
    return bool(config.getoption("--read-only", default=False)) or os.environ.get("CDS_TEST_READ_ONLY") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One event loop for the suite's one session; without writing, the modules `test_writing_*` fall away."""
    for item in items:
        if item.path.is_relative_to(_HERE) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    if _read_only(config):
        writing = [
            item
            for item in items
            if item.path.is_relative_to(_HERE) and item.path.name.startswith("test_writing_")
        ]
        items[:] = [item for item in items if item not in writing]
        config.hook.pytest_deselected(items=writing)


@asynccontextmanager
async def _sandbox() -> AsyncIterator[str]:
    """The project's own Gestionnaire, with a region's worth of people that are none of the suite's."""
    from adapters.clock import SystemClock
    from adapters.sandbox.app import running_sandbox
    from adapters.sandbox.seed import seed_region

    async with running_sandbox(seed_region("53", 40, clock=SystemClock())) as box:
        yield box.base_url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gestionnaire(pytestconfig: pytest.Config) -> AsyncIterator[Gestionnaire]:
    async with AsyncExitStack() as stack:
        base_url = _option(pytestconfig, "--gestionnaire-url", "CDS_TEST_GESTIONNAIRE")
        token = _option(pytestconfig, "--gestionnaire-token", "CDS_TEST_GESTIONNAIRE_TOKEN")
        if base_url is None:
            base_url = await stack.enter_async_context(_sandbox())
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=30))
        )
        yield Gestionnaire(base_url.rstrip("/"), session)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(pytestconfig: pytest.Config, gestionnaire: Gestionnaire) -> worlds.World:
    if _read_only(pytestconfig):
        return await worlds.discovered(gestionnaire)
    return await worlds.created(gestionnaire)
