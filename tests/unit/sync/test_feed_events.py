"""What feeds make events of: every change after a manager is followed, once, and nothing from before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import fhir_instant
from broker.core.change_event import Operation
from broker.core.entry import Change, Entry
from broker.sync.feed_events import FeedEvents, change_of
from broker.sync.keeper import LocatorKeeper
from broker.sync.service import LocatorService
from registry.outbox_model import Waiting
from tests.support.fake_outbox import FakeOutbox
from tests.support.fhir_builders import care_team, patient
from tests.support.locator_world import Region, World

BY_SEARCH = Region("bre", {"history_type": False}, SandboxOptions(no_type_history=True))
REPLICA = {"system": "urn:cds-broker:copy", "code": "replica"}


class Followed:
    """A world whose feeds are heard."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.outbox = FakeOutbox(world.clock)
        events = FeedEvents(self.outbox)
        made = world.keeper

        def keeper(*args: Any) -> LocatorKeeper:
            keeper = made(*args)
            keeper._listener = events.seen
            return keeper

        monkeypatch.setattr(world, "keeper", keeper)

    def put(self, resource: dict[str, Any]) -> None:
        self.world.store("bre").put(resource["resourceType"], resource["id"], orjson.dumps(resource))

    async def waiting(self) -> Sequence[Waiting]:
        token = await self.outbox.lead("test", seconds=60)
        assert token is not None
        return await self.outbox.peek(token, after=None, limit=1000) or ()

    async def told(self) -> list[tuple[str, str | None, str]]:
        return [
            (one.change.circle_id, one.change.version, one.change.operation.value)
            for one in await self.waiting()
        ]


@pytest.fixture(params=[Region("bre", ahead=-7200.0), BY_SEARCH], ids=["history", "search"])
async def followed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Followed:
    """`bre` with circles from before, its clock two hours behind."""
    made = Followed(await World.of(request.param), monkeypatch)
    made.put(patient("p1", ins="one"))
    for number in range(120):
        made.put(care_team(f"c{number}"))
    return made


async def test_the_first_crawl_makes_no_events(followed: Followed) -> None:
    for _ in range(3):  # a node that takes over reads some of it again
        async with followed.world.fed():
            await followed.world.caught_up()
    assert await followed.told() == []


async def test_every_change_after_it_makes_one(followed: Followed) -> None:
    async with followed.world.fed():
        await followed.world.caught_up()
        followed.put(care_team("new"))
        followed.put(care_team("c7"))
        await followed.world.caught_up()
        await followed.world.caught_up()
        followed.put(care_team("c7"))
        await followed.world.caught_up()
    async with followed.world.fed():
        await followed.world.caught_up()
    assert sorted(await followed.told()) == [
        ("c7", "2", "updated"),
        ("c7", "3", "updated"),
        ("new", "1", "created"),
    ]
    numbers = [one.sequence for one in await followed.waiting() if one.change.circle_id == "c7"]
    assert numbers[1] == numbers[0] + 1


async def test_changes_made_while_nobody_followed(followed: Followed) -> None:
    async with followed.world.fed():
        await followed.world.caught_up()
    for number in range(70):
        followed.put(care_team(f"c{number}"))
    await followed.world.clock.advance(100)
    async with followed.world.fed():
        await followed.world.caught_up()
    assert len(await followed.told()) == 70


async def test_changes_before_a_new_crawl_are_not_lost(followed: Followed) -> None:
    async with followed.world.fed():
        await followed.world.caught_up()
    followed.put(care_team("c3"))
    service: LocatorService = followed.world.service()
    coverage = await followed.world.coverage("bre")
    async with followed.world.fed():
        wish = asyncio.create_task(service.crawl("bre"))
        await followed.world.clock.advance(6)
        await wish
        await followed.world.caught_up()
    assert (await followed.world.coverage("bre")).started != coverage.started
    assert await followed.told() == [("c3", "2", "updated")]


async def test_replicas_and_patients_make_none(followed: Followed) -> None:
    async with followed.world.fed():
        await followed.world.caught_up()
        followed.put(care_team("copy", meta={"tag": [REPLICA], "source": "https://broker.example/fhir/x"}))
        followed.put(patient("p1", ins="two"))
        followed.put(patient("p2", ins="three"))
        await followed.world.caught_up()
    assert await followed.told() == []


async def test_what_was_written_through_the_broker_is_told_once(followed: Followed) -> None:
    async with followed.world.fed():
        await followed.world.caught_up()
        followed.put(care_team("c5"))
        version = followed.world.store("bre").live("CareTeam")["c5"]
        at = fhir_instant(version.instant)
        entry = Entry("match", "CareTeam", "c5", "bre.c5", version.version_id, at, None, (), b"{}")
        await followed.outbox.enqueue(change_of("bre", entry))
        await followed.world.caught_up()
    assert await followed.told() == [("c5", "2", "updated")]


async def test_an_outbox_that_is_out_is_told_later(followed: Followed) -> None:
    async with followed.world.fed():
        await followed.world.caught_up()
        followed.outbox.down = True
        followed.put(care_team("c5"))
        await followed.world.clock.advance(30)
        followed.outbox.down = False
        await followed.world.caught_up()
    assert await followed.told() == [("c5", "2", "updated")]


async def test_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(await World.of(Region("bre")), monkeypatch)
    followed.put(patient("p1", ins="one"))
    followed.put(care_team("c1"))
    async with followed.world.fed():
        await followed.world.caught_up()
        followed.world.store("bre").delete("CareTeam", "c1")
        await followed.world.caught_up()
        await followed.world.caught_up()
        followed.put(care_team("c1"))
        await followed.world.caught_up()
    told = await followed.told()
    assert [(one, operation) for one, _, operation in told] == [("c1", "deleted"), ("c1", "updated")]


@pytest.mark.parametrize(
    ("version", "method", "raw", "operation"),
    [
        ("1", None, b"{}", Operation.CREATED),
        ("4", None, b"{}", Operation.UPDATED),
        ("a1", "POST", b"{}", Operation.CREATED),
        ("a2", "PUT", b"{}", Operation.UPDATED),
        (None, "DELETE", b"", Operation.DELETED),
    ],
)
def test_what_happened(version: str | None, method: str | None, raw: bytes, operation: Operation) -> None:
    interaction = None if method is None else Change(method)
    entry = Entry("match", "CareTeam", "1", "bre.1", version, "2026", None, (), raw, interaction)
    change = change_of("bre", entry)
    assert (change.operation, change.version, change.at) == (operation, version, "2026")
