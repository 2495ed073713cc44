"""Following a manager: what changes, what is deleted, what comes late, and what a quiet manager costs."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import orjson
import pytest

from adapters.sandbox.options import SandboxOptions
from registry.locator_model import CoverageState
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.locator_world import OPTIONS, Region, World, broken

NO_HISTORY = Region("occ", {"history_type": False}, SandboxOptions(no_type_history=True))


def put(world: World, resource: dict[str, Any], slug: str = "bre") -> None:
    world.store(slug).put(resource["resourceType"], resource["id"], orjson.dumps(resource))


def person(value: str) -> tuple[str, str]:
    return INS_TEST, value


@pytest.fixture
async def world() -> World:
    """`bre` with the circle of one person, followed from a moment ago."""
    made = await World.of(Region("bre", ahead=3600.0))
    put(made, patient("p1", ins="one"))
    put(made, care_team("c1"))
    return made


async def test_deletions_and_re_creations(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        for _ in range(3):
            world.store("bre").delete("CareTeam", "c1")
            await world.caught_up()
            assert await world.holders(person("one")) == frozenset()
            put(world, care_team("c1"))
            await world.caught_up()
            assert await world.holders(person("one")) == {"bre"}
        world.store("bre").delete("CareTeam", "c1")
        put(world, care_team("c1"))
        world.store("bre").delete("CareTeam", "c1")
        await world.caught_up()
        assert await world.holders(person("one")) == frozenset()


async def test_other_identifiers_of_a_person(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        both = [{"system": INS_TEST, "value": value} for value in ("one", "two")]
        put(world, patient("p1", identifier=both))
        await world.caught_up()
        assert await world.holders(person("one")) == await world.holders(person("two")) == {"bre"}
        put(world, patient("p1", ins="two"))
        await world.caught_up()
        assert await world.holders(person("one")) == frozenset()
        world.store("bre").delete("Patient", "p1")
        await world.caught_up()
        assert "bre" in await world.holders(person("two")), "too much is right, too little never"


async def test_what_becomes_visible_late_is_seen(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        put(world, patient("p2", ins="two"))
        await world.caught_up()
        at = world.store("bre").clock.now() - dt.timedelta(seconds=8)
        world.store("bre").put(
            "CareTeam", "late", orjson.dumps(care_team("late", subject="Patient/p2")), at=at
        )
        await world.caught_up()
        assert await world.holders(person("two")) == {"bre"}


async def test_a_quiet_manager_costs_two_requests_a_look(world: World) -> None:
    for number in range(30):
        put(world, patient(f"q{number}", ins=f"q{number}"))
        put(world, care_team(f"d{number}", subject=f"Patient/q{number}"))
    async with world.fed():
        await world.caught_up()
        await world.clock.advance(3 * world.options.overlap)
        before = len(world.client.asked)
        await world.clock.advance(10 * world.options.poll)
        asked = [target for _, target in world.client.asked[before:]]
        assert 18 <= len(asked) <= 22
        newest = (await world.coverage("bre")).since
        assert all(f"_since={newest}" in target for target in asked if "_history" in target)


async def test_a_manager_that_ignores_since_is_not_read_to_its_beginning() -> None:
    sandbox = SandboxOptions(max_page=5)
    world = await World.of(Region("bre", sandbox=sandbox))
    for number in range(60):
        at = dt.datetime(2025, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=number)
        world.store("bre").put("CareTeam", f"c{number}", orjson.dumps(care_team(f"c{number}")), at=at)
    whole = world.client.send

    async def send(manager: Any, request: Any, *, timeout: float) -> Any:  # noqa: ASYNC109
        kept = [pair for pair in request.query if pair[0] != "_since"]
        changed = type(request)(
            request.method, request.target, kept, request.form, request.headers, request.body
        )
        return await whole(manager, changed, timeout=timeout)

    object.__setattr__(world.federation, "client", type("Client", (), {"send": staticmethod(send)})())
    async with world.fed():
        await world.caught_up()
        before = len(world.client.asked)
        await world.clock.advance(10 * world.options.poll)
        asked = [target for _, target in world.client.asked[before:] if "_history" in target]
    assert len(asked) <= 2 * 11, "a page or two for each look"


async def test_without_history_nothing_is_missed_and_deletions_are_cleared_up_later() -> None:
    world = await World.of(NO_HISTORY, options=replace(OPTIONS, recrawl=300.0))
    put(world, patient("p1", ins="one"), "occ")
    put(world, care_team("c1"), "occ")
    async with world.fed():
        await world.caught_up()
        put(world, care_team("c2"), "occ")
        put(world, patient("p1", ins="two"), "occ")
        await world.caught_up()
        coverage = await world.coverage("occ")
        assert coverage.problem == "locator.no-deletions"
        assert await world.holders(person("two")) == {"occ"}
        for circle in ("c1", "c2"):
            world.store("occ").delete("CareTeam", circle)
        await world.caught_up()
        assert await world.holders(person("two")) == {"occ"}
        await world.clock.advance(world.options.recrawl)
        await world.caught_up()
        assert await world.holders(person("two")) == frozenset()


async def test_a_failing_manager_is_asked_ever_less_and_its_coverage_ages(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        then = (await world.coverage("bre")).as_of
        put(world, care_team("c2", subject="Patient/p1", identifier="second"))
        tries = 0

        def fault(slug: str, request: Any) -> None:
            nonlocal tries
            tries += 1
            broken()(slug, request)

        world.client.fault = fault
        await world.clock.advance(600.0)
        assert tries < 20
        coverage = await world.coverage("bre")
        assert coverage.state is CoverageState.COMPLETE
        assert coverage.problem == "manager.unreachable"
        assert coverage.as_of == then
        world.client.fault = None
        await world.caught_up()
        assert (await world.coverage("bre")).problem is None
        assert await world.holders_of_circle(("https://cds.example/circles", "second")) == {"bre"}


async def test_entries_of_a_history_without_their_content_are_fetched(world: World) -> None:
    async with world.fed():
        await world.caught_up()
        whole = world.client.send

        async def send(manager: Any, request: Any, *, timeout: float) -> Any:  # noqa: ASYNC109
            answer = await whole(manager, request, timeout=timeout)
            if "_history" not in request.target:
                return answer
            bundle = orjson.loads(answer.body)
            for entry in bundle.get("entry", ()):
                entry.pop("resource", None)
            return type(answer)(answer.status, answer.headers, orjson.dumps(bundle), 0.0)

        object.__setattr__(world.federation, "client", type("Client", (), {"send": staticmethod(send)})())
        put(world, patient("p2", ins="two"))
        put(world, care_team("c2"))
        put(world, care_team("c2", subject="Patient/p2"))
        await world.caught_up()
        assert await world.holders(person("two")) == {"bre"}


async def test_too_much_to_catch_up_with_is_crawled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.fed():
        await world.caught_up()
    before = (await world.coverage("bre")).started
    world.store("bre").delete("CareTeam", "c1")
    for number in range(30):
        put(world, patient(f"q{number}", ins=f"q{number}"))
        put(world, care_team(f"d{number}", subject=f"Patient/q{number}"))
    monkeypatch.setattr("broker.sync.feed.MAX_CHANGES", 20)
    await world.clock.advance(60.0)
    async with world.fed():
        await world.clock.advance(5.0)
        monkeypatch.setattr("broker.sync.feed.MAX_CHANGES", 200)
        await world.caught_up()
    assert (await world.coverage("bre")).started != before
    assert await world.holders(person("q29")) == {"bre"}
    assert await world.holders(person("one")) == frozenset()
