"""Synchronisation as a whole: real managers, broker and agents, over both engines of the change log."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from broker.core import topics
from tests.contract.gestionnaire.people import People
from tests.support.federation import ids, outcome_codes
from tests.support.kafka_server import KafkaServer
from tests.support.sync_world import (
    SyncWorld,
    content_of,
    dumped,
    is_marked,
    number_of,
    replication_topic,
    subscription,
    sync_world,
    tags_of,
    told_of,
)
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import PUBLIC, key, someone


@pytest.fixture(params=["redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def engine(request: pytest.FixtureRequest) -> str | None:
    """`host:port` of a real Kafka; None: Redis Streams."""
    if request.param == "redis":
        return None
    server: Any = request.getfixturevalue("kafka_server")
    return str(server.bootstrap)


@pytest.fixture
async def world(valkey: Valkey, engine: str | None) -> AsyncIterator[SyncWorld]:
    async with sync_world(valkey, kafka=engine) as made:
        await made.start()
        yield made


async def at_the_manager(world: SyncWorld, slug: str, method: str, target: str, body: Any) -> Any:
    """A write that the broker does not see."""
    url = f"{world.boxes[slug].base_url}/{target}"
    headers = {"Content-Type": "application/fhir+json"}
    async with world.broker.http.request(method, url, data=orjson.dumps(body), headers=headers) as response:
        assert response.status in (200, 201), await response.text()
        return await response.json(content_type=None)


async def test_a_circle_made_and_changed_through_the_broker_is_replicated(world: SyncWorld) -> None:
    await world.subscribe("idf")
    async with world.agent("idf") as agent:
        circle = await world.circle("bre")
        replica = await world.replica("idf", circle["id"])
        assert is_marked(replica)
        assert replica["meta"]["source"] == f"{PUBLIC}/CareTeam/{circle['id']}"
        assert replica["name"] == circle["name"]
        assert replica["identifier"] == circle["identifier"]
        # Everybody in it is there, marked, and known by the same business identifier.
        patient = world.actor("idf", replica["subject"])
        home = world.here("bre", circle["subject"]["reference"])
        assert home is not None
        assert patient["identifier"] == home.content["identifier"]
        assert is_marked(patient)
        role = world.actor("idf", replica["participant"][0]["member"])
        for name, kind in (("practitioner", "Practitioner"), ("organization", "Organization")):
            held = world.actor("idf", role[name])
            assert held["resourceType"] == kind
            assert is_marked(held)
        before = number_of(replica)

        await world.changed(circle, status="suspended")
        replica = await world.replica("idf", circle["id"], status="suspended")
        assert number_of(replica) == before + 1
        await world.at_rest("idf")
        assert agent.tally.figures()["dead"] == 0
    assert world.replicas("cor", circle["id"]) == []  # nobody subscribed for it


async def test_a_change_made_at_the_manager_itself_is_replicated(world: SyncWorld) -> None:
    await world.subscribe("idf")
    people = People()
    async with world.agent("idf"):
        patient = await at_the_manager(world, "bre", "POST", "Patient", someone(people))
        circle = await at_the_manager(
            world, "bre", "POST", "CareTeam", people.circle("direct", key(patient), [])
        )
        replica = await world.replica("idf", f"bre.{circle['id']}")
        assert is_marked(replica)
        await at_the_manager(world, "bre", "PUT", key(circle), circle | {"status": "inactive"})
        await world.replica("idf", f"bre.{circle['id']}", status="inactive")


async def test_a_deletion_at_the_home_removes_the_replica(world: SyncWorld) -> None:
    await world.subscribe("idf")
    async with world.agent("idf"):
        circle = await world.circle("bre")
        await world.replica("idf", circle["id"])
        local = circle["id"].partition(".")[2]
        async with world.broker.http.delete(f"{world.boxes['bre'].base_url}/CareTeam/{local}") as response:
            assert response.status in (200, 204)

        await until(lambda: world.is_gone("idf", circle["id"]), seconds=15)
        await world.at_rest("idf")
    notified = told_of(await world.records(topics.notifications(world.prefix)), circle["id"])
    assert notified[-1].value is None


async def test_what_a_subscription_does_not_select_is_not_sent(world: SyncWorld) -> None:
    people = People()
    chosen = someone(people)
    ins = chosen["identifier"][0]
    await world.subscribe("idf", f"CareTeam?patient.identifier={ins['system']}|{ins['value']}")
    async with world.agent("idf"):
        other = await world.circle("bre", "other")
        patient = await world.made(chosen, X_Gestionnaire="bre")
        circle = await world.made(people.circle("chosen", key(patient), []))
        await world.replica("idf", circle["id"])
        await world.at_rest("idf")
    assert world.replicas("idf", other["id"]) == []
    assert told_of(await world.records(replication_topic(world, "idf")), other["id"]) == []


async def test_a_circle_that_matches_no_longer_leaves_the_subscriber(world: SyncWorld) -> None:
    await world.subscribe("idf", "CareTeam?status=active")
    async with world.agent("idf") as agent:
        circle = await world.circle("bre")
        await world.replica("idf", circle["id"])
        inactive = await world.changed(circle, status="inactive")
        await until(lambda: world.is_gone("idf", circle["id"]), seconds=15)
        # It may come back.
        await world.changed(inactive, status="active")
        await world.replica("idf", circle["id"], status="active")
        await world.at_rest("idf")
        assert agent.tally.figures()["dead"] == 0
    told = told_of(await world.records(replication_topic(world, "idf")), circle["id"])
    left = [one for one in told if dict(one.headers).get("ce_reason") == b"not-selected"]
    assert len(left) == 1
    assert "resource" not in content_of(left[0])["entry"][0]  # it is told of by its id only


async def test_two_regions_that_subscribe_to_each_other_come_to_rest(world: SyncWorld) -> None:
    for slug in ("bre", "idf"):
        await world.subscribe(slug)
    async with world.agent("bre") as west, world.agent("idf") as east:
        circles = [
            await world.circle(slug, f"loop{number}") for number in range(3) for slug in ("bre", "idf")
        ]
        for circle in circles:
            await world.changed(circle, name=f"{circle['name']} (revu)")
        for circle in circles:
            home = circle["id"].partition(".")[0]
            other = {"bre": "idf", "idf": "bre"}[home]
            await world.replica(other, circle["id"], name=f"{circle['name']} (revu)")
        rest = await world.settled("bre", "idf", quiet=1.5)
        # Each circle: made and changed at home, made and perhaps changed at the other. No write is an echo.
        homes = {"bre": 6, "idf": 6}
        for slug in ("bre", "idf"):
            replicated = rest[slug] - homes[slug]
            assert 3 <= replicated <= 6
            assert world.replicas(slug, circles[0]["id"]) == [] or circles[0]["id"].partition(".")[0] != slug
        for agent in (west, east):
            assert agent.tally.figures()["dead"] == 0
    for slug in ("bre", "idf"):
        records = await world.records(replication_topic(world, slug))
        assert {one.key.decode().partition(".")[0] for one in records} == {"bre", "idf"} - {slug}


async def test_a_home_that_is_down_is_answered_for_by_the_replica(world: SyncWorld) -> None:
    await world.subscribe("idf")
    async with world.agent("idf"):
        circle = await world.circle("bre")
        await world.replica("idf", circle["id"])
        await world.at_rest("idf")
    assert ids(await world.found(circle)) == [circle["id"]]
    await world.stop_manager("bre")

    async def by_replica() -> bool:
        found = ids(await world.found(circle))
        return bool(found) and found[0].startswith("idf.")

    await until(by_replica, seconds=15)
    bundle = await world.found(circle)
    assert ("merge.replica-shown", None) in outcome_codes(bundle)
    (shown_circle,) = [one["resource"] for one in bundle["entry"] if one["search"]["mode"] == "match"]
    assert is_marked(shown_circle)
    assert shown_circle["name"] == circle["name"]


async def test_nothing_of_a_person_is_in_keys_headers_or_notifications(world: SyncWorld) -> None:
    await world.subscribe("idf")
    async with world.agent("idf"):
        for number in range(4):
            circle = await world.circle("bre", f"c{number}")
            await world.changed(circle, status="suspended")
            await world.replica("idf", circle["id"], status="suspended")
    notifications = await world.records(topics.notifications(world.prefix))
    everywhere = [
        record for topic in await world.log.topics() if topic.startswith(world.prefix)
        for record in await world.records(topic)
    ]  # fmt: skip
    dump = dumped(everywhere) + b"\n" + b"\n".join(one.value or b"" for one in notifications)
    assert len(notifications) >= 4
    assert len(everywhere) > len(notifications)
    assert len(world.personal) >= 12
    for value in world.personal:
        assert value.encode() not in dump
        assert value.encode().hex().encode() not in dump.lower()
        for shift in range(3):  # however it lies among the bytes around it
            encoded = base64.b64encode(b"\0" * shift + value.encode())
            assert encoded[4 : len(encoded) - 4] not in dump
    full = b"".join(one.value or b"" for one in await world.records(replication_topic(world, "idf")))
    assert all(value.encode() in full for value in world.personal)  # or there would be nothing to find
    for one in notifications:
        assert all("resource" not in entry for entry in content_of(one)["entry"])


async def test_an_agent_and_a_broker_that_are_restarted_lose_nothing(world: SyncWorld) -> None:
    await world.subscribe("idf")
    async with world.agent("idf"):
        first = await world.circle("bre", "first")
        await world.replica("idf", first["id"])
    # No agent: the topic keeps what happens.
    second = await world.circle("bre", "second")
    await world.changed(first, status="suspended")
    await world.at_rest()
    async with world.agent("idf") as agent:
        await world.replica("idf", first["id"], status="suspended")
        await world.replica("idf", second["id"])
        await world.at_rest("idf")
        assert agent.tally.figures()["dead"] == 0
        # No broker: the manager goes on, and the next broker tells of it.
        await world.stop()
        held = world.boxes["bre"].store.current("CareTeam", second["id"].partition(".")[2])
        assert held is not None
        changed = dict(held.content) | {"status": "inactive"}
        await world.start()
        await at_the_manager(world, "bre", "PUT", f"CareTeam/{changed['id']}", changed)
        await world.replica("idf", second["id"], status="inactive")
    assert {code for system, code in tags_of(world.replicas("idf", first["id"])[0])} >= {"replica"}


@pytest.mark.kafka
async def test_a_broker_that_starts_without_kafka_serves_and_tells_later(
    valkey: Valkey, kafka_server: KafkaServer
) -> None:
    if kafka_server.existing is not None:
        pytest.skip("CDS_TEST_KAFKA is not to be stopped")
    async with sync_world(valkey, kafka=kafka_server.bootstrap) as world:
        kafka_server.kill()
        try:
            await world.start()
            circle = await world.circle("bre")  # 201 all the same
            asked = await world.send("POST", "Subscription", subscription("idf"))
            assert (asked.status, asked.json["status"]) == (201, "requested")
            assert await world.waiting() >= 1
        finally:
            kafka_server.restart()
        async with world.agent("idf"):
            await world.replica("idf", circle["id"], seconds=40)
            await world.at_rest("idf", seconds=40)
