"""Who feeds the index, what is done when managers come, go and move, and when the index is lost or refilled."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import orjson
import pytest

from adapters.sandbox.store import Store
from broker.errors import RequestError, StoreError
from registry.locator_model import CoverageState
from registry.model import Status
from tests.support.fake_locator import FakeLocator
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.locator_world import Region, World, broken

BRE, OCC = Region("bre"), Region("occ")
ONE = (INS_TEST, "one")


def fill(world: World, *slugs: str, count: int = 1) -> None:
    for slug in slugs:
        for number in range(count):
            value = "one" if number == 0 else f"n{number}"
            world.store(slug).put("Patient", f"p{number}", orjson.dumps(patient(f"p{number}", ins=value)))
            circle = care_team(f"c{number}", subject=f"Patient/p{number}")
            world.store(slug).put("CareTeam", f"c{number}", orjson.dumps(circle))


@pytest.fixture
async def world() -> World:
    made = await World.of(BRE, OCC)
    fill(made, "bre", "occ", count=30)
    return made


def crawled(world: World) -> list[str]:
    return [
        f"{slug} {target}"
        for slug, target in world.client.asked
        if "_sort=_lastUpdated" in target and "_include" in target
    ]


async def test_two_nodes_share_the_managers_and_nobody_crawls_twice(world: World) -> None:
    world.options = replace(world.options, page=5)
    async with world.fed() as first, world.fed() as second:
        await world.caught_up()
        await world.clock.advance(60.0)
        assert first.leading.isdisjoint(second.leading)
        assert first.leading | second.leading == {"bre", "occ"}
    asked = crawled(world)
    assert len(asked) == len(set(asked)) > 10


async def test_the_next_one_goes_on_where_a_killed_one_was(world: World) -> None:
    class Unreachable(FakeLocator):
        """What a killed node is to the store: it gives nothing up."""

        async def lead(self, manager: str, node: str, *, seconds: float) -> int | None:
            if seconds <= 0:
                raise StoreError("federation.store")
            return await super().lead(manager, node, seconds=seconds)

    world.locator = Unreachable(world.clock)
    async with world.fed():
        await world.caught_up()
    before, asked = await world.coverage("bre"), len(crawled(world))
    fill(world, "bre", count=31)
    async with world.fed() as second:
        await world.clock.advance(world.options.lease / 2)
        assert second.leading == set()
        await world.clock.advance(world.options.lease * 2)
        assert second.leading == {"bre", "occ"}
        await world.caught_up()
    after = await world.coverage("bre")
    assert len(crawled(world)) == asked, "it follows, and does not crawl again"
    assert after.fence > before.fence
    assert await world.holders((INS_TEST, "n30")) == {"bre"}


async def test_who_lost_the_lead_writes_no_more(world: World) -> None:
    async with world.fed() as keeper:
        await world.caught_up()
        world.locator._leads.clear()
        fence = await world.locator.lead("bre", "usurper", seconds=1e6)
        assert fence is not None
        await world.clock.advance(world.options.lease)
        assert keeper.leading == {"occ"}
        written = msgspec.structs.replace(await world.coverage("bre"), fence=fence)
        assert await world.locator.save_coverage("bre", written)
        await world.clock.advance(60.0)
        assert await world.coverage("bre") == written


async def test_a_lost_index_is_made_again_without_being_asked(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        world.locator.lose()
        assert await world.locator.coverage() == {}
        await world.caught_up()
        assert await world.holders(ONE) == {"bre", "occ"}


async def test_a_store_that_is_down_for_a_while(world: World) -> None:
    world.locator.down = True
    async with world.fed():
        await world.clock.advance(30.0)
        assert world.client.asked == []
        world.locator.down = False
        await world.caught_up()
        world.locator.down = True
        await world.clock.advance(120.0)
        fill(world, "bre", count=31)
        world.locator.down = False
        await world.caught_up()
        assert await world.holders((INS_TEST, "n30")) == {"bre"}


async def test_a_manager_that_moved_is_another_one(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        world.client.stores["bre"] = Store(world.clock)
        world.client._readings.clear()
        fill(world, "bre", count=1)
        await world.register(BRE.gestionnaire(base_url="https://new.example/fhir"))
        await world.caught_up()
        assert await world.holders(ONE) == {"bre", "occ"}
        assert await world.holders((INS_TEST, "n7")) == {"occ"}
        assert (await world.coverage("bre")).base_url == "https://new.example/fhir"


async def test_a_manager_that_left_is_cleared_also_while_nobody_was_there(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        await world.remove("bre")
        await world.clock.advance(30.0)
        assert await world.holders(ONE) == {"occ"}
        assert "bre" not in await world.locator.coverage()
    await world.remove("occ")
    async with world.fed():
        await world.clock.advance(30.0)
        assert await world.holders(ONE) == frozenset()


async def test_nobody_is_cleared_while_the_registry_cannot_be_read(world: World) -> None:
    async with world.fed():
        await world.caught_up()
    world.view._all = ()
    world.registry.down = True
    await world.view.refresh()
    async with world.fed():
        await world.clock.advance(60.0)
        assert await world.holders(ONE) == {"bre", "occ"}


async def test_a_suspended_manager_is_not_asked_and_followed_again_later(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        await world.register(BRE.gestionnaire(status=Status.SUSPENDED))
        await world.clock.advance(5.0)
        world.client.asked.clear()
        fill(world, "bre", count=31)
        await world.clock.advance(60.0)
        assert {slug for slug, _ in world.client.asked} == {"occ"}
        await world.register(BRE.gestionnaire())
        await world.caught_up()
        assert await world.holders((INS_TEST, "n30")) == {"bre"}
        assert not [one for one in crawled(world) if one.startswith("bre")]


async def test_a_new_crawl_on_demand(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        started = (await world.coverage("bre")).started
        asking = asyncio.create_task(world.service().crawl("bre"))
        for _ in range(60):
            await world.clock.advance(0.2)
        assert (await asking).id == "bre"
        await world.caught_up()
        assert started is not None
        again = (await world.coverage("bre")).started
        assert again is not None
        assert again > started
    with pytest.raises(RequestError, match=r"registry\.unknown"):
        await world.service().crawl("nobody")
    await world.register(BRE.gestionnaire(status=Status.SUSPENDED))
    with pytest.raises(RequestError, match=r"registry\.suspended"):
        await world.service().crawl("bre")


async def test_a_new_crawl_on_demand_in_the_middle_of_one(world: World) -> None:
    world.options = replace(world.options, page=1)
    async with world.fed():
        for _ in range(10_000):
            if (await world.coverage("bre")).circles >= 3:
                break
            await asyncio.sleep(0)
        asked = world.clock.now().timestamp()
        asking = asyncio.create_task(world.service().crawl("bre"))
        for _ in range(60):
            await world.clock.advance(0.2)
        await asking
        await world.caught_up()
        started = (await world.coverage("bre")).started
        assert started is not None
        assert started >= asked
        assert await world.holders(ONE) == {"bre", "occ"}


async def test_refilled_while_the_old_one_answers(world: World) -> None:
    service = world.service()
    async with world.fed():
        await world.caught_up()
        world.client.fault = broken(only="occ")
        await service.rotate_key()
        await world.clock.advance(20.0)
        status = await service.status()
        assert status.rotating
        lines = {line.id: line for line in status.managers}
        assert (lines["bre"].fresh, lines["bre"].filling) == (True, CoverageState.COMPLETE)
        assert lines["occ"].state is CoverageState.COMPLETE
        assert lines["occ"].filling is not CoverageState.COMPLETE
        assert await world.holders(ONE) == {"bre", "occ"}
        assert len((await service.rotate_key()).generations) == 2, "one at a time"
        world.client.fault = None
        await world.clock.advance(120.0)
        status = await service.status()
        assert (len(status.generations), status.rotating) == (1, False)
        assert all(line.fresh for line in status.managers)
        assert await world.holders(ONE) == {"bre", "occ"}


async def test_what_the_index_cannot_hold_is_told(world: World) -> None:
    async def refuse(sightings: object) -> None:
        raise StoreError("locator.too-many-identifiers", slug="bre", limit=3)

    world.locator.learn = refuse  # type: ignore[method-assign]
    async with world.fed():
        await world.clock.advance(10.0)
        status = await world.service().status()
    (line, _) = status.managers
    assert line.problem is not None
    assert line.problem.key == "locator.too-many-identifiers"
    assert not line.fresh
