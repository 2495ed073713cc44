"""What holds over several nodes and moments: read-your-writes, Idempotency-Key, clients that leave, and what the store and
the logs may know."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from msgspec.structs import replace

from adapters.sandbox.app import RunningSandbox, running_sandbox
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.write_log import RedisWriteLog
from tests.contract.gestionnaire.people import INS_TEST, People
from tests.contract.gestionnaire.test_writing_transaction import creation
from tests.contract.stores.test_locator_redis import personal, spellings
from tests.support.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.federation import Broker, Json, federation, ids
from tests.support.gestionnaires import gestionnaire
from tests.support.scripted_manager import scripted_manager
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until
from tests.support.write_federation import (
    PUBLIC,
    UNSEEN,
    World,
    address,
    asked_for,
    covered,
    home_of,
    key,
    keys_told,
    send,
    someone,
    token,
    whole_store,
    writable,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(valkey_server: ValkeyServer) -> AsyncIterator[tuple[World, Broker]]:
    """A federation whose index is complete and looks at nothing by itself, and its other node."""
    valkey = Valkey(valkey_server.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
    async with (
        writable(valkey, **UNSEEN) as world,
        federation(valkey, public_url=PUBLIC, **UNSEEN) as other,
    ):
        await covered(world.broker)
        yield world, other


@pytest.fixture
def people() -> People:
    return People()


def circles_of(person: Json) -> str:
    return f"CareTeam?patient.identifier={token(person)}"


async def found(node: Broker, search: str) -> list[str]:
    return ids((await send(node, "GET", search)).json)


# --- the index follows each write at once


async def test_a_new_circle_is_found_through_the_other_node(
    nodes: tuple[World, Broker], people: People
) -> None:
    world, other = nodes
    patient = await world.made(someone(people), X_Gestionnaire="cor")
    assert await asked_for(other, circles_of(patient)) == [], "nobody holds a circle of this person"
    made = await world.made(people.circle("a", key(patient), []))
    for node in (other, world.broker):
        assert await asked_for(node, circles_of(patient)) == ["cor"]
        assert await found(node, circles_of(patient)) == [made["id"]]
    changed = await world.send("PUT", key(made), made | {"name": f"Autre {people.token}"})
    assert changed.status == 200
    read = await send(other, "GET", key(made))
    assert read.json == changed.json
    second = await send(other, "POST", "CareTeam", people.circle("b", key(patient), []))
    assert (second.status, second.headers["Location"]) == (409, f"{PUBLIC}/{key(made)}")


async def test_a_person_given_a_new_ins_is_found_by_it_at_once(
    nodes: tuple[World, Broker], people: People
) -> None:
    world, other = nodes
    made = await world.circle(people)
    person = (await world.send("GET", made["subject"]["reference"])).json
    former = token(person)
    renewed = people.ins("1960-02-03", female=False)
    changed = person | {"identifier": [person["identifier"][0] | {"value": renewed}]}
    assert await asked_for(other, circles_of(changed)) == []
    assert (await world.send("PUT", key(person), changed)).status == 200
    assert await asked_for(other, circles_of(changed)) == ["bre"]
    assert await found(other, circles_of(changed)) == [made["id"]]
    assert await found(other, f"CareTeam?patient.identifier={former}") == []
    somebody = await world.made(someone(people) | {"identifier": changed["identifier"]}, X_Gestionnaire="idf")
    second = await send(other, "POST", "CareTeam", people.circle("z", key(somebody), []))
    assert (second.status, second.headers["Location"]) == (409, f"{PUBLIC}/{key(made)}")


async def test_a_transaction_is_found_through_the_other_node(
    nodes: tuple[World, Broker], people: People
) -> None:
    world, other = nodes
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": creation(people)}
    answered = await world.send("POST", "", bundle, X_Gestionnaire="idf")
    circle, person, *_ = (one["resource"] for one in answered.json["entry"])
    assert await asked_for(other, circles_of(person)) == ["idf"]
    assert await found(other, circles_of(person)) == [circle["id"]]


async def test_whom_the_index_holds_whole_need_not_be_asked(valkey: Valkey, people: People) -> None:
    """A manager is away, but it is known what it holds: nothing is unsure."""
    async with scripted_manager() as away, writable(valkey, **UNSEEN) as world:
        await world.register(away.gestionnaire("occ", region="76"))
        await covered(world.broker)
        patient = await world.made(someone(people))
        await away.refuse()
        assert home_of(await world.made(people.circle("a", key(patient), []))) == "bre"


# --- Idempotency-Key


async def test_the_same_key_is_answered_as_before_on_any_node(
    nodes: tuple[World, Broker], people: People
) -> None:
    world, other = nodes
    patient = await world.made(someone(people))
    sent = people.circle("a", key(patient), [])
    mark = {"Idempotency_Key": f'"{uuid.uuid4()}"'}
    first = await world.send("POST", "CareTeam", sent, **mark)
    again = await send(other, "POST", "CareTeam", sent, **mark)
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    for name in ("Location", "ETag", "Last-Modified"):
        assert again.headers[name] == first.headers[name]
    assert world.counted("CareTeam", people.token) == {"bre": 1}
    unmarked = await world.send("POST", "CareTeam", sent)
    assert unmarked.status == 409
    different = await world.send("POST", "CareTeam", sent | {"status": "suspended"}, **mark)
    assert (different.status, keys_told(different)) == (422, ["idempotency.other-request"])


async def test_an_update_and_a_transaction_are_done_once_under_a_key(
    nodes: tuple[World, Broker], people: People
) -> None:
    world, other = nodes
    made = await world.circle(people)
    mark = {"Idempotency_Key": uuid.uuid4().hex}
    answers = [
        await send(node, "PUT", key(made), made | {"status": "inactive"}, **mark)
        for node in (world.broker, other)
    ]
    assert [(one.status, one.headers["ETag"]) for one in answers] == [(200, 'W/"2"')] * 2
    assert len(world.held("bre", "CareTeam", made["identifier"][0]["value"])) == 2
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": creation(people)}
    mark = {"Idempotency_Key": uuid.uuid4().hex}
    answers = [await send(node, "POST", "", bundle, **mark) for node in (other, world.broker)]
    assert [one.status for one in answers] == [200, 200]
    assert answers[0].body == answers[1].body


async def test_a_refused_request_does_not_use_its_key_up(nodes: tuple[World, Broker], people: People) -> None:
    world, other = nodes
    patient = await world.made(someone(people))
    sent = people.circle("a", key(patient), [("Organization/idf.none", "2024-01-10", None)])
    mark = {"Idempotency_Key": uuid.uuid4().hex}
    assert (await world.send("POST", "CareTeam", sent, **mark)).status == 422
    mended = people.circle("a", key(patient), [])
    assert (await send(other, "POST", "CareTeam", mended, **mark)).status == 201


@pytest.mark.parametrize("mark", ["", '""', "x" * 256, "clé"])
async def test_a_key_that_is_none_is_refused(nodes: tuple[World, Broker], people: People, mark: str) -> None:
    world, _ = nodes
    answered = await world.send("POST", "Patient", someone(people), Idempotency_Key=mark)
    assert (answered.status, keys_told(answered)) == (400, ["idempotency.bad-key"])
    assert world.counted("Patient", people.token) == {}


# --- a write that is under way


@asynccontextmanager
async def slow(valkey: Valkey, **settings: Any) -> AsyncIterator[tuple[World, RunningSandbox, FaultyProxy]]:
    """A federation with one more manager, `occ`, whose answers can be held back."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(writable(valkey, **settings))
        box = await stack.enter_async_context(running_sandbox())
        proxy = await stack.enter_async_context(faulty_proxy(box.base_url, hold=0.5))
        manager = replace(gestionnaire("occ"), region="76", base_url=proxy.base_url)
        await world.register(manager)
        yield world, box, proxy


