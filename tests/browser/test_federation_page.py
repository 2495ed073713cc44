"""The page *Federation* as an operator sees it: a manager goes down, and its tile turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, expect

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from registry.model import Gestionnaire
from tests.support.browser import axe_or_skip, faults, looking
from tests.support.federation import Broker, federation
from tests.support.valkey import Valkey
from tests.support.write_federation import address


@dataclass
class Country:
    broker: Broker
    regions: dict[str, AsyncExitStack]

    @property
    def root(self) -> str:
        return address(self.broker)


@asynccontextmanager
async def country(valkey: Valkey) -> AsyncIterator[Country]:
    """Bretagne and Corse, each a manager in a box; the index knows both."""
    async with AsyncExitStack() as stack:
        regions, managers = {}, []
        for slug, region in (("bre", "53"), ("cor", "94")):
            regions[slug] = await stack.enter_async_context(AsyncExitStack())
            box = await regions[slug].enter_async_context(
                running_sandbox(seed_region(region, 3, clock=SystemClock()))
            )
            managers.append(Gestionnaire(slug, f"Gestionnaire {slug}", region, box.base_url))
        made = federation(valkey, *managers, locator=True, locator_poll=0.2, probe_interval=0.5)
        yield Country(await stack.enter_async_context(made), regions)


async def test_a_manager_goes_down_and_its_tile_turns_within_five_seconds(
    valkey: Valkey, browser: Browser
) -> None:
    async with country(valkey) as world, looking(browser, world.root, language="en") as page:
        await page.goto("/console")
        tile = page.locator("#tile-53")
        await expect(tile).to_have_attribute("data-state", "up")
        await expect(page.locator("#tile-94")).to_contain_text("Up")
        await expect(page.locator("#liveness")).to_have_text("Live")
        await world.regions["bre"].aclose()
        await expect(tile).to_have_attribute("data-state", "failing", timeout=5_000)
        await expect(tile).to_contain_text("Failing")
        await expect(page.locator("#manager-bre")).to_contain_text("Failing")
        await expect(page.locator("#summary")).to_contain_text("1 up, 0 slow, 1 failing")
        await expect(page.locator("#tile-94")).to_have_attribute("data-state", "up")


async def test_a_tile_that_has_the_focus_keeps_it_when_it_turns(valkey: Valkey, browser: Browser) -> None:
    async with country(valkey) as world, looking(browser, world.root) as page:
        await page.goto("/console")
        await expect(page.locator("#tile-53")).to_have_attribute("data-state", "up")
        await page.locator("#tile-link-53").focus()
        await world.regions["bre"].aclose()
        await expect(page.locator("#tile-53")).to_have_attribute("data-state", "failing", timeout=5_000)
        await expect(page.locator("#tile-link-53")).to_be_focused()
        await page.keyboard.press("Enter")
        assert page.url.endswith("#manager-bre")


async def test_the_language_and_the_theme_are_switched_and_stay(valkey: Valkey, browser: Browser) -> None:
    async with country(valkey) as world, looking(browser, world.root) as page:
        await page.goto("/console")
        await expect(page.locator("h1")).to_have_text("Fédération")
        await page.get_by_label("Langue").select_option("en")
        await page.get_by_label("Thème").select_option("dark")
        await page.get_by_role("button", name="Appliquer").click()
        await expect(page.locator("h1")).to_have_text("Federation")
        assert await page.locator("html").get_attribute("lang") == "en"
        await page.goto("/console/registry")
        await expect(page.locator("h1")).to_have_text("Registry")
        assert await page.locator("html").get_attribute("data-theme") == "dark"
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(16, 21, 28)"


async def test_everything_is_there_without_scripts(valkey: Valkey, browser: Browser) -> None:
    async with country(valkey) as world, looking(browser, world.root, scripts=False) as page:
        await page.goto("/console")
        await expect(page.locator(".tile")).to_have_count(18)
        await expect(page.locator("#manager-bre")).to_contain_text("Gestionnaire bre")
        await expect(page.locator("#liveness")).to_be_hidden()


@pytest.mark.parametrize(("language", "theme"), [("fr", "light"), ("en", "dark")])
async def test_nothing_keeps_people_from_using_the_pages(
    valkey: Valkey, browser: Browser, language: str, theme: str
) -> None:
    axe = await axe_or_skip()
    async with country(valkey) as world, looking(browser, world.root, language=language, theme=theme) as page:
        await page.goto("/console")
        await expect(page.locator("#tile-53")).to_have_attribute("data-state", "up")
        await world.regions["cor"].aclose()
        await expect(page.locator("#tile-94")).to_have_attribute("data-state", "failing")
        found = await faults(page, axe)
        more = ("/console/registry/bre/edit", "/console/registry/bre/remove", "/console/synchronisation")
        for path in ("/console/registry", *more):
            await page.goto(path)
            found += await faults(page, axe)
        assert found == []
        await page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<input>')")
        assert await faults(page, axe) != [], "a field without a name is one"
