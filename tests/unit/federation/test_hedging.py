"""Slow managers on virtual time: what is not waited for, what is shown in its place, and what is never done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.core.change_event import Operation
from broker.errors import FailureKind, ManagerError, RequestError
from broker.federation.hedging import HedgeBudget
from registry.model import Identity
from registry.outbox_model import CircleChange
from tests.support.federation import ids, outcome_codes
from tests.support.fhir_builders import care_team
from tests.support.tail_world import HANG, QUICK, TailWorld
from tests.support.virtual_time import LoopClock, run_virtually

ALLOW = "replica=allow"

Scenario = Callable[[TailWorld], Awaitable[None]]


def over(*slugs: str, **options: bool | float) -> Callable[[Scenario], Callable[[], None]]:
    """A test on virtual time, over these managers."""

    def made(scenario: Scenario) -> Callable[[], None]:
        async def main(clock: LoopClock) -> None:
            async with TailWorld(clock, list(slugs), **options).running() as world:  # type: ignore[arg-type]  # fields
                await scenario(world)
                await asyncio.sleep(0)
                health = world.guard.states().values()
                looks = sum(one.get_name().startswith("look ") for one in asyncio.all_tasks())
                assert sum(one.in_flight for one in health) == looks, "a request was left behind"
            await asyncio.sleep(0)
            assert +world.under_way == {}

        def test() -> None:
            run_virtually(main)

        test.__name__, test.__doc__ = getattr(scenario, "__name__", "scenario"), scenario.__doc__
        return test

    return made


async def pair(world: TailWorld, *, behind: bool = False) -> None:
    """A circle at bre, with its replica at nor, both asked often enough."""
    number = await world.home("bre", "c1")
    await world.replica("nor", "77", of="bre.c1", number=number)
    await world.used_to("bre", "nor", times=200)
    if behind:
        await world.outbox.enqueue(CircleChange("bre", "c1", "2", None, Operation.UPDATED))


def about(seconds: float) -> Any:
    return pytest.approx(seconds)


# --- searches


@over("bre", "nor", "occ")
async def test_nobody_waits_for_a_replica_whose_home_has_spoken(world: TailWorld) -> None:
    await pair(world)
    healthy = await world.located()
    assert healthy.seconds == about(QUICK)
    world.takes["nor"] = HANG
    asked = await world.located()
    assert QUICK <= asked.seconds < 0.1
    assert asked.json == healthy.json, "the answer is the same without it"
    assert asked.json["total"] == 1
    assert outcome_codes(asked.json) == []
    assert world.hedging.counts.outcomes["spared"] == 1
    assert asked.context.touched.managers == {"bre", "nor"}, "the trail tells who was asked"


@over("bre", "nor", "occ")
async def test_one_that_is_always_spared_is_found_out_all_the_same(world: TailWorld) -> None:
    await pair(world)
    world.takes["nor"] = HANG
    for _ in range(40):
        assert (await world.located()).seconds < 0.1
        await asyncio.sleep(0.5)
    health = world.guard.state("nor")
    assert health is not None
    assert health.breaker.value != "closed"
    assert world.asked["nor"] < 60, "looks are few"
    world.takes["nor"] = QUICK
    await asyncio.sleep(60)
    health = world.guard.state("nor")
    assert health is not None
    assert health.breaker.value == "closed"


@over("bre", "nor")
async def test_a_home_that_failed_has_not_spoken(world: TailWorld) -> None:
    await pair(world)
    world.fails["bre"], world.takes["nor"] = FailureKind.UNREACHABLE, 2.0
    asked = await world.located()
    assert (asked.seconds, ids(asked.json)) == (about(2.0), ["nor.77"]), "its replica is all that there is"
    assert set(outcome_codes(asked.json)) == {("manager.unreachable", "bre"), ("merge.replica-shown", None)}


@over("bre", "nor")
async def test_a_home_with_more_to_come_has_not_spoken(world: TailWorld) -> None:
    await pair(world)
    world.stores["bre"].resources.append(care_team("c2", identifier="1"))
    world.stores["bre"].page_size, world.takes["nor"] = 1, 2.0
    asked = await world.located()
    assert asked.seconds == about(2.0 + QUICK)
    assert set(ids(asked.json)) == {"bre.c1", "bre.c2"}


@over("bre", "nor")
async def test_a_second_home_is_waited_for(world: TailWorld) -> None:
    """Two circles of one identifier, none of them a replica: a conflict, of which nothing may be missing."""
    await world.home("bre", "c1")
    await world.home("nor", "c2")
    await world.used_to("bre", "nor")
    world.takes["nor"] = 3.0
    asked = await world.located(ALLOW)
    assert asked.seconds == about(3.0)
    assert world.hedging.counts.outcomes["spared"] == 0


@over("bre", "nor", "occ")
async def test_whoever_the_index_does_not_cover_is_waited_for(world: TailWorld) -> None:
    await pair(world)
    coverage = world.locator._generations[-1].coverage
    del coverage["nor"], coverage["occ"]
    world.takes["nor"] = 2.0
    asked = await world.located()
    assert asked.seconds == about(2.0)
    world.takes |= {"nor": QUICK, "occ": 1.5}
    assert (await world.located()).seconds == about(1.5)


@over("bre", "nor")
async def test_an_index_that_fails_spares_nobody(world: TailWorld) -> None:
    await pair(world)
    world.takes["nor"] = 2.0

    async def lost(*_: object) -> None:
        await asyncio.sleep(HANG)

    world.locator.pointers = lost  # type: ignore[assignment, method-assign]  # it answers no more
    asked = await world.located()
    assert asked.seconds == about(2.0)
    assert ids(asked.json) == ["bre.c1"]


@over("bre", "nor")
async def test_a_slow_home_is_waited_for_unless_the_client_takes_replicas(world: TailWorld) -> None:
    await pair(world)
    world.takes["bre"] = 2.0
    for prefer in ("", "replica=deny", f"{ALLOW}, partial=deny", "wait=4"):
        asked = await world.located(prefer)
        assert (asked.seconds, ids(asked.json)) == (about(2.0), ["bre.c1"])
        assert outcome_codes(asked.json) == []
    asked = await world.located(ALLOW)
    assert asked.seconds < 0.1
    assert ids(asked.json) == ["nor.77"]
    assert set(outcome_codes(asked.json)) == {("manager.timeout", "bre"), ("merge.replica-shown", None)}
    assert "total" not in asked.json
    assert world.hedging.counts.outcomes["stood-in"] == 1


@over("bre", "nor", everybody=True)
async def test_an_operator_may_want_it_for_all(world: TailWorld) -> None:
    await pair(world)
    world.takes["bre"] = 2.0
    assert ids((await world.located()).json) == ["nor.77"]
    assert ids((await world.located("replica=deny")).json) == ["bre.c1"]


@over("bre", "nor")
async def test_a_replica_that_is_behind_does_not_stand_in(world: TailWorld) -> None:
    await pair(world, behind=True)
    world.takes["bre"] = 2.0
    asked = await world.located(ALLOW)
    assert (asked.seconds, ids(asked.json)) == (about(2.0), ["bre.c1"])


@over("bre", "nor")
async def test_nothing_is_proven_while_a_write_is_not_settled(world: TailWorld) -> None:
    await pair(world)
    world.takes["bre"] = 2.0
    assert await world.write_log.intend("i", b"", due=60)
    asked = await world.located(ALLOW)
    assert (asked.seconds, ids(asked.json)) == (about(2.0), ["bre.c1"])
    await world.write_log.finish("i")
    assert ids((await world.located(ALLOW)).json) == ["nor.77"]


@over("bre", "nor")
async def test_what_a_replica_may_say_otherwise_is_waited_for(world: TailWorld) -> None:
    await pair(world)
    world.takes["bre"] = 2.0
    for more in ("&_lastUpdated=gt2020-01-01", "&_include=CareTeam:subject"):
        assert (await world.located(ALLOW, more=more)).seconds > 1.9


# --- reads by id


@over("bre", "nor")
async def test_a_slow_home_is_read_at_its_replica(world: TailWorld) -> None:
    await pair(world)
    quick = await world.read("bre.c1")
    assert (quick.json["id"], quick.seconds) == ("bre.c1", about(QUICK))
    assert world.asked["nor"] == 0, "nobody else is asked while the home is as quick as ever"
    world.takes["bre"] = 3.0
    asked = await world.read("bre.c1")
    assert 2 * QUICK <= asked.seconds < 0.12
    assert asked.json["id"] == "nor.77", "shown as what it is"
    assert asked.answer.headers == {"content-location": "https://broker.example/fhir/CareTeam/nor.77"}  # type: ignore[union-attr]
    assert asked.context.touched.managers == {"bre", "nor"}
    assert {"CareTeam/bre.c1", "CareTeam/nor.77"} <= asked.context.touched.resources
    assert world.hedging.counts.outcomes["replica"] == 1


@over("bre", "nor")
async def test_only_a_client_that_takes_replicas_is_shown_one(world: TailWorld) -> None:
    await pair(world)
    world.takes["bre"] = 2.0
    for prefer in ("", "replica=deny", "wait=4"):
        asked = await world.read("bre.c1", prefer)
        assert (asked.json["id"], asked.seconds) == ("bre.c1", about(2.0))
    assert world.asked["nor"] == 0


@over("bre", "nor")
async def test_what_asks_for_the_home_s_word_is_not_hedged(world: TailWorld) -> None:
    await pair(world)
    world.takes["bre"] = 2.0
    for conditions in ({"if-none-match": 'W/"9"'}, {"if-modified-since": "x"}, {"cache-control": "no-cache"}):
        assert (await world.read("bre.c1", conditions=conditions)).seconds == about(2.0)
    context = world.context(ALLOW)
    with pytest.raises(RequestError):
        await world.reads.read("CareTeam", "bre.c1", context, version="9")
    manager = world.registered["bre"].gestionnaire
    world.registered["bre"] = type(world.registered["bre"])(
        type(manager)(
            manager.id,
            manager.name,
            manager.region,
            manager.base_url,
            identity=Identity("https://bre.example"),
        ),
        2,
        "2026-01-01T00:00:00Z",
    )
    assert (await world.read("bre.c1")).seconds == about(2.0), "it decides for itself whom it answers"
    assert world.asked["nor"] == 0


@over("bre", "nor")
async def test_the_home_may_still_be_quicker(world: TailWorld) -> None:
    await pair(world)
    world.takes |= {"bre": 0.2, "nor": 0.5}
    asked = await world.read("bre.c1")
    assert (asked.json["id"], asked.seconds) == ("bre.c1", about(0.2))
    assert world.hedging.counts.outcomes["home"] == 1


@over("bre", "nor")
async def test_a_home_that_is_out_is_read_at_its_replica(world: TailWorld) -> None:
    await pair(world)
    for kind in (FailureKind.UNREACHABLE, FailureKind.ERROR):
        world.fails["bre"] = kind
        assert (await world.read("bre.c1")).json["id"] == "nor.77"
    assert world.guard.state("bre").breaker.value == "open"  # type: ignore[union-attr]
    asked = await world.read("bre.c1")
    assert (asked.json["id"], asked.seconds) == ("nor.77", about(QUICK))
    world.takes["nor"] = HANG
    with pytest.raises(ManagerError) as caught:
        await world.read("bre.c1")
    assert caught.value.kind is FailureKind.BREAKER_OPEN, "the home's own failure is told"


@over("bre", "nor")
async def test_what_the_home_says_is_not_overruled(world: TailWorld) -> None:
    await pair(world)
    world.fails["bre"] = FailureKind.REFUSED
    with pytest.raises(ManagerError):
        await world.read("bre.c1")
    del world.fails["bre"]
    world.stores["bre"].resources.clear()
    with pytest.raises(RequestError) as caught:
        await world.read("bre.c1")
    assert caught.value.key == "request.not-found"
    assert world.asked["nor"] == 0


@over("bre", "nor", "occ")
async def test_only_a_proven_replica_of_this_very_circle_is_shown(world: TailWorld) -> None:
    await pair(world, behind=True)
    world.takes["bre"], world.hedging.budget.left = 1.0, 5.0
    asked = await world.read("bre.c1")
    assert (asked.json["id"], asked.seconds) == ("bre.c1", about(1.0))
    (number,) = await world.outbox.numbers("bre", ["c1"])
    for of, held in (("occ.c1", number.number), ("bre.c9", number.number), ("bre.c1", None)):
        await world.replica("nor", "77", of=of, number=held)
        assert (await world.read("bre.c1")).json["id"] == "bre.c1"
    await world.replica("nor", "77", of="bre.c1", number=number.number)
    world.hedging.budget.left = 2.0
    assert (await world.read("bre.c1")).json["id"] == "nor.77"
    world.outbox.lose()
    assert (await world.read("bre.c1")).json["id"] == "bre.c1", "nothing is known of the circle any more"


@over("bre", "nor")
async def test_no_more_than_one_in_twenty_is_hedged(world: TailWorld) -> None:
    await pair(world)
    world.takes["bre"] = 1.0
    for _ in range(100):
        await world.read("bre.c1")
    assert world.asked["nor"] <= 100 * 0.05 + 2
    assert world.hedging.counts.outcomes["budget"] >= 90


def test_the_budget_is_a_share_and_a_burst() -> None:
    budget = HedgeBudget()
    for _ in range(10_000):
        budget.earn()
    assert [budget.spend() for _ in range(6)] == [True] * 5 + [False]


@over("bre", "nor")
async def test_a_replica_s_manager_with_its_hands_full_is_left_alone(world: TailWorld) -> None:
    await pair(world)
    world.takes |= {"bre": 1.0, "nor": 3.0}
    limit = world.registered["nor"].gestionnaire.max_connections
    context = world.context()
    busy = [
        asyncio.create_task(world.reads.read("CareTeam", "nor.77", context)) for _ in range(limit // 2 + 1)
    ]
    await asyncio.sleep(0.01)
    world.asked.clear()
    assert (await world.read("bre.c1")).json["id"] == "bre.c1"
    assert world.asked["nor"] == 0
    await asyncio.gather(*busy)


@over("bre", "nor")
async def test_a_client_that_leaves_takes_everything_with_it(world: TailWorld) -> None:
    await pair(world)
    world.takes |= {"bre": HANG, "nor": HANG}
    reading = asyncio.create_task(world.read("bre.c1"))
    searching = asyncio.create_task(world.located(ALLOW))
    await asyncio.sleep(0.5)
    assert world.under_way == {"bre": 2, "nor": 2}
    for task in (reading, searching):
        task.cancel()
    await asyncio.gather(reading, searching, return_exceptions=True)
    assert +world.under_way == {}


# --- deadlines by a manager's past


@over("bre", "nor")
async def test_by_default_a_plain_search_is_as_patient_as_its_client(world: TailWorld) -> None:
    await world.home("bre", "c1")
    await world.home("nor", "c2", identifier="2")
    await world.used_to("bre", "nor")
    world.takes["nor"] = 3.0
    asked = await world.search("", "wait=4")
    assert (asked.seconds, len(ids(asked.json))) == (about(3.0), 2)


@over("bre", "nor", hurry=True)
async def test_where_it_is_wanted_a_slow_one_is_given_up_early_and_not_shut_out(world: TailWorld) -> None:
    await world.home("bre", "c1")
    await world.home("nor", "c2", identifier="2")
    await world.used_to("bre", "nor", times=400)
    world.takes["nor"] = 1.5
    asked = await world.search("")
    assert asked.seconds == about(0.3), "the floor"
    assert outcome_codes(asked.json) == [("manager.timeout", "nor")]
    assert (await world.search("", "partial=deny")).seconds == about(1.5)
    seconds = [round((await world.search("")).seconds, 2) for _ in range(6)]
    assert seconds == [0.6, 1.2, 1.5, 1.5, 1.5, 1.5], "each time twice as long, and then it is heard"
    assert world.guard.state("nor").breaker.value == "closed"  # type: ignore[union-attr]


@over("bre", "nor", hurry=True)
async def test_one_that_hangs_is_found_out_although_it_is_always_given_up_early(world: TailWorld) -> None:
    await world.home("bre", "c1")
    await world.used_to("bre", "nor")
    world.takes["nor"] = HANG
    for _ in range(12):
        await world.search("")
        await asyncio.sleep(1.0)
    assert world.guard.state("nor").breaker.value != "closed"  # type: ignore[union-attr]
