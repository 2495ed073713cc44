"""What searches show in passing: learnt where it is whole, never at the search's cost, never over what is newer."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from broker.core.bundle import Entry, read_searchset
from broker.core.identity import Origin
from broker.sync.observer import LocatorObserver
from broker.sync.sightings import patients_among, sightings
from tests.support.fake_clock import FakeClock, settle
from tests.support.fake_locator import FakeLocator
from tests.support.fhir_builders import INS, INS_TEST, bundle, care_team, patient

ORIGIN = Origin("bre", "https://bre.example/fhir", "https://broker.example/fhir", "53", "Bretagne")
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


def page(*circles: dict[str, Any], patients: tuple[dict[str, Any], ...] = ()) -> list[Entry]:
    body = orjson.dumps(bundle(circles, includes=patients))
    return list(read_searchset(body, ORIGIN, "CareTeam", {}).entries)


@pytest.fixture
def locator() -> FakeLocator:
    return FakeLocator(FakeClock())


@pytest.fixture
async def observer(locator: FakeLocator) -> AsyncIterator[LocatorObserver]:
    made = LocatorObserver(locator, FakeClock(), bound=3)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def holders(locator: FakeLocator, value: str = INS[0]) -> frozenset[str]:
    return (await locator.holders([(INS_TEST, value)], [])).persons[INS_TEST, value]


async def test_a_whole_page_is_learnt(locator: FakeLocator, observer: LocatorObserver) -> None:
    observer.seen(page(care_team("c1"), patients=(patient("p1"),)))
    await settle()
    assert await holders(locator) == {"bre"}
    assert observer.learnt == 1


async def test_what_is_not_whole_is_left(locator: FakeLocator, observer: LocatorObserver) -> None:
    part = patient("p1")
    part["meta"]["tag"] = [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
    ]
    undated = patient("p1")
    del undated["meta"]["lastUpdated"]
    observer.seen(page(care_team("c1")))
    observer.seen(page(care_team("c1"), patients=(part,)))
    observer.seen(page(care_team("c1"), patients=(undated,)))
    await settle()
    assert observer.learnt == 0
    assert locator.learnt == {}


async def test_an_old_page_that_comes_late_undoes_nothing(
    locator: FakeLocator, observer: LocatorObserver
) -> None:
    old = page(care_team("c1"), patients=(patient("p1", ins=INS[0], last_updated=EARLY),))
    new = page(care_team("c1"), patients=(patient("p1", ins=INS[1], last_updated=LATE),))
    await locator.learn(sightings(new[:1], patients_among(new)))
    observer.seen(old)
    await settle()
    assert await holders(locator, INS[1]) == {"bre"}
    assert await holders(locator, INS[0]) == frozenset()
    await locator.forget("bre", "c1", at=2e9)
    observer.seen(new)
    await settle()
    assert await holders(locator, INS[1]) == frozenset()


async def test_a_full_queue_drops_and_counts(locator: FakeLocator, observer: LocatorObserver) -> None:
    for number in range(5):
        observer.seen(page(care_team(f"c{number}"), patients=(patient("p1"),)))
    assert observer.dropped == 2
    await settle()
    assert observer.learnt == 3


async def test_a_store_that_is_down_costs_nothing(locator: FakeLocator, observer: LocatorObserver) -> None:
    locator.down = True
    observer.seen(page(care_team("c1"), patients=(patient("p1"),)))
    await settle()
    assert observer.dropped == 1
    assert observer.learnt == 0


async def test_the_same_page_again_is_not_written_again(
    locator: FakeLocator, observer: LocatorObserver
) -> None:
    for _ in range(3):
        observer.seen(page(care_team("c1"), patients=(patient("p1"),)))
        await settle()
    assert observer.learnt == 1
    observer.seen(page(care_team("c1", version="2", last_updated=LATE), patients=(patient("p1"),)))
    await settle()
    assert observer.learnt == 2, "a new version is new"


async def test_pages_that_were_seen_take_no_memory_however_long_they_are(observer: LocatorObserver) -> None:
    """A worker grew with each page that it had not seen lately, until a thousand were held whole."""

    def show(first: int, count: int) -> None:
        for number in range(first, first + count):
            at = f"2026-01-01T00:00:00.{number:06}Z"
            circles = [
                Entry("match", "CareTeam", f"c{n}", f"bre.c{n}", f"{number}", at, None, (), b"{}")
                for n in range(100)
            ]
            observer.seen(circles)
            observer._waiting.clear()

    show(0, 20)
    tracemalloc.start()
    try:
        show(20, 100)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000
