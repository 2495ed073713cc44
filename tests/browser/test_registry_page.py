"""The page *Registry* as an operator uses it: a manager is added, checked, suspended, resumed, removed."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.seed import seed_region
from tests.support.browser import axe_or_skip, faults, looking
from tests.support.federation import federation
from tests.support.valkey import Valkey
from tests.support.write_federation import address


async def test_a_manager_is_added_checked_suspended_resumed_and_removed(
    valkey: Valkey, browser: Browser
) -> None:
    box = running_sandbox(
        seed_region("53", 4, clock=SystemClock()), options=SandboxOptions(chains_match_nothing=True)
    )
    async with (
        box as region,
        federation(valkey) as broker,
        looking(browser, address(broker), language="en") as page,
    ):
        await page.goto("/console/registry")
        await expect(page.locator("main")).to_contain_text("No manager is registered.")
        await page.get_by_label("Short name").fill("bre")
        await page.get_by_label("Name (required)", exact=True).fill("Bretagne")
        await page.get_by_label("Region (required)").select_option("53")
        await page.get_by_label("FHIR address").fill(region.base_url)
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("status")).to_have_text("bre is added. Check it.")
        line = page.locator("#registered-bre")
        await page.get_by_role("button", name="Check Bretagne").click()
        await expect(page.get_by_role("status")).to_have_text("bre is checked.", timeout=20_000)
        await line.locator("summary").click()
        await expect(line).to_contain_text("Chained")
        await page.get_by_role("button", name="Suspend Bretagne").click()
        await expect(line).to_contain_text("Suspended")
        await page.goto("/console")
        await expect(page.locator("#tile-53")).to_have_attribute("data-state", "suspended")
        await page.goto("/console/registry")
        await expect(page.get_by_role("status")).to_have_count(0)  # told once
        await page.get_by_role("button", name="Resume Bretagne").click()
        await expect(line).to_contain_text("Active")
        await page.get_by_role("link", name="Remove Bretagne").click()
        await page.get_by_role("link", name="No, keep it").click()
        await expect(line).to_be_visible()
        await page.get_by_role("link", name="Remove Bretagne").click()
        await page.get_by_role("button", name="Yes, remove Bretagne").click()
        await expect(page.locator("main")).to_contain_text("No manager is registered.")


async def test_what_is_wrong_is_said_beside_the_fields_and_nothing_is_lost(
    valkey: Valkey, browser: Browser
) -> None:
    axe = await axe_or_skip()
    async with federation(valkey) as broker, looking(browser, address(broker), refused=(422,)) as page:
        await page.goto("/console/registry")
        await page.get_by_label("Nom court").fill("Bretagne !")
        await page.get_by_label("Nom (obligatoire)", exact=True).fill("Bretagne")
        await page.get_by_label("Région (obligatoire)").select_option("53")
        await page.get_by_label("Adresse FHIR").fill("ftp://bre.example")
        await page.get_by_label("Délai, en secondes").fill("-1")
        await page.get_by_role("button", name="Ajouter", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("Ce gestionnaire n'a pas été ajouté")
        for name in ("id", "base_url", "timeout"):
            await expect(page.locator(f"#add-{name}")).to_have_attribute("aria-invalid", "true")
            await expect(page.locator(f"#wrong-{name}")).not_to_be_empty()
        await expect(page.get_by_label("Nom court")).to_have_value("Bretagne !")
        await page.get_by_role("alert").get_by_role("link", name="Adresse FHIR").click()
        await expect(page.get_by_label("Adresse FHIR")).to_be_focused()
        assert await faults(page, axe) == []
