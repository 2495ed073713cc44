"""When the index alone may say that a person has no circle: it must speak for everybody who might hold one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from broker.federation.locating import LocatorGuide
from broker.federation.writing.records import Person
from broker.federation.writing.uniqueness import Uniqueness
from registry.locator_model import Identifier, Sighting
from registry.model import Gestionnaire, Registered, Status
from tests.support.fake_clock import FakeClock
from tests.support.fake_locator import FakeLocator

ALICE: Identifier = ("urn:oid:1.2.250.1.213.1.4.10", "255069999999934")
CIRCLE: Identifier = ("urn:oid:1.2.250.1.999.1", "CDS-000001")
PERSON = Person((ALICE,), ("Patient/bre.1",), (CIRCLE,))


class World:
    """Two active managers and a suspended one, and the index of them."""

    def __init__(self, statuses: dict[str, Status]) -> None:
        self.clock = FakeClock()
        self.locator = FakeLocator(self.clock)
        managers = [
            Registered(Gestionnaire(slug, slug, "53", f"https://{slug}.example/fhir", status=status), 1, "")
            for slug, status in statuses.items()
        ]
        federation: Any = SimpleNamespace(managers=SimpleNamespace(all=lambda: managers))
        unused: Any = None
        self.guide = LocatorGuide(self.locator, self.clock, freshness=60.0)
        self.uniqueness = Uniqueness(federation, unused, self.guide, unused)

    async def is_sure(self, person: Person = PERSON) -> bool:
        return await self.uniqueness._surely_nobody(person)

    def cover(self, *slugs: str, age: float = 0.0) -> None:
        self.locator.cover(*slugs, as_of=self.clock.now().timestamp() - age)


@pytest.fixture
def world() -> World:
    return World({"bre": Status.ACTIVE, "occ": Status.ACTIVE, "idf": Status.SUSPENDED})


async def test_it_speaks_for_everybody(world: World) -> None:
    world.cover("bre", "occ", "idf")
    assert await world.is_sure()


@pytest.mark.parametrize("age", [None, 61.0])
async def test_not_where_it_has_not_all_of_an_active_one_or_not_of_late(
    world: World, age: float | None
) -> None:
    world.cover("bre", "idf")
    if age is not None:
        world.cover("occ", age=age)
    assert not await world.is_sure()


async def test_of_the_suspended_what_it_held_last_counts(world: World) -> None:
    world.cover("bre", "occ")
    assert not await world.is_sure()
    world.cover("idf", age=1e6)
    assert await world.is_sure()


@pytest.mark.parametrize("slug", ["occ", "idf", "gone"])
@pytest.mark.parametrize("found_by", ["person", "circle"])
async def test_not_where_anybody_holds_one(world: World, slug: str, found_by: str) -> None:
    world.cover("bre", "occ", "idf")
    other: Identifier = ("urn:x", "1")
    persons, circles = ((ALICE,), (other,)) if found_by == "person" else ((other,), (CIRCLE,))
    await world.locator.learn([Sighting(slug, "1", "1", 1000.0, circles, persons)])
    assert not await world.is_sure()


async def test_not_of_somebody_without_identifiers_nor_where_it_is_out_or_there_is_none(world: World) -> None:
    world.cover("bre", "occ", "idf")
    assert not await world.is_sure(Person((), ("Patient/bre.1",), (CIRCLE,)))
    world.locator.down = True
    assert not await world.is_sure()
    world.locator.down = False
    assert not await world.is_sure(), "it is left alone for a moment"
    unused: Any = None
    assert not await Uniqueness(world.uniqueness.federation, unused, None, unused)._surely_nobody(PERSON)


async def test_not_where_nobody_is_active() -> None:
    world = World({"bre": Status.SUSPENDED})
    world.cover("bre")
    assert not await world.is_sure()