async def pending(valkey: Valkey) -> int:
    client = connect(valkey.url)
    try:
        count, _ = await RedisWriteLog(client, keys=valkey.keys).pending()
    finally:
        await client.aclose()
    return count


async def started(proxy: FaultyProxy, mark: str) -> None:
    """Wait until a write with this mark is at the manager, and not answered."""
    await until(lambda: any(mark.encode() in one.raw and one.reached for one in proxy.seen))


async def test_a_client_that_leaves_does_not_undo_its_write(valkey: Valkey, people: People) -> None:
    async with slow(valkey) as (world, box, proxy):
        patient = await world.made(someone(people), X_Gestionnaire="occ")
        sent = people.circle("a", key(patient), [])
        mark = sent["identifier"][0]["value"]
        proxy.faults[mark] = Fault.LATE
        async with aiohttp.ClientSession() as leaving:
            request = asyncio.create_task(
                leaving.post(f"{address(world.broker)}/fhir/CareTeam", json=sent, headers=JSON)
            )
            await started(proxy, mark)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
        assert await pending(valkey) == 1

        async def done() -> bool:
            return await pending(valkey) == 0

        await until(done)
        [version] = [one for one in box.store.changes("CareTeam") if mark.encode() in one.raw]
        second = await world.send("POST", "CareTeam", people.circle("b", key(patient), []))
        assert second.status == 409
        assert second.headers["Location"] == f"{PUBLIC}/CareTeam/occ.{version.content['id']}"


