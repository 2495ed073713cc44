"""Managers are asked while somebody looks on, and only then; what is told live is what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from broker.console.live import PATIENCE, Live, _event
from broker.console.lookout import Lookout
from broker.errors import FailureKind
from broker.federation.traffic import Traffic
from registry.model import Gestionnaire, Registered, Status
from tests.support.fake_stores import ManualClock
from tests.support.waiting import until


def registered(slug: str, status: Status = Status.ACTIVE) -> Registered:
    return Registered(Gestionnaire(slug, slug, "53", f"http://{slug}", status=status), 1, "2026-01-01")


@dataclass
class Managers:
    known: list[Registered]

    def all(self) -> list[Registered]:
        return self.known

    def get(self, slug: str) -> Registered | None:
        return next((one for one in self.known if one.gestionnaire.id == slug), None)


@dataclass
class Post:
    """A lookout at its work. `hanging`: slugs that never answer; `failing`: that fail."""

    clock: ManualClock = field(default_factory=ManualClock)
    asked: list[str] = field(default_factory=list)
    hanging: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.live = Live(self.clock, {})
        self.traffic = Traffic(self.clock)

    async def look(self, one: Registered) -> None:
        slug = one.gestionnaire.id
        self.asked.append(slug)
        if slug in self.hanging:
            await asyncio.Event().wait()
        self.traffic.observe(slug, FailureKind.UNREACHABLE if slug in self.failing else None, 0.1)

    async def refresh(self) -> None:
        """What is known is this process's own."""

    async def after(self, seconds: float) -> list[str]:
        """Who was asked, in that time."""
        self.asked.clear()
        for _ in range(round(seconds / 0.5)):
            await until(lambda: self.clock.waiting == 1)
            self.clock.advance(0.5)
            for _ in range(4):  # it wakes, asks, is answered, sleeps
                await asyncio.sleep(0)
        return sorted(self.asked)


@asynccontextmanager
async def post(*managers: Registered) -> AsyncIterator[Post]:
    made = Post()
    lookout = Lookout(made.live, Managers([*managers]), made.traffic, made.look, made.refresh, made.clock)
    task = asyncio.create_task(lookout.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nobody_is_asked_while_nobody_looks_on() -> None:
    async with post(registered("bre")) as world:
        assert await world.after(10) == []
        world.live.look()
        assert await world.after(1) == ["bre"]
        await world.after(PATIENCE)
        assert await world.after(10) == []
        world.live.streams["me"] += 1
        assert "bre" in await world.after(3)


async def test_who_is_quiet_is_asked_every_other_second_and_who_failed_every_second() -> None:
    async with post(registered("bre"), registered("occ"), registered("off", Status.SUSPENDED)) as world:
        world.failing = {"occ"}
        world.live.look()
        await world.after(1)
        asked = await world.after(10)
        assert asked.count("bre") in (4, 5)
        assert asked.count("occ") in (9, 10)
        assert "off" not in asked


async def test_who_is_searched_is_not_asked_and_who_hangs_is_asked_once() -> None:
    async with post(registered("bre"), registered("occ")) as world:
        world.hanging = {"occ"}
        world.live.look()
        assert await world.after(1) == ["bre", "occ"]
        found = []
        for _ in range(8):
            world.traffic.observe("bre", None, 0.1)
            found += await world.after(1)
        assert found == []


def told(event: bytes | None) -> object:
    assert event is not None
    return orjson.loads(event.partition(b"data: ")[2])


def test_only_what_changed_is_told_and_states_are_urgent() -> None:
    before = {"bre": {"state": "up", "mean": 0.1}, "occ": {"state": "up", "mean": 0.1}}
    assert _event("x", dict(before), before) is None
    slower = before | {"bre": {"state": "up", "mean": 0.2}}
    known = dict(before)
    event = _event("federation", known, slower)
    assert event is not None
    assert event.startswith(b"event: federation\ndata: ")
    assert told(event) == {"urgent": False, "changed": {"bre": {"state": "up", "mean": 0.2}}}
    assert _event("x", known, slower) is None
    gone = {"bre": {"state": "failing", "mean": 0.2}}
    assert told(_event("x", known, gone)) == {
        "urgent": True,
        "changed": {"bre": {"state": "failing", "mean": 0.2}, "occ": None},
    }
