"""A real Chromium that looks at the console, and what it complains of.

    async with chromium_or_skip() as browser:
        async with looking(browser, "http://127.0.0.1:8080", language="fr") as page:
            await page.goto("/console")

A page that wrote an error to its console, or loaded what was not there, fails the test at its end.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
_AXE = Path(__file__).parent / "axe"
_INSTALL_SECONDS = 120.0
_SECONDS = 10.0
LANGUAGES = {"fr": "fr-FR", "en": "en-GB"}


def unavailable(reason: str) -> NoReturn:
    """A skip that says why; under `CI=true`, where nothing is skipped, a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def chromium_or_skip() -> AsyncIterator[Browser]:
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        unavailable(f"none of {', '.join(_NAMES)} is installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*_ARGUMENTS])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def looking(
    browser: Browser,
    root: str,
    *,
    language: str = "fr",
    theme: str = "light",
    scripts: bool = True,
    refused: Collection[int] = (),
) -> AsyncIterator[Page]:
    """A page of a reader who has never been here. `root`: what addresses are relative to. `refused`: statuses that the
    test means to be answered, of which the browser complains."""
    context = await browser.new_context(
        base_url=root,
        locale=LANGUAGES[language],
        color_scheme="dark" if theme == "dark" else "light",
        java_script_enabled=scripts,
    )
    context.set_default_timeout(_SECONDS * 1000)
    page, complaints = await context.new_page(), list[str]()

    def heard(message: ConsoleMessage) -> None:
        expected = any(f"status of {status}" in message.text for status in refused)
        if message.type in ("error", "warning") and not expected:
            complaints.append(f"{message.type}: {message.text}")

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
        assert complaints == []
    finally:
        await context.close()


async def axe_or_skip() -> str:
    """The source of axe-core; the first use installs it."""
    npm = shutil.which("npm")
    if npm is None:
        unavailable("npm is not installed")
    source = _AXE / "node_modules" / "axe-core" / "axe.min.js"
    (_AXE / "node_modules").mkdir(exist_ok=True)
    with (_AXE / "node_modules" / ".installing").open("w") as lock:
        async with asyncio.timeout(_INSTALL_SECONDS):
            await asyncio.to_thread(fcntl.flock, lock.fileno(), fcntl.LOCK_EX)
            if not source.exists():
                command = (npm, "install", "--no-audit", "--no-fund")
                process = await asyncio.create_subprocess_exec(
                    *command, cwd=_AXE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
                )
                told, _ = await process.communicate()
                if process.returncode != 0:
                    unavailable(f"npm install failed: {told.decode(errors='replace')[-300:]}")
    return source.read_text(encoding="utf-8")


async def faults(page: Page, axe: str) -> list[str]:
    """What axe-core finds serious or critical on a page as it is now: the rule, and where."""
    await page.evaluate(f"{axe};0")
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['target']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
