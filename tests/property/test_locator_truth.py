"""The index against the truth: whatever happens at the managers and to the broker, it names who holds what.

Two things hold. At every moment: of a manager that the index says to hold completely as of some instant, it knows every
circle that has been there since before that instant, so that leaving the manager out misses nothing that old. And once
the feed has caught up: it names exactly the managers that hold a circle of each person, under each of their identifiers.
(Of a manager whose deletions do not show it may name too much, never too little.)
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store
from registry.locator_model import CoverageState, Identifier
from tests.support.examples import examples
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS_TEST, care_team, patient
from tests.support.locator_world import Region, World, broken

SLUGS = ("bre", "occ", "idf")
PERSONS = 2  # Patients at each manager
NUMBERS = 3  # identifiers there are, and as many of circles
CIRCLES = 3

REGIONS = {
    "bre": Region("bre", sandbox=SandboxOptions(max_page=3), ahead=3600.0),
    # Its deletions do not show; it brings no Patients along, and its links are relative.
    "occ": Region(
        "occ",
        dialect={"history_type": False, "include": False},
        sandbox=SandboxOptions(
            no_type_history=True, ignores_include=True, relative_next_links=True, max_page=2
        ),
        ahead=-3600.0,
    ),
    # Its Patients are followed by their history, its circles are not sorted, its links die soon.
    "idf": Region(
        "idf",
        dialect={"sort": False, "param:Patient:_lastUpdated": False},
        sandbox=SandboxOptions(ignores_sort=True, max_page=2, getpages_links=True),
    ),
}
SHOWS_DELETIONS = {"bre", "idf"}

slugs = st.sampled_from(SLUGS)
people = st.integers(0, PERSONS - 1)
numbers = st.frozensets(st.integers(0, NUMBERS - 1), max_size=3)
circles = st.integers(0, CIRCLES - 1)

_PATIENT = st.tuples(st.just("patient"), slugs, people, numbers)
_CIRCLE = st.tuples(st.just("circle"), slugs, circles, people, st.integers(0, NUMBERS - 1))
_DELETE = st.tuples(st.just("delete"), slugs, circles)
_WAIT = st.tuples(st.just("wait"), st.sampled_from([0.001, 0.4, 1.0, 3.0, 15.0]))
_OFTEN = [_PATIENT, _PATIENT, _CIRCLE, _CIRCLE, _DELETE, _DELETE, _WAIT, _WAIT]
_SELDOM = [
    st.tuples(st.just("late"), slugs, people, st.integers(0, NUMBERS - 1), st.floats(0.001, 8.0)),
    st.tuples(st.just("move"), slugs, slugs, circles),
    st.tuples(st.just("restart")),
    st.tuples(st.just("second node")),
    st.tuples(st.just("lose")),
    st.tuples(st.just("fail"), slugs),
    st.tuples(st.just("recover")),
    st.tuples(st.just("crawl"), slugs),
    st.tuples(st.just("refill")),
    st.tuples(st.just("store down"), st.booleans()),
]
BEFORE = st.one_of(_PATIENT, _CIRCLE, _CIRCLE, _DELETE, _WAIT)
AFTER = st.one_of(*_OFTEN, *_SELDOM)


@dataclass
class Run:
    """One history of the world. `held`: what is true, and since when (our clock)."""

    world: World
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    held: dict[tuple[str, Identifier], float] = field(default_factory=dict)
    made: int = 0

    def start(self) -> None:
        self.tasks.append(asyncio.create_task(self.world.keeper().run()))

    async def stop(self) -> None:
        while self.tasks:
            task = self.tasks.pop()
            while not task.done():
                task.cancel()
                await self.world.clock.advance(0.1)

    async def do(self, operation: tuple[Any, ...]) -> None:
        name, *arguments = operation
        await getattr(self, "_" + name.replace(" ", "_"))(*arguments)
        self._note()
        await self.check()

    async def _patient(self, slug: str, number: int, values: frozenset[int]) -> None:
        held = [{"system": INS_TEST, "value": f"ins{value}"} for value in sorted(values)]
        self._put(slug, patient(f"p{number}", identifier=held))

    async def _circle(self, slug: str, number: int, person: int, identity: int) -> None:
        self._put(slug, care_team(f"c{number}", subject=f"Patient/p{person}", identifier=f"circle{identity}"))

    async def _late(self, slug: str, person: int, identity: int, seconds: float) -> None:
        """A circle that is seen only some seconds after the instant it bears."""
        self.made += 1
        store = self.world.store(slug)
        circle = care_team(f"late{self.made}", subject=f"Patient/p{person}", identifier=f"circle{identity}")
        at = store.clock.now() - dt.timedelta(seconds=seconds)
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        store.put("CareTeam", circle["id"], orjson.dumps(circle), at=at)

    async def _delete(self, slug: str, number: int) -> None:
        store = self.world.store(slug)
        if store.current("CareTeam", f"c{number}") is not None:
            store.delete("CareTeam", f"c{number}")

    async def _move(self, source: str, target: str, number: int) -> None:
        version = self.world.store(source).live("CareTeam").get(f"c{number}")
        if version is None or source == target:
            return
        self._put(target, dict(version.content))
        await self.world.clock.advance(0.001)
        self._note()
        self.world.store(source).delete("CareTeam", f"c{number}")

    async def _wait(self, seconds: float) -> None:
        await self.world.clock.advance(seconds)

    async def _restart(self) -> None:
        await self.stop()
        self.start()

    async def _second_node(self) -> None:
        if len(self.tasks) < 3:
            self.start()

    async def _lose(self) -> None:
        self.world.locator.lose()

    async def _fail(self, slug: str) -> None:
        self.world.client.fault = broken(only=slug)

    async def _recover(self) -> None:
        self.world.client.fault = None

    async def _crawl(self, slug: str) -> None:
        if self.world.locator.down:
            return
        crawling = asyncio.create_task(self.world.service().crawl(slug))
        while not crawling.done():
            await self.world.clock.advance(0.1)
        crawling.result()

    async def _refill(self) -> None:
        if not self.world.locator.down:
            await self.world.service().rotate_key()

    async def _store_down(self, down: bool) -> None:
        self.world.locator.down = down

    def _put(self, slug: str, resource: dict[str, Any]) -> None:
        self.world.store(slug).put(resource["resourceType"], resource["id"], orjson.dumps(resource))

    # --- what is true

    def _note(self) -> None:
        now = self.world.clock.now().timestamp()
        true = {(slug, one) for slug in SLUGS for one in truth(self.world.store(slug))}
        self.held = {pair: self.held.get(pair, now) for pair in true}

    async def check(self) -> None:
        """Nothing that was there before a coverage's instant is missing."""
        if self.world.locator.down:
            return
        coverage = await self.world.locator.coverage()
        for (slug, identifier), since in self.held.items():
            covered = coverage.get(slug)
            if covered is None or covered.state is not CoverageState.COMPLETE or covered.as_of is None:
                continue
            if since < covered.as_of:
                assert slug in await self.named(identifier), (slug, identifier, since, covered)

    async def check_exactly(self) -> None:
        true = {(slug, one) for slug in SLUGS for one in truth(self.world.store(slug))}
        for identifier in everything():
            holders = {slug for slug, one in true if one == identifier}
            named = await self.named(identifier)
            assert holders <= named, identifier
            assert named & SHOWS_DELETIONS <= holders, identifier

    async def named(self, identifier: Identifier) -> frozenset[str]:
        if identifier[0] == CIRCLE_SYSTEM:
            return await self.world.holders_of_circle(identifier)
        return await self.world.holders(identifier)


