"""The present state for a newcomer, over real managers, a real store and a real log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from broker.sync.instants import epoch
from broker.sync.options import SyncOptions
from tests.contract.gestionnaire.people import People
from tests.support.federation import Broker
from tests.support.sync_world import SyncWorld, is_marked, number_of, replication_topic, sync_world, told_of
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import address, key, someone

_STATUS = "/registry/synchronisation"


@pytest.fixture
async def world(valkey: Valkey) -> AsyncIterator[SyncWorld]:
    async with sync_world(valkey) as made:
        await made.start()
        yield made


async def asked(broker: Broker, method: str, path: str) -> tuple[int, Any]:
    async with broker.http.request(method, f"{address(broker)}{path}") as response:
        return response.status, await response.json(content_type=None)


async def bootstraps(world: SyncWorld) -> dict[tuple[str, str], Any]:
    """By subscriber and manager."""
    status, found = await asked(world.broker, "GET", _STATUS)
    assert status == 200, found
    return {(one["id"], one["manager"]): one for one in found["bootstraps"]}


async def done(world: SyncWorld, slug: str, *managers: str, seconds: float = 20.0) -> None:
    async def all_done() -> bool:
        found = await bootstraps(world)
        return all(
            (slug, one) in found and found[slug, one]["state"] == "done" for one in managers or world.managers
            if one != slug
        )  # fmt: skip

    await until(all_done, seconds=seconds)


async def test_a_newcomer_gets_what_is_there_and_then_what_changes(world: SyncWorld) -> None:
    changed = await world.circle("bre", "changed")
    changed = await world.changed(changed, status="suspended")
    there = [await world.circle("bre", f"old{number}") for number in range(3)]
    own = await world.circle("idf", "own")
    await world.at_rest()
    await world.subscribe("idf")
    async with world.agent("idf") as agent:
        for circle in (changed, *there):
            replica = await world.replica("idf", circle["id"], status=circle["status"])
            assert is_marked(replica)
        await done(world, "idf")
        before = number_of(await world.replica("idf", there[0]["id"]))
        await world.changed(there[0], status="inactive")
        replica = await world.replica("idf", there[0]["id"], status="inactive")
        assert number_of(replica) > before
        await world.at_rest("idf")
        assert agent.tally.figures()["dead"] == 0
    found = await bootstraps(world)
    assert found["idf", "bre"]["sent"] >= 4
    assert ("idf", "idf") not in found
    told = await world.records(replication_topic(world, "idf"))
    assert told_of(told, own["id"]) == []


async def test_what_never_went_through_the_broker_is_sent_too(valkey: Valkey) -> None:
    """Circles from before the broker began have no number yet: theirs are below those of their changes to come."""
    async with sync_world(valkey) as world:
        people = People()
        silent = people.circle("silent", "Patient/p1", []) | {"id": "c1"}
        world.boxes["bre"].store.load([someone(people) | {"id": "p1"}, silent])
        await world.start()
        await world.subscribe("idf")
        async with world.agent("idf"):
            replica = await world.replica("idf", "bre.c1")
            before = number_of(replica)
            shown = (await world.send("GET", "CareTeam/bre.c1")).json
            await world.changed(shown, status="inactive")
            replica = await world.replica("idf", "bre.c1", status="inactive")
            assert number_of(replica) > before


async def test_only_what_is_selected_is_sent(world: SyncWorld) -> None:
    chosen, other = await world.circle("bre", "chosen"), await world.circle("bre", "other")
    await world.changed(other, status="inactive")
    patient = world.here("bre", chosen["subject"]["reference"])
    assert patient is not None
    ins = patient.content["identifier"][0]
    third = await world.circle("bre", "third")
    await world.at_rest()
    await world.subscribe("idf", f"CareTeam?status=active&patient.identifier={ins['system']}|{ins['value']}")
    async with world.agent("idf"):
        await world.replica("idf", chosen["id"])
        await done(world, "idf")
    told = await world.records(replication_topic(world, "idf"))
    assert told_of(told, other["id"]) == told_of(told, third["id"]) == []


async def test_a_deletion_after_it_reaches_the_newcomer(world: SyncWorld) -> None:
    """Who was sent a circle is written down, so that its end is told."""
    circle = await world.circle("bre")
    await world.at_rest()
    await world.subscribe("idf")
    await world.subscribe("cor", "CareTeam?status=inactive")  # another subscriber, who is not to be told
    async with world.agent("idf"):
        await world.replica("idf", circle["id"])
        local = circle["id"].partition(".")[2]
        url = f"{world.boxes['bre'].base_url}/CareTeam/{local}"
        async with world.broker.http.delete(url) as response:
            assert response.status in (200, 204)
        await until(lambda: world.is_gone("idf", circle["id"]), seconds=15)
    assert told_of(await world.records(replication_topic(world, "cor")), circle["id"]) == []


async def test_stopped_in_the_middle_it_goes_on_where_it_was(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.wiring_changes.SyncOptions", partial(SyncOptions, page=3))
    overlap = 0.2
    async with sync_world(valkey, locator_overlap=overlap) as world:
        await world.start()
        people = People()
        patients = [
            await world.made(someone(people, family=f"F{n}"), X_Gestionnaire="bre") for n in range(24)
        ]
        circles = [
            await world.made(people.circle(f"c{number}", key(patient), []))
            for number, patient in enumerate(patients)
        ]
        await world.at_rest()
        await world.subscribe("idf")

        async def some() -> bool:
            return 0 < (await bootstraps(world)).get(("idf", "bre"), {"sent": 0})["sent"] < len(circles)

        await until(some, seconds=15)
        await world.stop()
        sent = len(await world.records(replication_topic(world, "idf")))
        assert 0 < sent < len(circles)
        await world.start()
        await done(world, "idf", seconds=30)
        told = await world.records(replication_topic(world, "idf"))
        assert {one.key.decode() for one in told} == {one["id"] for one in circles}
        # What was in hand, and at the end what may have been late to show: on a quick machine that is many.
        made = [epoch(one["meta"]["lastUpdated"]) or 0.0 for one in circles]
        late = sum(max(made) - at <= overlap + 0.01 for at in made)
        assert len(told) <= len(circles) + 2 * 3 + late - 1
        async with world.agent("idf"):
            for circle in circles:
                await world.replica("idf", circle["id"])


async def test_a_manager_that_is_down_is_sent_later_and_the_others_now(world: SyncWorld) -> None:
    near, far = await world.circle("cor", "near"), await world.circle("bre", "far")
    await world.at_rest()
    await world.stop_manager("bre")
    await world.subscribe("idf")
    async with world.agent("idf"):
        await world.replica("idf", near["id"])

        async def told_why() -> bool:
            return (await bootstraps(world))["idf", "bre"]["problem"] in (
                "manager.unreachable",
                "manager.breaker-open",
            )

        await until(told_why, seconds=15)
    assert told_of(await world.records(replication_topic(world, "idf")), far["id"]) == []


async def test_it_is_done_once_more_where_it_is_asked_for(world: SyncWorld) -> None:
    circle = await world.circle("bre")
    await world.at_rest()
    await world.subscribe("idf")
    await done(world, "idf")
    before = len(told_of(await world.records(replication_topic(world, "idf")), circle["id"]))
    status, _ = await asked(world.broker, "POST", f"{_STATUS}/idf/bootstrap")
    assert status == 202

    async def again() -> bool:
        return len(told_of(await world.records(replication_topic(world, "idf")), circle["id"])) > before

    await until(again, seconds=15)
    assert (await asked(world.broker, "POST", f"{_STATUS}/cor/bootstrap"))[0] == 409
    assert (await asked(world.broker, "POST", f"{_STATUS}/nobody/bootstrap"))[0] == 404


async def test_the_figures(world: SyncWorld) -> None:
    await world.circle("bre")
    await world.subscribe("idf")
    await done(world, "idf")
    page = ""

    async def shown() -> bool:
        nonlocal page
        async with world.broker.http.get(f"{address(world.broker)}/metrics") as response:
            page = await response.text()
        return 'cds_bootstraps{state="done"} 2.0' in page

    await until(shown)  # as of the last look
    for line in (
        'cds_subscriptions{status="active"} 1.0',
        "cds_outbox_depth",
        "cds_outbox_oldest_seconds",
        "cds_publish_seconds_bucket",
        "cds_events_published_total",
        "cds_hook_events_waiting",
    ):
        assert line in page, line
    _, found = await asked(world.broker, "GET", _STATUS)
    assert found["engine"] == "redis-streams"
    assert found["subscriptions"] == {"active": 1}
    assert [one["id"] for one in found["subscribers"]] == ["idf"]
    assert found["subscribers"][0]["backlog_events"] >= 1  # no agent runs
