"""Subscriptions through their routes, on a real store, with real endpoints."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator
from xml.etree import ElementTree as ET

import pytest

from adapters.clock import SystemClock
from broker.core.change_event import Operation
from broker.core.fhir_xml import to_xml
from broker.core.sealing import Sealer
from registry.redis_connection import connect
from registry.subscription_store import RedisSubscriptionStore
from tests.support.subscription_world import (
    BASE,
    INS,
    INS_SYSTEM,
    SECRET,
    TRE_R30,
    Node,
    a_change,
    a_circle,
    a_patient,
    a_subscription,
    kind_of,
    node,
    numbers_of,
    parameters_of,
    signing,
    subscriber,
)
from tests.support.valkey import Valkey
from tests.support.waiting import until


@pytest.fixture
async def broker(valkey: Valkey) -> AsyncIterator[Node]:
    async with node(valkey.url, valkey.keys) as one:
        yield one


# --- registering


async def test_a_subscription_is_registered_read_and_removed(broker: Node) -> None:
    async with subscriber() as endpoint:
        stated = a_subscription(endpoint.url, header=["Authorization: Bearer abc"])
        status, made, headers = await broker.ask("POST", "Subscription", stated)
        assert status == 201, made
        assert (made["status"], made["meta"]["versionId"]) == ("requested", "1")
        name = made["id"]
        assert headers["Location"] == f"{BASE}/Subscription/{name}/_history/1"
        assert headers["ETag"] == 'W/"1"'
        assert "Last-Modified" in headers
        assert made["channel"]["header"] == ["Authorization: ***"]
        assert "extension" not in made["channel"], "a secret that was given is not shown"

        async def active() -> bool:
            return await broker.status_of(name) == "active"

        await until(active)
        (handshake,) = endpoint.bodies
        assert kind_of(handshake) == "handshake"
        assert endpoint.headers[0]["Authorization"] == "Bearer abc"
        assert endpoint.forged == 0
        status, found, headers = await broker.ask("GET", f"Subscription/{name}")
        assert (status, found["meta"]["versionId"], headers["ETag"]) == (200, "2", 'W/"2"')
        assert (await broker.ask("GET", f"Subscription/{name}", If_None_Match='W/"2"'))[0] == 304

        assert (await broker.ask("DELETE", f"Subscription/{name}", If_Match='W/"1"'))[0] == 412
        assert (await broker.ask("DELETE", f"Subscription/{name}"))[0] == 204
        status, told, _ = await broker.ask("GET", f"Subscription/{name}")
        assert (status, told["resourceType"]) == (410, "OperationOutcome")
        assert (await broker.ask("DELETE", f"Subscription/{name}"))[0] == 204
        assert await broker.queue.states([name]) == {}


async def test_what_is_not_there_is_not_there(broker: Node) -> None:
    for method, body in (("GET", None), ("DELETE", None), ("PUT", a_subscription() | {"id": "nobody"})):
        status, told, _ = await broker.ask(method, "Subscription/nobody", body)
        assert (status, told["resourceType"]) == (404, "OperationOutcome"), method
    for path in ("$status", "$events"):
        assert (await broker.ask("GET", f"Subscription/nobody/{path}"))[0] == 404


async def test_a_secret_that_the_broker_draws_is_told_once(broker: Node) -> None:
    async with subscriber() as endpoint:
        stated = a_subscription(endpoint.url)
        del stated["channel"]["extension"]
        _, made, _ = await broker.ask("POST", "Subscription", stated, Prefer="return=minimal")
        (told,) = made["channel"]["extension"]
        assert len(told["valueString"]) >= 32
        _, found, _ = await broker.ask("GET", f"Subscription/{made['id']}")
        assert "extension" not in found["channel"]
        await until(lambda: bool(endpoint.bodies))
        assert endpoint.forged == 1, "signed with that one, not with the one that the endpoint expects"


async def test_xml_goes_both_ways(broker: Node) -> None:
    async with subscriber() as endpoint:
        import orjson

        body = to_xml(orjson.dumps(a_subscription(endpoint.url)))
        xml = "application/fhir+xml"
        status, made, headers = await broker.ask("POST", "Subscription", body, Content_Type=xml, Accept=xml)
        assert status == 201
        assert headers["Content-Type"].startswith(xml)
        root = ET.fromstring(made)
        assert root.tag == "{http://hl7.org/fhir}Subscription"
        name = root.find("{http://hl7.org/fhir}id").attrib["value"]  # type: ignore[union-attr]
        for path in (f"Subscription/{name}", f"Subscription/{name}/$events", f"Subscription/{name}/$status"):
            status, _, headers = await broker.ask("GET", path, Accept=xml)
            assert (status, headers["Content-Type"].split(";")[0]) == (200, xml)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"criteria": "Patient?name=x"}, "subscription.criteria-type"),
        ({"criteria": f"CareTeam?_has:Patient:x:y={INS}"}, "request.unknown-parameter"),
        ({"criteria": "CareTeam?_count=5"}, "subscription.criteria-unmatchable"),
        ({"channel": {"type": "sms", "endpoint": "tel:1"}}, "subscription.channel-type"),
        ({"channel": {"type": "message", "endpoint": "kafka:xyz"}}, "subscription.unknown-manager"),
        ({"channel": {"type": "rest-hook", "endpoint": "http://hooks.example/"}}, "subscription.endpoint"),
        (
            {"channel": {"type": "rest-hook", "endpoint": "https://10.0.0.7/"}},
            "subscription.endpoint-address",
        ),
        (
            {"channel": {"type": "rest-hook", "endpoint": "https://[::ffff:169.254.169.254]/"}},
            "subscription.endpoint-address",
        ),
        ({"end": "2020-01-01T00:00:00Z"}, "subscription.ended"),
    ],
)
async def test_what_cannot_be_served_is_refused(broker: Node, change: dict[str, object], key: str) -> None:
    status, told, _ = await broker.ask("POST", "Subscription", a_subscription() | change)
    assert status == 422, told
    codes = [coding["code"] for issue in told["issue"] for coding in issue["details"]["coding"]]
    assert key in codes, codes
    assert INS not in str(told)


async def test_what_is_no_subscription_is_refused(broker: Node) -> None:
    assert (await broker.ask("POST", "Subscription", {"resourceType": "Subscription"}))[0] == 400
    assert (await broker.ask("POST", "Subscription", {"resourceType": "Patient"}))[0] == 400
    assert (await broker.ask("POST", "Subscription", b"{"))[0] == 400
    assert (await broker.ask("POST", "Subscription", b"{}", Content_Type="text/csv"))[0] == 415
    assert (await broker.ask("GET", "Subscription", Accept="text/csv"))[0] == 406


async def test_loopback_is_refused_unless_it_is_allowed(valkey: Valkey) -> None:
    async with node(valkey.url, valkey.keys, allowed=False) as broker:
        for endpoint in ("http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/"):
            status, told, _ = await broker.ask("POST", "Subscription", a_subscription(endpoint))
            assert status == 422, told


async def test_there_is_a_bound_on_their_number(valkey: Valkey) -> None:
    async with node(valkey.url, valkey.keys, limit=1, deliver=False) as broker:
        await broker.subscribe("kafka:bre")
        assert (await broker.ask("POST", "Subscription", a_subscription("kafka:occ")))[0] == 429


async def test_nothing_lies_in_the_store_in_clear(broker: Node, valkey: Valkey) -> None:
    async with subscriber() as endpoint:
        criteria = f"CareTeam?patient.identifier={INS_SYSTEM}|{INS}"
        await broker.subscribe(endpoint.url, criteria, header=["Authorization: Bearer abcdef"])
        await broker.tell(a_change())
        await until(lambda: endpoint.numbers == [1])
        client = connect(valkey.url)
        raw = [
            await client.dump(key)
            for key in [key async for key in client.scan_iter(f"{valkey.keys.prefix}:*")]
        ]
        await client.aclose()
        assert len(raw) >= 4
        for text in (INS, "abcdef", SECRET, "CareTeam?", "resourceType"):
            assert text.encode() not in b"".join(raw), text


# --- changing and searching


async def test_an_update_says_which_version_it_saw(broker: Node) -> None:
    name = await broker.subscribe("kafka:bre")
    _, found, _ = await broker.ask("GET", f"Subscription/{name}")
    assert (found["status"], broker.topics.opened) == ("active", ["bre"])
    changed = found | {"criteria": "CareTeam?status=inactive"}
    path = f"Subscription/{name}"
    assert (await broker.ask("PUT", path, changed, If_Match='W/"7"'))[0] == 412
    assert (await broker.ask("PUT", path, changed | {"id": "other"}))[0] == 400
    status, told, headers = await broker.ask("PUT", path, changed, If_Match='W/"1"')
    assert (status, told["status"], headers["ETag"]) == (200, "active", 'W/"2"')
    assert (await broker.ask("PUT", path, changed, If_Match='W/"1"'))[0] == 412
    assert (await broker.ask("PUT", path, changed | {"criteria": "Patient"}))[0] == 422


async def test_a_topic_that_cannot_be_opened_yet_is_opened_later(broker: Node) -> None:
    broker.topics.down = True
    name = await broker.subscribe("kafka:occ")
    assert await broker.status_of(name) == "requested"
    assert (await broker.tell(a_change())).topics == {}
    broker.topics.down = False

    async def active() -> bool:
        return await broker.status_of(name) == "active"

    await until(active)
    assert (await broker.tell(a_change())).topics == {"occ": "full-resource"}


async def test_subscriptions_are_searched(broker: Node) -> None:
    first = await broker.subscribe("kafka:bre")
    second = await broker.subscribe("kafka:occ", "CareTeam?status=inactive")
    off = a_subscription("kafka:occ") | {"status": "off"}
    _, third, _ = await broker.ask("POST", "Subscription", off)

    async def ids(query: str) -> set[str]:
        status, found, _ = await broker.ask("GET", f"Subscription?{query}")
        assert (status, found["type"]) == (200, "searchset")
        assert found["total"] == len(found.get("entry", []))
        return {entry["resource"]["id"] for entry in found.get("entry", [])}

    assert await ids("") == {first, second, third["id"]}
    assert await ids("status=active") == {first, second}
    assert await ids("status=off") == {third["id"]}
    assert await ids("url=kafka:bre") == {first}
    assert await ids("criteria:contains=inactive") == {second}
    assert await ids(f"_id={second}") == {second}
    assert await ids("type=rest-hook") == set()
    status, found, _ = await broker.ask("GET", "Subscription?_count=2")
    assert (found["total"], len(found["entry"])) == (3, 2)
    assert [link["relation"] for link in found["link"]] == ["self", "next"]
    assert (await broker.ask("GET", "Subscription?shoe=4", Prefer="handling=strict"))[0] == 400
    form = "application/x-www-form-urlencoded"
    status, found, _ = await broker.ask("POST", "Subscription/_search", b"status=off", Content_Type=form)
    assert (status, found["total"]) == (200, 1)
    status, found, _ = await broker.ask("GET", "Subscription/$status?status=active")
    assert (status, found["total"]) == (200, 2)
    status, found, _ = await broker.ask("GET", f"Subscription/$status?id={first}")
    assert (status, found["total"]) == (200, 1)


# --- being told


async def test_what_matches_is_told_in_order_with_numbers(broker: Node) -> None:
    async with subscriber() as endpoint:
        name = await broker.subscribe(endpoint.url, f"CareTeam?_tag={TRE_R30}|53")
        for number in range(1, 31):
            region = "53" if number % 3 else "76"
            await broker.tell(a_change(number, region=region))
        await until(lambda: len(endpoint.numbers) == 20)
        assert endpoint.numbers == list(range(1, 21))
        assert endpoint.circles == [f"CareTeam/bre.{n}" for n in range(1, 31) if n % 3]
        assert endpoint.forged == 0
        full = endpoint.of("event-notification")[0]
        assert {entry["resource"]["resourceType"] for entry in full["entry"]} == {
            "Parameters",
            "CareTeam",
            "Patient",
        }
        status, found, _ = await broker.ask("GET", f"Subscription/{name}/$events?eventsSinceNumber=19")
        assert (status, kind_of(found), numbers_of(found)) == (200, "query-event", [19, 20])
        assert parameters_of(found)["events-since-subscription-start"] == "20"
        path = f"Subscription/{name}/$events?eventsSinceNumber=2&eventsUntilNumber=3"
        assert numbers_of((await broker.ask("GET", path))[1]) == [2, 3]
        assert (await broker.ask("GET", f"Subscription/{name}/$events?eventsSinceNumber=x"))[0] == 400
        status, found, _ = await broker.ask("GET", f"Subscription/{name}/$status")
        assert (status, parameters_of(found)["type"]) == (200, "query-status")


async def test_ids_alone_are_told_where_no_more_is_asked_for(broker: Node) -> None:
    async with subscriber() as endpoint:
        stated = a_subscription(endpoint.url)
        del stated["channel"]["payload"]
        assert (await broker.ask("POST", "Subscription", stated))[0] == 201
        await broker.tell(a_change())
        await until(lambda: endpoint.numbers == [1])
        (body,) = endpoint.of("event-notification")
        assert [entry["fullUrl"] for entry in body["entry"][1:]] == [f"{BASE}/CareTeam/bre.12"]
        assert all("resource" not in entry for entry in body["entry"][1:])
        assert INS not in str(body)


async def test_max_count_is_kept(broker: Node) -> None:
    async with subscriber() as endpoint:
        url = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-max-count"
        extension = [*signing()["extension"], {"url": url, "valuePositiveInt": 2}]
        await broker.subscribe(endpoint.url, extension=extension)
        for number in range(1, 10):
            await broker.tell(a_change(number))
        await until(lambda: endpoint.numbers == list(range(1, 10)))
        assert max(len(numbers_of(body)) for body in endpoint.of("event-notification")) == 2


async def test_who_was_told_is_told_when_it_leaves_and_when_it_is_gone(broker: Node) -> None:
    async with subscriber() as told, subscriber() as other:
        await broker.subscribe(told.url)
        await broker.subscribe(other.url, "CareTeam?status=inactive")
        await broker.tell(a_change(12, 1))
        inactive = a_circle(12, status="inactive")
        await broker.tell(a_change(12, 2), inactive, [a_patient(12)])
        await until(lambda: (told.numbers, other.numbers) == ([1, 2], [1]))
        await broker.tell(a_change(12, 3), inactive, [a_patient(12)])
        await until(lambda: other.numbers == [1, 2])
        await broker.tell(a_change(12, 4, operation=Operation.DELETED))
        await until(lambda: other.numbers == [1, 2, 3])
        assert other.bodies[-1]["entry"][1]["request"]["method"] == "DELETE"
        assert told.numbers == [1, 2], "who was told that it left is told no more"
        assert await broker.queue.states([]) == {}


async def test_a_topic_is_not_told_of_its_managers_own_circles(broker: Node) -> None:
    await broker.subscribe("kafka:bre")
    await broker.subscribe("kafka:occ")
    assert (await broker.tell(a_change())).topics == {"occ": "full-resource"}
    assert (await broker.tell(a_change(manager="occ"))).topics == {"bre": "full-resource"}


async def test_heartbeats_come_while_there_is_nothing_to_tell(broker: Node) -> None:
    async with subscriber() as endpoint:
        url = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period"
        extension = [*signing()["extension"], {"url": url, "valueUnsignedInt": 10}]
        name = await broker.subscribe(endpoint.url, extension=extension)
        await until(lambda: bool(endpoint.of("handshake")))

        async def waiting() -> bool:
            return await broker.status_of(name) == "active"

        await until(waiting)
        assert not endpoint.of("heartbeat")
        await broker.queue.resume(name)  # its time has come
        await until(lambda: bool(endpoint.of("heartbeat")))
        assert parameters_of(endpoint.of("heartbeat")[0])["events-since-subscription-start"] == "0"


async def test_off_means_nothing_is_told(broker: Node) -> None:
    async with subscriber() as endpoint:
        name = await broker.subscribe(endpoint.url)
        await broker.tell(a_change(1))
        await until(lambda: endpoint.numbers == [1])
        _, found, _ = await broker.ask("GET", f"Subscription/{name}")
        status, _, _ = await broker.ask("PUT", f"Subscription/{name}", found | {"status": "off"})
        assert status == 200
        assert (await broker.tell(a_change(2))).hooks == {}
        _, found, _ = await broker.ask("GET", f"Subscription/{name}")
        await broker.ask("PUT", f"Subscription/{name}", found | {"status": "requested"})
        assert re.fullmatch("requested|active", await broker.status_of(name))
        await broker.tell(a_change(3))
        await until(lambda: endpoint.numbers == [1, 2])
        assert endpoint.circles == ["CareTeam/bre.1", "CareTeam/bre.3"]


async def test_the_events_of_a_topic_are_read_from_it(broker: Node) -> None:
    name = await broker.subscribe("kafka:occ")
    status, told, _ = await broker.ask("GET", f"Subscription/{name}/$events")
    assert (status, told["resourceType"]) == (422, "OperationOutcome")


async def test_what_can_be_read_no_more_can_be_removed(broker: Node, valkey: Valkey) -> None:
    client = connect(valkey.url)
    lost = RedisSubscriptionStore(client, Sealer([b"a secret that is gone"]), SystemClock(), keys=valkey.keys)
    assert await lost.put("lost", b"{}", expected=0)
    await client.aclose()
    kept = await broker.subscribe("kafka:occ")
    assert (await broker.tell(a_change())).topics == {"occ": "full-resource"}
    assert broker.view.unreadable == 1
    assert (await broker.ask("GET", "Subscription/lost"))[0] == 500
    assert (await broker.ask("GET", "Subscription"))[1]["total"] == 1
    assert (await broker.ask("DELETE", "Subscription/lost"))[0] == 204
    assert await broker.status_of(kept) == "active"


async def test_how_far_each_queue_is_shows(broker: Node) -> None:
    async with subscriber() as endpoint:
        name = await broker.subscribe(endpoint.url)
        endpoint.status = 500
        await broker.tell(a_change(1))
        await until(lambda: name in broker.service.queues and broker.service.queues[name].waiting == 1)
        assert broker.service.queues[name].oldest is not None
        endpoint.status = 200
        await until(lambda: broker.service.queues[name].waiting == 0)


async def test_a_subscription_that_has_ended_is_off(broker: Node) -> None:
    soon = SystemClock().now() + dt.timedelta(seconds=1)
    stated = a_subscription("kafka:occ") | {"end": soon.isoformat(timespec="milliseconds")}
    _, made, _ = await broker.ask("POST", "Subscription", stated)
    assert made["status"] == "active"

    async def off() -> bool:
        return await broker.status_of(made["id"]) == "off"

    await until(off)
    assert (await broker.tell(a_change())).topics == {}
