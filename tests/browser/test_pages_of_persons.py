"""A search, its pages, a circle and its versions, and who looked at them: as somebody sees it, in both languages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from adapters.sandbox.app import running_sandbox
from broker.console.texts import text
from broker.core.outcome import Language
from registry.model import REGIONS, Gestionnaire
from tests.support.browser import axe_or_skip, faults, looking
from tests.support.federation import federation
from tests.support.fhir_builders import INS, care_team, circles, patient, related_person
from tests.support.valkey import Valkey
from tests.support.write_federation import address


@asynccontextmanager
async def region(valkey: Valkey, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a broker over Bretagne, where one person has thirteen circles, and a manager that is away."""
    members = [
        {"member": {"reference": "RelatedPerson/r1"}, "period": {"start": "2025-02-01", "end": "2025-04-30"}},
        {"member": {"reference": "RelatedPerson/r1"}, "period": {"start": "2025-09-01"}},
    ]
    newest = "2026-02-01T00:00:00Z"
    held = [
        patient("p1"),
        related_person("r1"),
        care_team("c1", identifier="1", participant=members, last_updated=newest),
        *circles(12, prefix="x"),
    ]
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(running_sandbox(held))
        managers = [
            Gestionnaire("bre", REGIONS["53"], "53", box.base_url),
            Gestionnaire("occ", REGIONS["76"], "76", "http://127.0.0.1:9/fhir", timeout=0.5),
        ]
        given: dict[str, Any] = {"audit": "file", "data_dir": tmp_path, "locator": True, "locator_poll": 0.2}
        broker = await stack.enter_async_context(federation(valkey, *managers, **given))
        after = care_team("c1", identifier="1", status="inactive", participant=members[:1])
        async with broker.http.put(f"{box.base_url}/CareTeam/c1", json=after) as answer:
            assert answer.status == 200
        yield address(broker)


async def state_purpose(page: Page, language: Language) -> None:
    await page.get_by_label(text("purpose.code", language), exact=True).select_option("HSYSADMIN")
    await page.get_by_label(text("purpose.reference", language)).fill("INC-2026-0042")
    await page.get_by_role("button", name=text("purpose.submit", language)).click()


async def search(page: Page, language: Language) -> None:
    await page.locator("[name=ins]").fill(INS[0])
    await page.locator("[name=ins-kind]").select_option("test")
    await page.get_by_role("button", name=text("search.submit", language), exact=True).click()


@pytest.mark.parametrize(("language", "theme"), [("fr", "light"), ("en", "dark")])
async def test_from_a_purpose_to_a_circle_and_its_versions(
    valkey: Valkey, browser: Browser, tmp_path: Path, language: Language, theme: str
) -> None:
    axe = await axe_or_skip()
    async with (
        region(valkey, tmp_path) as root,
        looking(browser, root, language=language, theme=theme) as page,
    ):
        found = []
        await page.goto("/console/search")
        await expect(page.locator("h1")).to_have_text(text("purpose.title", language))
        found += await faults(page, axe)
        await state_purpose(page, language)
        await expect(page.locator("h1")).to_have_text(text("search.title", language))
        found += await faults(page, axe)

        await search(page, language)
        await expect(page.locator("article.circle")).to_have_count(10)
        first = page.locator("article.circle").first
        await expect(first).to_contain_text("Dominique EXEMPLE")
        born = {"fr": "9 septembre 1951", "en": "9 September 1951"}[language]
        await expect(first.locator("time[datetime='1951-09-09']")).to_have_text(born)
        await expect(first.locator("svg .bar-of")).to_have_count(1)
        managers = page.locator("#managers ~ .scroll tbody tr")
        await expect(managers).to_have_count(2)
        await expect(managers.filter(has_text="occ")).to_contain_text(text("asked.state.failed", language))
        found += await faults(page, axe)

        await page.get_by_role("button", name=text("search.next", language)).click()
        await expect(page.locator("article.circle")).to_have_count(3)
        assert INS[0] not in page.url
        await page.get_by_role("button", name=text("search.previous", language)).click()
        await expect(page.locator("article.circle")).to_have_count(10)

        await page.locator("article.circle").first.get_by_role("link").last.click()
        await expect(page.locator(".versions > li")).to_have_count(2)
        said = text(
            "diff.replaced", language, what=text("diff.label.status", language), old="active", new="inactive"
        )
        await expect(page.locator(".versions > li").first).to_contain_text(said)
        await expect(page.locator(".versions > li").first).to_contain_text("PROCHE")
        found += await faults(page, axe)

        await page.goto("/console/audit")
        await page.locator("[name=person]").fill("Patient/bre.p1")
        await page.get_by_role("button", name=text("audit.submit", language)).click()
        await expect(page.locator("tbody tr")).to_have_count(4)
        await expect(page.locator("tbody tr").first).to_contain_text("INC-2026-0042")
        found += await faults(page, axe)
        assert found == []


async def test_it_all_works_without_scripts(valkey: Valkey, browser: Browser, tmp_path: Path) -> None:
    async with (
        region(valkey, tmp_path) as root,
        looking(browser, root, language="en", scripts=False) as page,
    ):
        await page.goto("/console/search")
        await state_purpose(page, "en")
        await search(page, "en")
        await page.get_by_role("button", name="Next page").click()
        await expect(page.locator("article.circle")).to_have_count(3)


async def test_the_criteria_stay_and_what_is_asked_for_is_a_command(
    valkey: Valkey, browser: Browser, tmp_path: Path
) -> None:
    async with region(valkey, tmp_path) as root, looking(browser, root, language="en") as page:
        await page.goto("/console/search")
        await state_purpose(page, "en")
        await page.locator("[name=family]").fill("O'Exemple, née")
        await page.locator("[name=family]").press("Enter")
        await expect(page.locator("#results")).to_be_visible()
        await expect(page.locator(".command")).to_contain_text("_search")
        await page.locator("details.criteria summary").click()
        await expect(page.locator("[name=family]").first).to_have_value("O'Exemple, née")
