"""The page *Synchronisation* as an operator uses it: a dead letter is read, and replayed."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from broker.sync.change_log import Outgoing
from broker.sync.dead_letters import DeadLetters
from tests.support.browser import axe_or_skip, faults, looking
from tests.support.sync_world import SyncWorld, replication_topic, sync_world
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import address


async def put_away(world: SyncWorld) -> None:
    """Something that no agent can read goes to Île-de-France's, which puts it away."""
    await world.log.publish(Outgoing(replication_topic(world, "idf"), b"bre.c1", b"{}", ()))
    letters = DeadLetters(world.log, "idf", world.prefix)

    async def there() -> bool:
        return len(await letters.all()) == 1

    async with world.agent("idf"):
        await until(there, seconds=20)


async def test_a_dead_letter_is_replayed(valkey: Valkey, browser: Browser) -> None:
    axe = await axe_or_skip()
    async with sync_world(valkey, regions=2) as world:
        await world.start()
        await world.subscribe("idf")
        async with looking(browser, address(world.broker), language="en") as page:
            await page.goto("/console/synchronisation")
            await expect(page.locator("#letters")).to_have_text("No dead letters.")
            await put_away(world)
            await page.reload()
            letter = page.locator("[id^='letter-idf-']")
            await expect(letter).to_contain_text("bre.c1")
            await expect(letter).to_contain_text("unreadable")
            assert await faults(page, axe) == []
            before = len(await world.records(replication_topic(world, "idf")))
            await page.get_by_role("button", name="Replay letter").click()
            await expect(page.get_by_role("status")).to_contain_text("1 replayed for idf.")
            await expect(page.locator("#letters")).to_have_text("No dead letters.")
            assert len(await world.records(replication_topic(world, "idf"))) == before + 1
