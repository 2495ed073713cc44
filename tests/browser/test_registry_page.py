"""The page *Registry* as an operator uses it: a manager is added, checked, suspended, resumed, removed."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.seed import seed_region
from registry.model import Gestionnaire
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
        await expect(line.locator(".lacks")).to_be_visible()
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


async def test_a_manager_is_changed_and_nobodys_change_is_lost(valkey: Valkey, browser: Browser) -> None:
    axe = await axe_or_skip()
    bre = Gestionnaire("bre", "Bretagne", "53", "http://127.0.0.1:9/fhir", territory=("22", "29"))
    async with (
        federation(valkey, bre) as broker,
        looking(browser, address(broker), refused=(412, 422)) as page,
        looking(browser, address(broker), language="en") as other,
    ):
        await page.goto("/console/registry")
        await page.get_by_role("link", name="Modifier Bretagne").click()
        await expect(page.get_by_label("Départements")).to_have_value("22 29")
        await other.goto("/console/registry/bre/edit")
        await other.get_by_label("Name (required)", exact=True).fill("Armorique")
        await other.get_by_label("Optional").check()
        await other.get_by_role("button", name="Save").click()
        await expect(other.get_by_role("status")).to_contain_text("bre is changed, version 2.")
        await expect(other.locator("#registered-bre")).to_contain_text("optional")

        await page.get_by_label("Délai, en secondes").fill("2,5")
        await page.get_by_label("Connexions au plus").fill("0")
        await page.get_by_role("button", name="Enregistrer").click()
        await expect(page.get_by_role("alert")).to_contain_text("Rien n'a été enregistré")
        await page.get_by_role("alert").get_by_role("link", name="Connexions au plus").click()
        await expect(page.get_by_label("Connexions au plus")).to_be_focused()
        await expect(page.locator("#wrong-max_connections")).to_contain_text("de 1 à")
        await page.get_by_label("Connexions au plus").fill("4")
        await page.get_by_role("button", name="Enregistrer").click()
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("quelqu'un a modifié ce gestionnaire entre-temps (version 2)")
        await expect(page.locator("#theirs-name")).to_contain_text("Armorique")
        await expect(page.locator("#theirs-optional")).to_contain_text("oui")
        assert await faults(page, axe) == []
        await page.get_by_label("Nom (obligatoire)", exact=True).fill("Armorique")
        await page.get_by_role("button", name="Enregistrer quand même").click()
        await expect(page.get_by_role("status")).to_contain_text("bre est modifié, version 3.")
        found = broker.running.managers.get("bre")
        assert found is not None
        now = found.gestionnaire
        assert (now.name, now.timeout, now.max_connections, now.optional) == ("Armorique", 2.5, 4, False)