JSON = {"Content-Type": "application/fhir+json"}


async def test_the_same_key_while_the_first_is_under_way_is_refused(valkey: Valkey, people: People) -> None:
    async with slow(valkey) as (world, _, proxy):
        sent = people.practitioner(f"Hamon{people.token}", "Lise")
        proxy.faults[f"Hamon{people.token}"] = Fault.LATE
        mark = {"Idempotency_Key": uuid.uuid4().hex, "X_Gestionnaire": "occ"}
        first = asyncio.create_task(world.send("POST", "Practitioner", sent, **mark))
        await started(proxy, f"Hamon{people.token}")
        meanwhile = await world.send("POST", "Practitioner", sent, **mark)
        assert (meanwhile.status, keys_told(meanwhile)) == (409, ["idempotency.running"])
        assert (await first).status == 201
        afterwards = await world.send("POST", "Practitioner", sent, **mark)
        assert (afterwards.status, afterwards.body) == (201, (await first).body)


# --- what the store and the logs may know


async def test_neither_store_nor_logs_hold_anything_of_a_person(
    valkey: Valkey, people: People, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with slow(valkey, locator=True) as (world, _, proxy):
        patient = await world.made(someone(people), X_Gestionnaire="occ")
        doctor = people.practitioner(f"Hamon{people.token}", "Lise")
        circle = people.circle("a", key(patient), [])
        written = [patient, doctor, circle]
        mark = circle["identifier"][0]["value"]
        secret = uuid.uuid4().hex

        async def held() -> list[str]:
            raw = await whole_store(valkey)
            assert b"{writes}:" in raw
            told = {text for one in written for text in personal(one)}
            told |= {circle["name"], secret, token(patient)}
            return [text for text in told for one in spellings(text) if len(one) >= 5 and one in raw]

        for body, what in ((doctor, f"Hamon{people.token}"), (circle, mark)):
            proxy.faults[what] = Fault.LATE
            request = asyncio.create_task(
                world.send(
                    "POST",
                    body["resourceType"],
                    body,
                    X_Gestionnaire="occ",
                    Idempotency_Key=secret + what[:3],
                )
            )
            await started(proxy, what)
            assert await pending(valkey) == 1
            assert await held() == [], "while it is pending"
            answered = await request
            assert answered.status == 201
            assert await held() == [], "afterwards"
        refused = await world.send("POST", "CareTeam", people.circle("b", key(patient), []))
        assert refused.status == 409
        entries = creation(people)
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        written += [one["resource"] for one in entries]
        proxy.faults[entries[0]["resource"]["name"]] = Fault.CUT_UNANSWERED
        answered = await world.send("POST", "", bundle, X_Gestionnaire="occ")
        assert answered.status == 200, "it was found out what happened"
        assert await held() == [], "of a transaction that had to be found out"
        lost = people.practitioner(f"Le Goff{people.token}", "Maëlle")
        written.append(lost)
        proxy.faults[f"Le Goff{people.token}"] = Fault.LOST
        answered = await world.send("POST", "Practitioner", lost, X_Gestionnaire="occ")
        assert (answered.status, keys_told(answered)) == (504, ["write.unknown"])
        assert await pending(valkey) == 1
        assert await held() == [], "while nobody knows"
        told = {text for one in written for text in personal(one)} | {patient["identifier"][0]["value"]}
        logged = "\n".join(record.getMessage() for record in caplog.records)
        assert "sent and not answered" in logged
        assert [text for text in told if text in logged] == []
        assert INS_TEST not in logged
