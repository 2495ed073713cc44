"""`python -m tests.pictures`: starts a federation that is worth looking at, and takes the pictures of its console."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.pictures.palette import with_palette
from tests.pictures.scene import HANGS, LATE, SHOWN, SLOW, SUSPENDED, Scene, scene
from tests.support.browser import chromium_or_skip, looking

TO = Path(__file__).parents[2] / "deploy" / "pictures"
WIDTH, LARGEST = 1280, 200_000
"""Pixels; bytes."""

Show = Callable[[Page, Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Picture:
    """`name` of the file; `show` goes to the page; `to`: what the picture ends below; `height`: of it at most.
    `busy`: while clients search; those come first."""

    name: str
    show: Show
    to: str
    height: int
    language: str = "en"
    theme: str = "light"
    busy: bool = False


async def _federation(page: Page, _: Scene) -> None:
    await page.goto("/console")
    for region, state in (("94", "failing"), ("11", "slow"), ("27", "suspended"), ("53", "up")):
        await expect(page.locator(f"#tile-{region}")).to_have_attribute("data-state", state, timeout=90_000)


async def _state_purpose(page: Page, path: str) -> None:
    await page.goto(f"/console/purpose?next={path}")
    await page.locator("#f-code").select_option("TREAT")
    await page.locator("#f-reference").fill("INC-2026-0042")
    await page.locator("main button").click()


async def _search(page: Page, _: Scene) -> None:
    await _state_purpose(page, "/console/search")
    await page.locator("[name=family]").fill("Léger")
    await page.locator(".criteria button").click()
    await expect(page.locator("#results")).to_be_visible()


async def _circle(page: Page, made: Scene) -> None:
    path = f"/console/circle/{made.home.slug}.{SHOWN}"
    await _state_purpose(page, path)
    await expect(page.locator("#versions")).to_be_visible()


async def _synchronisation(page: Page, made: Scene) -> None:
    await page.goto("/console/synchronisation")
    await expect(page.locator("#letters tbody tr")).to_have_count(1)
    await expect(page.locator("#subscribers")).to_contain_text(LATE)
    await expect(page.locator("#conflicts tbody tr")).not_to_have_count(0)


async def _registry(page: Page, _: Scene) -> None:
    await page.goto("/console/registry")
    await expect(page.locator(f"#registered-{SUSPENDED}")).to_be_visible()


async def _audit(page: Page, made: Scene) -> None:
    await _search(page, made)
    await made.accesses()
    await _circle(page, made)
    await _state_purpose(page, "/console/audit")
    await page.locator("main form[action='/console/audit'] button").first.click()
    await expect(page.locator("table")).to_be_visible()


PICTURES: Sequence[Picture] = (
    Picture("federation", _federation, "#managers", 1180, busy=True),
    Picture("federation-dark", _federation, "#managers", 1180, theme="dark", busy=True),
    Picture("federation-fr", _federation, "#managers", 1180, language="fr", theme="dark", busy=True),
    Picture("search", _search, "main", 1180),
    Picture("circle", _circle, "main", 1700),
    Picture("synchronisation", _synchronisation, "#conflicts", 1280),
    Picture("registry", _registry, "main table", 1180),
    Picture("audit", _audit, "main", 1180),
)


async def take(browser: Browser, made: Scene, one: Picture, directory: Path) -> Path:
    async with looking(browser, made.demo.url, language=one.language, theme=one.theme) as page:
        await page.set_viewport_size({"width": WIDTH, "height": 900})
        await one.show(page, made)
        await page.evaluate("document.fonts.ready")
        box = await page.locator(one.to).first.bounding_box()
        assert box is not None
        height = min(one.height, round(box["y"] + box["height"]) + 12)
        path = directory / f"{one.name}.png"
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
        taken = await page.screenshot(full_page=True, clip=clip, animations="disabled", caret="hide")  # type: ignore[arg-type]  # a FloatRect
    smaller = await asyncio.to_thread(with_palette, taken)
    if len(smaller) > LARGEST:
        raise SystemExit(f"{path}: {len(smaller)} bytes, more than {LARGEST}")
    path.write_bytes(smaller)
    return path


async def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.pictures")
    asked.add_argument("--port", type=int, default=8080, help="of the broker, as the pictures show it")
    asked.add_argument("--seconds", type=float, default=180.0, help="of traffic before the first picture")
    asked.add_argument("--to", type=Path, default=TO, help="directory of the pictures")
    asked.add_argument("--only", nargs="*", help="names of pictures; all")
    given = asked.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    async with chromium_or_skip() as browser, scene(given.port) as made:
        print(
            f"{HANGS} hangs, {SLOW} is slow, {SUSPENDED} is suspended; {given.seconds:.0f} s of traffic",
            flush=True,
        )
        await made.traffic(given.seconds)
        going_on = asyncio.create_task(made.traffic(3600))
        try:
            for one in PICTURES:
                if given.only and one.name not in given.only:
                    continue
                if not one.busy:
                    going_on.cancel()
                path = await take(browser, made, one, given.to)
                print(f"{path} ({path.stat().st_size // 1024} KB)", flush=True)
        finally:
            going_on.cancel()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
