"""Conflicts from the index to the log: a real store and a real log on Valkey, the index and the clock by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from adapters.clock import SystemClock
from adapters.redis_streams_log import LogKeys, RedisStreamsLog
from broker.core import topics
from broker.errors import StoreError
from broker.observability.metrics_conflicts import ConflictFigures
from broker.sync.change_log import ChangeLog, Outgoing, Position, Record, Topic
from broker.sync.conflict_service import ConflictService, ConflictState
from broker.sync.conflict_teller import ConflictTeller
from broker.sync.conflict_watch import ConflictOptions, ConflictWatch
from registry.conflict_store import RedisConflictStore
from registry.locator_model import Coverage, CoverageState, Sighting
from registry.model import Gestionnaire, Registered
from registry.redis_connection import connect
from tests.support.fake_locator import FakeLocator
from tests.support.fake_stores import ManualClock
from tests.support.fhir_builders import INS, INS_TEST
from tests.support.mirror_world import HeldManagers
from tests.support.valkey import Valkey
from tests.support.waiting import until

PUBLIC = "https://broker.example/fhir"
PERSON = (INS_TEST, INS[0])
TOPIC = topics.conflicts()


class KilledError(BaseException):
    """The process is no more: nothing behind it runs."""


class FragileLog:
    """A log that is out, or whose publisher is killed behind the publishing."""

    def __init__(self, log: ChangeLog) -> None:
        self._log = log
        self.down = self.kill = False
        self.published: list[Outgoing] = []

    async def ensure_topic(self, topic: Topic) -> None:
        if self.down:
            raise StoreError("federation.log")
        await self._log.ensure_topic(topic)

    async def publish_many(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        if self.down:
            raise StoreError("federation.log")
        done = await self._log.publish_many(records)
        self.published += records
        if self.kill:
            raise KilledError
        return done


@dataclass
class World:
    store: RedisConflictStore
    log: RedisStreamsLog
    clock: ManualClock = field(default_factory=ManualClock)
    managers: HeldManagers = field(default_factory=HeldManagers)
    aliases: dict[str, str] = field(default_factory=dict)
    at: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.locator = FakeLocator(self.clock)
        self.fragile = FragileLog(self.log)
        self.join("bre", "occ", "idf")

    def join(self, *slugs: str) -> None:
        for slug in slugs:
            manager = Gestionnaire(slug, f"Gestionnaire {slug}", "53", f"https://{slug}.example/fhir")
            self.managers.held[slug] = Registered(manager, 1, "2026-01-01T00:00:00Z")
        self.locator.cover(*slugs)

    def watch(self, node: str = "one", *, told: bool = True) -> ConflictWatch:
        teller = ConflictTeller(self.fragile, PUBLIC) if told else None  # type: ignore[arg-type]  # no more is asked of it
        return ConflictWatch(
            node,
            self.locator,
            self.store,
            self.managers,
            teller,
            self.remember,
            self.clock,
            ConflictOptions(),
        )

    async def remember(self, aliases: Mapping[str, str]) -> None:
        self.aliases.update(aliases)

    async def home(self, manager: str, circle: str) -> None:
        """The person has a circle there."""
        self.at += 1
        own = (("urn:circles", f"{manager}-{circle}"),)
        await self.locator.learn([Sighting(manager, circle, "1", self.at, own, (PERSON,))])

    async def gone(self, manager: str, circle: str) -> None:
        self.at += 1
        await self.locator.forget(manager, circle, at=self.at)

    @property
    def events(self) -> list[Outgoing]:
        """That got into the log, in order. The log itself compacts them."""
        return self.fragile.published

    def told(self) -> list[str]:
        """Type of each event, in order; every one once, by its id."""
        found = {dict(one.headers)["ce_id"]: dict(one.headers)["ce_type"].decode() for one in self.events}
        return [one.rpartition(".")[2] for one in found.values()]

    async def left(self) -> list[Record]:
        """What the log holds."""
        return [record async for batch in self.log.read(TOPIC) for record in batch.records]

    async def listed(self, state: ConflictState = ConflictState.OPEN) -> list[list[str]]:
        page = await ConflictService(self.store, self.managers).list(state, limit=100)
        return [[circle.reference for circle in one.circles] for one in page.conflicts]


@pytest.fixture
async def world(valkey: Valkey) -> AsyncIterator[World]:
    client = connect(valkey.url)
    log = RedisStreamsLog(client, SystemClock(), keys=LogKeys(valkey.keys.prefix))
    yield World(RedisConflictStore(client, keys=valkey.keys), log)
    await client.aclose()


async def test_it_is_listed_and_told_once_and_once_more_when_it_is_over(world: World) -> None:
    watch = world.watch()
    await world.home("bre", "1")
    await watch.look()
    assert await world.listed() == []
    await world.home("occ", "2")
    for _ in range(3):
        await watch.look()
    assert await world.listed() == [["CareTeam/bre.1", "CareTeam/occ.2"]]
    (event,) = world.events
    assert dict(event.headers)["ce_type"] == b"fr.cds-broker.conflict.detected"
    assert b"CareTeam/bre.1" in (event.value or b"")
    await world.gone("occ", "2")
    for _ in range(3):
        await watch.look()
    assert await world.listed() == []
    assert await world.listed(ConflictState.RESOLVED) == [["CareTeam/bre.1", "CareTeam/occ.2"]]
    _, over = world.events
    assert (over.key, over.value) == (event.key, None)
    assert dict(over.headers)["ce_type"] == b"fr.cds-broker.conflict.resolved"
    assert int(dict(over.headers)["ce_sequence"]) > int(dict(event.headers)["ce_sequence"])
    (kept,) = await world.left()
    assert (kept.key, kept.value) == (over.key, None)
    whole = b"".join([event.key, over.key, *(value for one in (event, over) for _, value in one.headers)])
    assert INS[0].encode() not in whole + (event.value or b"")


async def test_of_many_nodes_one_tells(world: World) -> None:
    nodes = [world.watch(f"node-{number}") for number in range(5)]
    await world.home("bre", "1")
    await world.home("occ", "2")
    for _ in range(2):
        await asyncio.gather(*(one.look() for one in nodes))
    assert len(world.events) == 1
    for one in nodes:
        assert one.known is not None
        assert [conflict.is_told for conflict in one.known.conflicts] == [True]


async def test_killed_behind_the_publishing_it_is_told_again_under_its_id(world: World) -> None:
    await world.home("bre", "1")
    await world.home("occ", "2")
    world.fragile.kill = True
    with pytest.raises(KilledError):
        await world.watch("one").look()
    world.fragile.kill = False
    await world.store.lead("one", seconds=0)  # as the end of its lease does
    heir = world.watch("two")
    for _ in range(3):
        await heir.look()
    first, second = world.events
    assert first == second


async def test_killed_behind_the_look_it_is_told_by_the_next(world: World) -> None:
    await world.home("bre", "1")
    await world.home("occ", "2")
    await world.watch("one", told=False).look()
    assert await world.listed() == [["CareTeam/bre.1", "CareTeam/occ.2"]]
    assert world.events == []
    await world.store.lead("one", seconds=0)
    await world.watch("two").look()
    assert world.told() == ["detected"]


async def test_who_was_replaced_keeps_nothing(world: World) -> None:
    one, two = world.watch("one"), world.watch("two")
    await one.look()
    await world.store.lead("one", seconds=0)
    await two.look()
    await world.home("bre", "1")
    await world.home("occ", "2")
    await one.look()
    assert await world.listed() == []
    await two.look()
    assert world.told() == ["detected"]


async def test_while_the_log_is_out_they_are_listed_and_wait(world: World) -> None:
    watch = world.watch()
    world.fragile.down = True
    await world.home("bre", "1")
    await world.home("occ", "2")
    for _ in range(2):
        await watch.look()
    assert watch.known is not None
    assert [one.is_told for one in watch.known.conflicts] == [False]
    assert len(await world.listed()) == 1
    world.fragile.down = False
    await watch.look()
    assert world.told() == ["detected"]
    await world.log.drop_topic(TOPIC)
    await world.home("idf", "3")
    for _ in range(2):
        await watch.look()
    assert world.told() == ["detected", "detected"]
    assert len(await world.left()) == 1, "of all three, on a topic that is there again"
    assert await world.listed() == [["CareTeam/bre.1", "CareTeam/idf.3", "CareTeam/occ.2"]]


async def test_while_a_manager_is_crawled_anew_nothing_is_over(world: World) -> None:
    watch = world.watch()
    await world.home("bre", "1")
    await world.home("occ", "2")
    await watch.look()
    await world.locator.clear("occ")
    await watch.look()
    assert world.told() == ["detected"]
    await world.locator.save_coverage("occ", Coverage(CoverageState.CRAWLING, generation=1, fence=9))
    await watch.look()
    assert len(await world.listed()) == 1
    await world.home("occ", "2")
    world.locator.cover("occ")
    await watch.look()
    assert world.told() == ["detected"]


async def test_a_manager_that_left_has_no_conflict(world: World) -> None:
    watch = world.watch()
    await world.home("bre", "1")
    await world.home("occ", "2")
    await watch.look()
    del world.managers.held["occ"]
    await world.locator.clear("occ")
    await watch.look()
    assert world.told() == ["detected", "resolved"]
    page = await ConflictService(world.store, world.managers).list(ConflictState.RESOLVED, limit=1)
    assert [one.name for one in page.conflicts[0].circles] == ["Gestionnaire bre", None]


async def test_what_is_resolved_is_shown_for_a_week(world: World) -> None:
    watch = world.watch()
    await world.home("bre", "1")
    await world.home("occ", "2")
    await watch.look()
    await world.gone("occ", "2")
    await watch.look()
    world.clock.advance(watch.options.keep - 1)
    await watch.look()
    assert len(await world.listed(ConflictState.RESOLVED)) == 1
    world.clock.advance(2)
    await watch.look()
    assert await world.listed(ConflictState.RESOLVED) == []


async def test_the_figures(world: World) -> None:
    watch = world.watch()
    figures = ConflictFigures(watch, world.clock)
    assert list(figures.collect()) == []
    world.fragile.down = True
    await world.home("bre", "1")
    await world.home("occ", "2")
    await watch.look()
    world.clock.advance(90)
    shown = {one.name: one.samples[0].value for one in figures.collect()}
    assert shown == {
        "cds_conflicts": 1,
        "cds_conflict_oldest_seconds": 90,
        "cds_conflicts_unpublished": 1,
        "cds_conflicts_age_seconds": 90,
    }
    world.locator.down = True
    await watch.look()
    assert list(figures.collect()) == []


async def test_a_long_id_is_found_by_its_alias(world: World) -> None:
    await world.home("bre", "1")
    await world.home("occ", "x" * 62)
    await world.watch().look()
    ((_, alias),) = await world.listed()
    assert world.aliases == {alias.removeprefix("CareTeam/"): "x" * 62}


async def test_it_looks_until_it_is_cancelled_and_then_makes_room(world: World) -> None:
    watch = world.watch()
    task = asyncio.create_task(watch.run())
    await until(lambda: world.clock.waiting == 1)
    await world.home("bre", "1")
    await world.home("occ", "2")
    world.clock.advance(watch.options.every)
    await until(lambda: watch.known is not None and len(watch.known.conflicts) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await world.store.lead("two", seconds=1) is not None


async def test_pages(world: World) -> None:
    service = ConflictService(world.store, world.managers)
    for number in range(5):
        who = (INS_TEST, str(number))
        both = [
            Sighting(slug, f"c{number}", "1", 1.0, (("urn:circles", f"{slug}{number}"),), (who,))
            for slug in ("bre", "occ")
        ]
        await world.locator.learn(both)
    await world.watch().look()
    after, found = None, []
    while True:
        page = await service.list(ConflictState.OPEN, limit=2, after=after)
        found += [one.id for one in page.conflicts]
        assert (page.total, page.as_of) == (5, "2026-01-01T00:00:00.000Z")
        after = page.next
        if after is None:
            break
    assert len(set(found)) == len(found) == 5
