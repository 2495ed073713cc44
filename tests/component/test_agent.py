"""The regional agent: real log (Valkey), real sandbox over HTTP, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from adapters.sandbox.options import SandboxOptions
from broker.sync.agent import AgentOptions
from broker.sync.agent_worker import Outcome
from broker.sync.change_log import Topic
from tests.support.agents import Region, region
from tests.support.replication import Home
from tests.support.valkey import Valkey
from tests.support.waiting import until


@pytest.fixture
async def world(valkey: Valkey) -> AsyncIterator[Region]:
    async with region(valkey) as made:
        yield made


async def test_circles_arrive_with_their_actors_marked_as_replicas(world: Region) -> None:
    await world.publish(*(world.home.created(n) for n in range(12)))
    agent = await world.settle()
    assert world.differences() == []
    assert agent.tally.outcomes[Outcome.APPLIED] == 12
    left = await world.left()
    assert left is not None
    assert left.events == 0


async def test_changes_are_applied_in_order_each_once(world: Region) -> None:
    records = [world.home.created(n) for n in range(5)]
    records += [world.home.changed(n) for _ in range(4) for n in range(5)]
    await world.publish(*records)
    await world.settle()
    assert world.differences() == []
    names = [
        one.content["name"] for one in world.box.store.changes("CareTeam") if "bre-2" in one.raw.decode()
    ]
    assert names == ["Cercle c2", *(f"Cercle 2, état {version}" for version in (2, 3, 4, 5))]


async def test_what_comes_again_changes_nothing(world: Region) -> None:
    records = [world.home.created(n) for n in range(4)] + [world.home.changed(n) for n in range(4)]
    await world.publish(*records)
    await world.settle()
    before = world.versions()
    await world.publish(*records, *reversed(records))
    agent = await world.settle()
    assert world.versions() == before
    assert world.differences() == []
    assert agent.tally.outcomes == {Outcome.NEEDLESS: 16}


async def test_an_older_event_behind_a_newer_one_changes_nothing(world: Region) -> None:
    created, first, last = world.home.created(1), world.home.changed(1), world.home.changed(1)
    await world.publish(last, created, first)
    await world.settle()
    assert world.differences() == []
    assert world.versions() == 1


async def test_the_managers_own_circles_come_to_nothing(world: Region) -> None:
    own = Home("occ", to="occ")
    await world.publish(own.created(1), own.changed(1), own.deleted(1))
    agent = await world.settle()
    assert agent.tally.outcomes == {Outcome.ECHO: 3}
    assert world.versions() == 0


async def test_a_circle_of_the_managers_own_is_a_conflict_and_is_left_alone(world: Region) -> None:
    created = world.home.created(1)
    held = {name: value for name, value in world.home.now[1].items() if name != "meta"} | {"id": "mine"}
    world.box.store.load([held])
    other = world.home.created(2)
    await world.publish(created, other, world.home.changed(1), world.home.changed(2))
    agent = await world.settle()
    assert agent.tally.outcomes == {Outcome.DEAD: 2, Outcome.APPLIED: 2}
    letters = await world.dead()
    assert [(one.reason, one.circle, one.attempts) for one in letters] == [("conflict", "bre.c1", 1)] * 2
    assert "not-a-replica" in letters[0].detail
    mine = world.box.store.current("CareTeam", "mine")
    assert mine is not None
    assert mine.version_id == "1"


async def test_unreadable_events_are_put_away_and_block_nobody(world: Region) -> None:
    good = [world.home.created(n) for n in range(3)]
    torn = replace(good[0], value=b'{"resourceType":"Bundle","type":"hist')
    headless = replace(good[1], headers=())
    await world.publish(torn, headless, *good)
    agent = await world.settle()
    assert world.differences() == []
    assert agent.tally.outcomes == {Outcome.DEAD: 2, Outcome.APPLIED: 3}
    letters = await world.dead()
    assert {one.reason for one in letters} == {"unreadable"}
    assert {one.detail.partition(":")[0] for one in letters} == {"content", "headers"}
    assert len({(one.partition, one.offset) for one in letters}) == 2


async def test_what_the_manager_refuses_is_put_away_and_can_be_replayed(world: Region) -> None:
    record = world.home.created(1)
    assert record.value is not None
    bundle = orjson.loads(record.value)
    name = bundle["entry"][0]["resource"].pop("name")
    await world.publish(replace(record, value=orjson.dumps(bundle)), world.home.created(2))
    await world.settle()
    (letter,) = await world.dead()
    assert (letter.reason, letter.circle, letter.detail) == ("refused", "bre.c1", "CareTeam 422 required")
    assert str(name) not in str(letter)

    # The manager learns to live without names; nothing of the event was lost.
    world.box.store.options = SandboxOptions(check_profiles=False)
    assert await world.letters.replay([letter]) == 1
    assert await world.dead() == []
    await world.settle()
    assert await world.dead() == []
    assert len(world.box.store.live("CareTeam")) == 2


async def test_a_later_event_makes_good_what_an_earlier_one_could_not_do(world: Region) -> None:
    record = world.home.created(1)
    await world.publish(replace(record, value=b"{}"), world.home.changed(1))
    await world.settle()
    assert world.differences() == []
    (letter,) = await world.dead()
    await world.letters.replay([letter])
    await world.settle()
    assert [one.reason for one in await world.dead()] == ["unreadable"]
    assert world.differences() == []


@pytest.mark.parametrize("deletes", [True, False], ids=["deletes", "does-not-delete"])
async def test_a_deleted_circle_goes_and_no_older_event_brings_it_back(valkey: Valkey, deletes: bool) -> None:
    async with region(valkey, SandboxOptions(allow_delete=deletes)) as world:
        records = [world.home.created(1), world.home.changed(1), world.home.created(2)]
        await world.publish(*records)
        await world.settle()
        gone = world.home.deleted(1)
        await world.publish(gone)
        await world.settle()
        assert world.differences() == []
        assert len(world.box.store.live("CareTeam")) == (1 if deletes else 2)
        before = world.versions()
        await world.publish(*records, gone)
        await world.settle()  # another agent, which remembers nothing by itself
        assert world.differences() == []
        assert world.versions() == before


async def test_a_circle_whose_identifier_changed_is_still_one(world: Region) -> None:
    await world.publish(world.home.created(1))
    await world.settle()
    world.home.now[1]["identifier"][0]["value"] = "another"
    await world.publish(world.home.changed(1))
    await world.settle()
    (replica,) = world.box.store.live("CareTeam").values()
    assert replica.content["identifier"][0]["value"] == "another"
    assert replica.number == 2


async def test_the_managers_own_actors_are_used_and_not_touched(world: Region) -> None:
    own = [one for one in world.home.actors(1) if one["resourceType"] in ("Practitioner", "Patient")]
    world.box.store.load([{name: value for name, value in one.items() if name != "meta"} for one in own])
    await world.publish(world.home.created(1), world.home.created(4))
    await world.settle()
    assert world.differences() == []
    assert world.box.store.current("Practitioner", "d1").number == 1  # type: ignore[union-attr]
    (circle,) = (one for one in world.box.store.live("CareTeam").values() if "bre-1" in one.raw.decode())
    assert circle.content["subject"]["reference"] == "Patient/p1"


async def test_copies_of_actors_follow_their_originals(world: Region) -> None:
    await world.publish(world.home.created(1))
    await world.settle()
    actors = world.home.actors

    def moved(number: int) -> list[dict[str, object]]:
        changed = actors(number)
        person = changed[-1]
        person["name"] = [{"family": "NOUVEAU", "given": ["Dominique"]}]
        person["meta"] = {"versionId": "2", "lastUpdated": "2026-02-01T00:00:00Z"}
        return changed

    world.home.actors = moved  # type: ignore[method-assign]
    await world.publish(world.home.changed(1))
    await world.settle()
    assert world.differences() == []
    (person,) = world.box.store.live("Patient").values()
    assert person.content["name"][0]["family"] == "NOUVEAU"
    assert person.number == 2


@pytest.mark.parametrize(
    "options",
    [
        SandboxOptions(ignores_include=True),
        SandboxOptions(no_post_search=True),
        SandboxOptions(uuid_versions=True, no_search_mode=True, no_full_url=True),
        SandboxOptions(ignored_params=frozenset({"_source"})),
    ],
    ids=["no-include", "no-post-search", "odd", "no-source"],
)
async def test_managers_that_can_less(valkey: Valkey, options: SandboxOptions) -> None:
    async with region(valkey, options) as world:
        await world.publish(*(world.home.created(n) for n in range(3)))
        await world.publish(*(world.home.changed(n) for n in range(3)))
        agent = await world.settle()
        if options.no_post_search:
            # A person's identifier is never put in a URL: such a manager is not served in silence.
            assert {one.reason for one in await world.dead()} == {"refused"}
            return
        assert agent.tally.outcomes == {Outcome.APPLIED: 6}
        assert world.differences() == []
        await world.publish(world.home.deleted(1))
        await world.settle()
        assert world.differences() == []


async def test_two_agents_share_the_work(world: Region) -> None:
    async with world.agent() as (one, stop), world.agent() as (other, also):
        working = [asyncio.create_task(one.run(stop)), asyncio.create_task(other.run(also))]
        await world.publish(*(world.home.created(n) for n in range(30)))
        await world.publish(*(world.home.changed(n) for n in range(30)))
        await until(lambda: world.differences() == [], seconds=20)
        stop.set()
        await world.publish(*(world.home.changed(n) for n in range(30)))
        await until(lambda: world.differences() == [], seconds=20)
        also.set()
        await asyncio.gather(*working)
    assert await world.dead() == []


async def test_stopping_finishes_what_is_in_hand_and_commits_it(world: Region) -> None:
    await world.publish(*(world.home.created(n) for n in range(10)))
    async with world.agent() as (agent, stop):
        working = asyncio.create_task(agent.run(stop))
        await until(lambda: world.versions() >= 3)
        stop.set()
        async with asyncio.timeout(5):
            await working
    left = await world.left()
    assert left is not None
    # What was applied is committed but for what follows a gap in its partition.
    assert left.events <= 10 - world.versions() + 3
    await world.settle()
    assert world.differences() == []


async def test_a_topic_that_comes_later_is_waited_for(valkey: Valkey) -> None:
    async with region(valkey) as world:
        topic = "cds.replication.occ"
        await world.log.drop_topic(topic)
        async with world.agent(AgentOptions(report=1)) as (agent, stop):
            working = asyncio.create_task(agent.run(stop))
            await asyncio.sleep(0)
            await world.log.ensure_topic(Topic(topic, partitions=3))
            await world.publish(world.home.created(1))
            await until(lambda: world.differences() == [] and bool(world.home.now), seconds=10)
            stop.set()
            await working


async def test_an_event_that_names_an_own_actor_by_copy_uses_the_own_one(world: Region) -> None:
    """The home has a copy of this region's practitioner: nothing comes back as a copy of a copy."""
    own = world.home.actors(1)[1]
    world.box.store.load([{name: value for name, value in own.items() if name != "meta"} | {"id": "mine"}])
    await world.publish(world.home.created(1))
    await world.settle()
    assert list(world.box.store.live("Practitioner")) == ["mine"]
    (role,) = world.box.store.live("PractitionerRole").values()
    assert role.content["practitioner"]["reference"] == "Practitioner/mine"


async def test_lag_counts_what_is_not_settled(world: Region) -> None:
    left = await world.left()
    assert left is not None
    assert left.events == 0
    await world.publish(*(world.home.created(n) for n in range(7)))
    left = await world.left()
    assert left is not None
    assert left.events == 7
    await world.settle()
    left = await world.left()
    assert left is not None
    assert left.events == 0
