"""When managers are checked: the new at once, the untried soon again, the unreachable ever more seldom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from broker.errors import FailureKind, ManagerError
from broker.federation.skills_keeper import LEASE_SECONDS, SkillsKeeper, is_unsettled
from registry.model import Gestionnaire, Registered, Skills, Status
from tests.support.fake_clock import FakeClock, settle
from tests.support.fake_stores import FakeGestionnaireStore
from tests.support.gestionnaires import gestionnaire

SETTLED: dict[str, Any] = {
    "chaining": True,
    "include": True,
    "sort": False,
    "post_search": True,
    "modifiers": ("exact",),
}
DAY = 86_400.0


class Leases:
    def __init__(self) -> None:
        self.held: set[str] = set()

    async def take(self, name: str, *, seconds: int) -> bool:
        assert seconds == LEASE_SECONDS
        if name in self.held:
            return False
        self.held.add(name)
        return True

    async def give_back(self, name: str) -> None:
        self.held.discard(name)


class World:
    """One store, one clock, and what checking finds. `checks`: (instant, slug) of each check."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FakeGestionnaireStore()
        self.leases = Leases()
        self.view: Sequence[Registered] = ()
        self.checks: list[tuple[float, str]] = []
        self.finds: dict[str, Any] = SETTLED
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    def all(self) -> Sequence[Registered]:
        return self.view

    def get(self, slug: str) -> Registered | None:
        return next((one for one in self.view if one.gestionnaire.id == slug), None)

    async def register(self, *managers: Gestionnaire) -> None:
        for manager in managers:
            await self.store.put(manager)
        await self.refresh()

    async def refresh(self) -> None:
        self.view = await self.store.all()

    async def check(self, manager: Gestionnaire) -> Skills:
        self.checks.append((self.clock.monotonic(), manager.id))
        if self.gate is not None and manager.id == "bre":
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Skills(checked_at=self.clock.now().isoformat().replace("+00:00", "Z"), **self.finds)

    async def pass_time(self, seconds: float, *, step: float = 5) -> None:
        for _ in range(round(seconds / step)):
            await self.clock.advance(step)
            await self.refresh()

    @asynccontextmanager
    async def running(self, count: int = 1, *, pause: float = 5) -> AsyncIterator[None]:
        keepers = [
            SkillsKeeper(self, self.store, self.leases, self.check, self.clock, pause=pause)
            for _ in range(count)
        ]
        tasks = [asyncio.create_task(keeper.run()) for keeper in keepers]
        await settle()
        await self.refresh()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @property
    def instants(self) -> list[float]:
        return [instant for instant, _ in self.checks]


async def test_a_new_manager_is_checked_at_once_and_again_after_a_day() -> None:
    world = World()
    await world.register(gestionnaire("bre"), gestionnaire("nor", status=Status.SUSPENDED.value))
    async with world.running(pause=600):
        await world.pass_time(DAY + 1800, step=600)
    assert [slug for _, slug in world.checks] == ["bre", "bre"]
    assert world.checks[1][0] == pytest.approx(DAY, abs=1200)
    assert world.leases.held == set()


async def test_several_nodes_check_once() -> None:
    world = World()
    await world.register(gestionnaire("bre"))
    async with world.running(4):
        await world.pass_time(600)
    assert len(world.checks) == 1


@pytest.mark.parametrize(
    "open_question", [{"chaining": None}, {"modifiers": None}, {"unproven": ("CareTeam.end",)}]
)
async def test_a_manager_that_was_checked_while_empty_is_looked_at_again_soon(
    open_question: dict[str, Any],
) -> None:
    world = World()
    world.finds = SETTLED | open_question
    await world.register(gestionnaire("bre"))
    async with world.running(2):
        await world.pass_time(1000)
        assert world.instants == pytest.approx([0, 60, 180, 420, 900], abs=30)
        world.finds = SETTLED
        await world.pass_time(1200)
        count = len(world.checks)
        assert count == 6
        await world.pass_time(3600)
        assert len(world.checks) == count, "all is known: a day"


async def test_the_time_between_looks_grows_to_a_day() -> None:
    world = World()
    world.finds = SETTLED | {"sort": None}
    await world.register(gestionnaire("bre"))
    registered = await world.store.get("bre")
    assert registered is not None
    keeper = SkillsKeeper(world, world.store, world.leases, world.check, world.clock)
    await world.store.save_skills(
        "bre", Skills(checked_at="2026-01-01T00:00:00Z", unsettled=500, **(SETTLED | {"sort": None}))
    )
    await world.refresh()
    await world.clock.advance(DAY - 10)
    assert not keeper._due()
    await world.clock.advance(20)
    assert keeper._due()


@pytest.mark.parametrize("error", [ManagerError(FailureKind.UNREACHABLE), ValueError("a defect of ours")])
async def test_a_manager_that_cannot_be_checked_is_tried_ever_more_seldom(error: Exception) -> None:
    world = World()
    world.error = error
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    await world.register(gestionnaire("bre"))
    async with world.running():
        await world.pass_time(90)
        assert world.instants == pytest.approx([0, 5, 15, 35, 75], abs=6)
        world.error = None
        await world.pass_time(90)
        assert world.view[0].skills is not None
        assert world.leases.held == set()
    assert bool(told) is isinstance(error, ValueError)


async def test_a_slow_check_keeps_no_other_manager_waiting() -> None:
    world = World()
    world.gate = asyncio.Event()
    await world.register(gestionnaire("bre"))
    async with world.running():
        await world.register(gestionnaire("nor"))
        await world.pass_time(10)
        assert [slug for _, slug in world.checks] == ["bre", "nor"]
        world.gate.set()
        await world.pass_time(10)
        assert all(one.skills is not None for one in world.view)
    assert len(world.checks) == 2


async def test_what_was_learnt_of_an_address_is_not_kept_for_another() -> None:
    world = World()
    world.gate = asyncio.Event()
    await world.register(gestionnaire("bre"))
    async with world.running():
        await world.register(gestionnaire("bre", base_url="https://elsewhere.example/fhir"))
        world.gate.set()
        await settle()
        found = await world.store.get("bre")
        assert found is not None
        assert found.skills is None
        await world.pass_time(10)
        assert world.view[0].skills is not None
    assert len(world.checks) == 2


async def test_a_store_that_is_down_for_a_while_ends_nothing() -> None:
    world = World()
    await world.register(gestionnaire("bre"))
    world.store.down = True
    keeper = SkillsKeeper(world, world.store, world.leases, world.check, world.clock)
    task = asyncio.create_task(keeper.run())
    await world.clock.advance(20)
    assert (world.checks, task.done()) == ([], False)
    world.store.down = False
    await world.clock.advance(20)
    assert len(world.checks) == 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_what_is_settled() -> None:
    assert not is_unsettled(Skills(**SETTLED))
    assert is_unsettled(Skills())
