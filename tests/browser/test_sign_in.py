"""Somebody signs in, looks around and leaves, in a real browser; the issuer is another site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from registry.model import Gestionnaire
from tests.support.browser import axe_or_skip, faults, looking
from tests.support.secured import Secured, secured
from tests.support.sign_in import Desk, desk
from tests.support.valkey import Valkey


@dataclass
class World:
    people: Desk
    broker: Secured
    region: Any


@asynccontextmanager
async def world(valkey: Valkey, **given: Any) -> AsyncIterator[World]:
    """One region, and an issuer that asks people who they are. To a browser `localhost` and 127.0.0.1 are two sites."""
    async with desk("localhost", silent=False, **given) as people:
        settings = people.settings(manager_networks="127.0.0.0/8", probe_interval=0.5)
        async with secured(valkey, people.one, **settings) as broker:
            made = running_sandbox(seed_region("53", 3, clock=SystemClock()))
            box = await made.__aenter__()
            await broker.running.store.put(Gestionnaire("bre", "Bretagne", "53", box.base_url))
            await broker.running.managers.refresh()
            there = World(people, broker, made)
            try:
                yield there
            finally:
                if there.region is not None:
                    await made.__aexit__(None, None, None)


async def signs_in(page: Page, path: str) -> None:
    await page.goto(path)
    await page.get_by_role("link", name="Sign in as Camille").click()


async def test_somebody_signs_in_walks_about_and_leaves(valkey: Valkey, browser: Browser) -> None:
    async with world(valkey) as there, looking(browser, there.broker.root, language="en") as page:
        await signs_in(page, "/console/registry")
        await expect(page.locator("h1")).to_have_text("Registry")
        await expect(page).to_have_url(f"{there.broker.root}/console/registry")
        await expect(page.locator("#who")).to_have_text("Signed in: Camille EXEMPLE")
        await page.get_by_role("link", name="Federation").click()
        await expect(page.locator("#tile-53")).to_have_attribute("data-state", "up")
        await expect(page.locator("#liveness")).to_have_text("Live")
        await there.region.__aexit__(None, None, None)
        there.region = None
        await expect(page.locator("#tile-53")).to_have_attribute("data-state", "failing", timeout=5_000)
        assert await page.evaluate("document.cookie") == "", "scripts see nothing of it"
        await page.get_by_role("button", name="Sign out").click()
        await expect(page).to_have_url(f"{there.broker.root}/console/signed-out")
        await expect(page.locator("h1")).to_have_text("You are signed out")
        assert [told["id_token_hint"].count(".") for told in there.people.left] == [2]
        kept = {one.get("name") for one in await page.context.cookies()}
        assert not {
            name for name in kept if name and name.startswith(("cds_session", "cds_sign_in", "cds_purpose"))
        }
        await page.goto("/console/registry")
        await expect(page.get_by_role("link", name="Sign in as Camille")).to_be_visible()


async def test_the_language_and_theme_that_were_chosen_are_there_after_signing_in(
    valkey: Valkey, browser: Browser
) -> None:
    async with world(valkey) as there, looking(browser, there.broker.root, language="en") as page:
        await signs_in(page, "/console")
        await page.get_by_label("Language").select_option("fr")
        await page.get_by_label("Theme").select_option("dark")
        await page.get_by_role("button", name="Apply").click()
        await expect(page.locator("h1")).to_have_text("Fédération")
        await page.context.clear_cookies(name="cds_session")
        await signs_in(page, "/console")
        await expect(page.locator("h1")).to_have_text("Fédération")
        assert await page.locator("html").get_attribute("data-theme") == "dark"
        await page.get_by_label("Langue").select_option("en")
        await page.get_by_role("button", name="Appliquer").click()
        await expect(page.locator("h1")).to_have_text("Federation"), "forms are those of the new visit"


async def test_who_lacks_the_role_reads_so_and_may_leave(valkey: Valkey, browser: Browser) -> None:
    axe = await axe_or_skip()
    async with (
        world(valkey, scope="user/CareTeam.rs") as there,
        looking(browser, there.broker.root, language="fr", refused=[403]) as page,
    ):
        await signs_in(page, "/console")
        await expect(page.locator("main")).to_contain_text("Le rôle console est nécessaire.")
        await expect(page.locator("#who")).to_have_text("Connecté : Camille EXEMPLE")
        assert await faults(page, axe) == []
        await page.get_by_role("button", name="Se déconnecter").click()
        await expect(page.locator("h1")).to_have_text("Vous êtes déconnecté")
        assert await faults(page, axe) == []


@pytest.mark.parametrize("scripts", [True, False])
async def test_who_declines_reads_so_and_may_try_again(
    valkey: Valkey, browser: Browser, scripts: bool
) -> None:
    async with (
        world(valkey, mode="denied") as there,
        looking(browser, there.broker.root, language="en", scripts=scripts, refused=[403]) as page,
    ):
        await signs_in(page, "/console")
        await expect(page.locator("main")).to_contain_text("did not give access, or you declined it")
        there.people.mode = "ok"
        await page.get_by_role("link", name="Sign in").click()
        await page.get_by_role("link", name="Sign in as Camille").click()
        await expect(page.locator("h1")).to_have_text("Federation")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.locator("h1")).to_have_text("You are signed out")


async def test_a_page_that_is_left_open_does_not_sign_anybody_in_again(
    valkey: Valkey, browser: Browser
) -> None:
    async with (
        world(valkey) as there,
        looking(browser, there.broker.root, language="en", refused=[401]) as page,
    ):
        await signs_in(page, "/console")
        await expect(page.locator("#liveness")).to_have_text("Live")
        there.people.silent = True
        begun = len(there.people.authorized)
        await page.context.clear_cookies(name="cds_session")
        await there.region.__aexit__(None, None, None)
        there.region = None
        await expect(page.locator("#liveness")).to_have_text("Not live: reload the page")
        assert len(there.people.authorized) == begun
        await page.reload()
        await expect(page.locator("#who")).to_be_visible()