def truth(store: Store) -> set[Identifier]:
    """The identifiers, of circles and of their persons, by which a search at this manager finds something."""
    found: set[Identifier] = set()
    for circle in store.live("CareTeam").values():
        found |= {(one["system"], one["value"]) for one in circle.content["identifier"]}
        subject = store.live("Patient").get(circle.content["subject"]["reference"].partition("/")[2])
        if subject is not None:
            found |= {(one["system"], one["value"]) for one in subject.content["identifier"]}
    return found


def everything() -> list[Identifier]:
    return [(INS_TEST, f"ins{n}") for n in range(NUMBERS)] + [
        (CIRCLE_SYSTEM, f"circle{n}") for n in range(NUMBERS)
    ]


@pytest.mark.timeout(300)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    before=st.lists(BEFORE, max_size=12),
    after=st.lists(AFTER, min_size=1, max_size=25),
)
def test_the_index_is_true(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> None:
    async def history() -> None:
        run = Run(await World.of(*REGIONS.values()))
        try:
            for operation in before:  # what is there before the broker comes
                await run.do(operation)
            run.start()
            for operation in after:
                await run.do(operation)
            run.world.client.fault = None
            run.world.locator.down = False
            await run.world.clock.advance(5.0)
            await run.world.caught_up(seconds=120.0)
            await run.check()
            await run.check_exactly()
        finally:
            await run.stop()

    asyncio.run(history())
