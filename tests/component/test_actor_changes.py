"""A circle told again because somebody in it changed: a new number, no version, and what it makes of replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.core.change_event import Operation, encode_headers
from broker.core.event_content import full_content
from broker.core.topics import replication
from broker.sync.change_log import Outgoing
from tests.support import change_events as events
from tests.support.agents import region
from tests.support.publishing import NOTIFICATIONS, TO_OCC, Press, change
from tests.support.replication import Home
from tests.support.sync_world import number_of, replication_topic, sync_world
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import key

Json = dict[str, Any]
AGAIN = change(12, None)


async def test_it_is_told_as_often_as_it_is_said_each_time_under_its_own_id() -> None:
    press = Press()
    first = await press.outbox.enqueue(change(12, "3", at="2026-01-01T00:00:00Z"))
    assert first is not None
    assert [await press.outbox.enqueue(AGAIN), await press.outbox.enqueue(AGAIN)] == [first + 1, first + 2]
    assert await press.outbox.enqueue(change(12, "3", at="2026-01-01T00:00:00Z")) is None, (
        "a feed shows it again"
    )
    async with press.running():
        await press.empty()
    ids = [f"bre/CareTeam/12/{version}" for version in ("3", f"@{first + 1}", f"@{first + 2}")]
    for topic in (NOTIFICATIONS, TO_OCC):
        assert press.log.told(topic) == list(zip(ids, range(first, first + 3), strict=True))
    assert all(event.circle is not None for event in press.log.events(TO_OCC))


@dataclass
class Renamed(Home):
    """A home whose persons have another name as of `month`."""

    month: int = 1

    def actors(self, number: int) -> list[Json]:
        found = super().actors(number)
        for one in found:
            if one["resourceType"] == "Patient":
                one["meta"] = {
                    "versionId": str(self.month),
                    "lastUpdated": f"2026-{self.month:02}-01T00:00:00Z",
                }
                one["name"] = [{"family": f"MOIS {self.month}"}]
        return found

    def again(self, number: int, month: int) -> Outgoing:
        """The circle as it is, with its person as of then."""
        self.month = month
        self.sequence[number] += 1
        circle = self.now[number]
        told = events.change(
            str(circle["id"]),
            sequence=self.sequence[number],
            version=None,
            last_updated=None,
            operation=Operation.UPDATED,
            slug=self.slug,
        )
        around = [events.entry(one, self.slug) for one in self.actors(number)]
        content = full_content(told, events.entry(circle, self.slug), around, events.PUBLIC)
        headers = encode_headers(told, events.PUBLIC)
        return Outgoing(replication(self.to, self.prefix), told.key, content, headers)


async def test_an_agent_takes_the_actor_over(valkey: Valkey) -> None:
    async with region(valkey) as world:
        home = Renamed()
        created, second, third = home.created(1), home.again(1, 2), home.again(1, 3)
        await world.publish(created, third)
        await world.settle()
        await world.publish(second, created, third)
        await world.settle()
        (person,) = world.box.store.live("Patient").values()
        assert person.content["name"] == [{"family": "MOIS 3"}]
        assert home.differences(world.box.store) == []
        assert world.versions() == 2, "created, and marked with the number that it is the state of"


async def test_a_person_changed_at_home_is_changed_in_the_replicas(valkey: Valkey) -> None:
    async with sync_world(valkey, regions=2) as world:
        await world.start()
        home, other = world.boxes
        await world.subscribe(other)
        async with world.agent(other):
            circle = await world.circle(home)
            replica = await world.replica(other, circle["id"])
            number = number_of(replica)
            person = (await world.send("GET", circle["subject"]["reference"])).json
            answered = await world.send("PUT", key(person), person | {"gender": "unknown"})
            assert answered.status == 200, answered.body

            def taken_over() -> bool:
                (held,) = world.replicas(other, circle["id"])
                return world.actor(other, held["subject"])["gender"] == "unknown"

            await until(taken_over, seconds=15)
            await world.at_rest(other)  # the circle's own mark comes last
            (held,) = world.replicas(other, circle["id"])
            assert number_of(held) == number + 1
        told = [
            dict(one.headers)["ce_id"].decode()
            for one in await world.records(replication_topic(world, other))
            if one.key.decode() == circle["id"]
        ]
        local = circle["id"].partition(".")[2]
        assert told[-1] == f"{home}/CareTeam/{local}/@{number + 1}"
        assert await world.letters(other) == []


async def test_changed_with_its_circle_in_one_transaction_it_is_told_once(valkey: Valkey) -> None:
    async with sync_world(valkey, regions=2) as world:
        await world.start()
        home, other = world.boxes
        await world.subscribe(other)
        async with world.agent(other):
            circle = await world.circle(home)
            number = number_of(await world.replica(other, circle["id"]))
            person = (await world.send("GET", circle["subject"]["reference"])).json
            bundle = {
                "resourceType": "Bundle",
                "type": "transaction",
                "entry": [
                    {"resource": one, "request": {"method": "PUT", "url": key(one)}}
                    for one in (person | {"gender": "unknown"}, circle | {"status": "suspended"})
                ],
            }
            answered = await world.send("POST", "", bundle)
            assert answered.status == 200, answered.body
            replica = await world.replica(other, circle["id"], status="suspended")
            await world.at_rest(other)
            assert world.actor(other, replica["subject"])["gender"] == "unknown"
            assert number_of(world.replicas(other, circle["id"])[0]) == number + 1
