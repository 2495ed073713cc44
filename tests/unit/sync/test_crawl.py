"""The first crawl: nothing left out, whatever the manager is like and whoever is killed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from adapters.sandbox.options import SandboxOptions
from broker.core.manager_failure import failed
from broker.errors import FailureKind
from broker.ports import ManagerRequest
from registry.locator_model import CoverageState
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.locator_world import OPTIONS, Region, World, broken


def fill(world: World, slug: str, count: int, *, step: float = 1.0) -> None:
    """Circles and Patients of a past year, `step` seconds apart: each person has a number of its own."""
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    for number in range(count):
        at = start + dt.timedelta(seconds=number * step)
        for resource in (
            patient(f"p{number}", ins=f"i{number}"),
            care_team(f"c{number}", subject=f"Patient/p{number}"),
        ):
            world.store(slug).put(resource["resourceType"], resource["id"], orjson.dumps(resource), at=at)


async def missing(world: World, count: int, slug: str = "bre") -> list[int]:
    return [number for number in range(count) if slug not in await world.holders((INS_TEST, f"i{number}"))]


def pages(world: World, slug: str = "bre") -> list[str]:
    """The pages of circles that were asked for, the first one of a crawl by its `_sort`."""
    return [
        target
        for who, target in world.client.asked
        if who == slug and target.startswith("CareTeam/_search") and "_sort=_lastUpdated" in target
    ]


@pytest.mark.parametrize(
    ("sandbox", "dialect"),
    [
        (SandboxOptions(max_page=7), {}),
        (SandboxOptions(max_page=7, getpages_links=True, no_total=True), {"total": False}),
        (SandboxOptions(max_page=7, ignores_include=True), {"include": False}),
        (SandboxOptions(max_page=7, ignores_include=True), {}),  # it says it can, and does not
        (SandboxOptions(max_page=7, no_post_search=True, relative_next_links=True), {"post_search": False}),
        (SandboxOptions(max_page=7, ignores_sort=True), {"sort": False}),
        (SandboxOptions(max_page=7, ignores_sort=True), {}),
        (SandboxOptions(max_page=7, ignored_params=frozenset({"_lastUpdated"})), {}),
        (SandboxOptions(max_page=7, id_last=True, uuid_versions=True, no_search_mode=True), {}),
    ],
)
@pytest.mark.parametrize("step", [1.0, 0.0])
async def test_every_circle_is_found(
    sandbox: SandboxOptions, dialect: Mapping[str, bool], step: float
) -> None:
    world = await World.of(Region("bre", dialect, sandbox))
    fill(world, "bre", 40, step=step)
    async with world.fed():
        await world.caught_up()
    assert await missing(world, 40) == []
    coverage = await world.coverage("bre")
    assert coverage.circles == 40
    assert coverage.problem is None


async def test_killed_and_resumed_without_gap_or_repetition() -> None:
    world = await World.of(Region("bre", sandbox=SandboxOptions(max_page=5)))
    fill(world, "bre", 60)
    for survived in (4, 7, 9):
        answered = 0

        def fault(slug: str, request: ManagerRequest, last: int = survived) -> None:
            nonlocal answered
            answered += 1
            if answered > last:
                broken()(slug, request)

        world.client.fault = fault
        async with world.fed():
            await world.clock.advance(1.0)
        coverage = await world.coverage("bre")
        assert coverage.state is CoverageState.CRAWLING
        assert coverage.crawled is not None
    started = coverage.started
    world.client.fault = None
    async with world.fed():
        await world.caught_up()
    coverage = await world.coverage("bre")
    assert (coverage.circles, coverage.total, coverage.started) == (60, 60, started)
    assert await missing(world, 60) == []
    asked = [page for page in pages(world) if "CareTeam" in page]
    # A page that failed is asked once more at each attempt, and a page that was prefetched is asked once more.
    assert len(asked) < 60 / 4 + 3 * 4
    assert sum("_lastUpdated=ge" not in page for page in asked) <= 2


async def test_what_changes_while_it_is_crawled_is_not_missed() -> None:
    world = await World.of(Region("bre", sandbox=SandboxOptions(max_page=5)))
    fill(world, "bre", 40)
    asked = 0

    def change(slug: str, request: ManagerRequest) -> None:
        nonlocal asked
        asked += 1
        if asked in (6, 8):  # among pages that were read, and among those to come
            store = world.store("bre")
            for number in (1, 38):
                store.put(
                    "CareTeam", f"c{number}", orjson.dumps(care_team(f"c{number}", subject="Patient/p0"))
                )
            store.put("Patient", "p2", orjson.dumps(patient("p2", ins=f"new{asked}")))
            store.delete("CareTeam", "c3")

    world.client.fault = change
    async with world.fed():
        await world.caught_up()
    assert await missing(world, 40) == [1, 2, 3, 38]
    assert await world.holders((INS_TEST, "new8")) == {"bre"}


async def test_a_walk_that_a_deletion_may_have_made_a_gap_in_is_made_again() -> None:
    world = await World.of(Region("bre", {"sort": False}, SandboxOptions(max_page=5, ignores_sort=True)))
    fill(world, "bre", 30)
    asked = 0

    def change(slug: str, request: ManagerRequest) -> None:
        nonlocal asked
        asked += 1
        if asked == 6:
            world.store("bre").delete("CareTeam", "c0")

    world.client.fault = change
    async with world.fed():
        await world.clock.advance(0.5)
        assert (await world.coverage("bre")).problem == "manager.incomplete"
        await world.caught_up()
    assert await missing(world, 30) == [0]
    coverage = await world.coverage("bre")
    assert (coverage.circles, coverage.problem) == (29, None)


async def test_a_page_too_heavy_is_asked_for_in_smaller_ones() -> None:
    world = await World.of(Region("bre", sandbox=SandboxOptions(max_page=100)))
    fill(world, "bre", 90)

    def heavy(slug: str, request: ManagerRequest) -> None:
        asked = dict([*request.query, *(request.form or ())])
        if "_include" in asked and int(asked["_count"]) > 30:
            raise failed(world.view.all()[0].gestionnaire, FailureKind.TIMEOUT)

    world.client.fault = heavy
    async with world.fed():
        await world.caught_up()
    assert await missing(world, 90) == []


async def test_a_manager_that_cannot_be_followed_is_complete_as_of_its_crawl_alone() -> None:
    cases: list[tuple[dict[str, Any], SandboxOptions, str]] = [
        (
            {"sort": False, "history_type": False},
            SandboxOptions(no_type_history=True, ignores_sort=True),
            "locator.no-feed",
        ),
        ({"broker": True}, SandboxOptions(), "locator.no-feed"),
        (
            {"history_type": False, "param:Patient:_lastUpdated": False},
            SandboxOptions(no_type_history=True),
            "locator.no-patient-feed",
        ),
    ]
    for dialect, sandbox, problem in cases:
        world = await World.of(Region("bre", dialect, sandbox), options=replace(OPTIONS, recrawl=300.0))
        fill(world, "bre", 5)
        async with world.fed():
            await world.clock.advance(60.0)
            coverage = await world.coverage("bre")
            assert (coverage.state, coverage.problem) == (CoverageState.COMPLETE, problem)
            assert coverage.as_of == coverage.started
            assert coverage.started is not None
            world.store("bre").put("Patient", "p1", orjson.dumps(patient("p1", ins="new")))
            await world.clock.advance(world.options.recrawl)
            assert (await world.coverage("bre")).started != coverage.started
        assert await world.holders((INS_TEST, "new")) == {"bre"}
        assert await missing(world, 5) == [1]


async def test_a_manager_that_is_still_unchecked_is_left_alone() -> None:
    world = await World.of(Region("bre"))
    await world.register(Region("bre").gestionnaire(dialect=None))
    async with world.fed():
        await world.clock.advance(30.0)
    assert world.client.asked == []
