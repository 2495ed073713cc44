"""A user of Redis that may do what the broker needs, and no more: the one that SECURITY.md names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from adapters.sandbox.app import running_sandbox
from registry.model import Gestionnaire
from registry.redis_keys import RedisKeys
from tests.contract.gestionnaire.people import People
from tests.support.federation import Broker, federation
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.sync_world import subscription
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until

SECURITY = Path(__file__).parents[2] / "SECURITY.md"


def granted() -> list[str]:
    told = re.search(r"`ACL SETUSER broker ([^`]+)`", SECURITY.read_text(encoding="utf-8"))
    assert told is not None
    return told[1].split()


async def test_the_broker_needs_no_more_than_this(own_valkey: ValkeyServer) -> None:
    with Redis.from_url(own_valkey.url) as client:
        client.execute_command("ACL", "SETUSER", "broker", *granted())
    url = own_valkey.url.replace("unix://", "unix://broker:PASSWORD@")
    with Redis.from_url(url) as client, pytest.raises(NoPermissionError):
        client.set("others:key", "1")
    circle = care_team("c1", subject="Patient/p1")
    async with running_sandbox([patient("p1", ins="1"), circle]) as box:
        manager = Gestionnaire("bre", "Bretagne", "53", box.base_url)
        given = {"locator": True, "sync": True, "audit": "log", "locator_poll": 0.1, "topic_partitions": 1}
        async with federation(Valkey(url, RedisKeys("cds")), manager, checked=True, **given) as broker:
            await until(lambda: _covered(broker), seconds=15)
            form = {"patient.identifier": f"{INS_TEST}|1", "_count": "1"}
            found = await broker.post("CareTeam/_search", form)
            assert [entry["resource"]["id"] for entry in found.json["entry"]] == ["bre.c1"]
            await _written(broker)
            for target in (
                "registry/synchronisation",
                "registry/conflicts",
                "registry/gestionnaires",
                "metrics",
            ):
                answered = await broker.get(f"{broker.base_url.removesuffix('fhir')}{target}")
                assert answered.status == 200, answered.body
    with Redis.from_url(own_valkey.url) as client:
        refused = [one for one in client.acl_log() if one["object"] != "others:key"]
    assert refused == []


async def _written(broker: Broker) -> None:
    """A person with a circle, and who is told of it: claims, intents, kept answers, the outbox, topics, seals."""
    headers = {"Content-Type": "application/fhir+json", "X-Gestionnaire": "bre"}
    people = People()
    person = people.patient("Exemple", "Anne", "1960-02-03", gender="female", city="Rennes", born_at="Redon")
    house = people.organization("Cabinet")
    made = []
    for resource in (person, house):
        async with broker.http.post(
            f"{broker.base_url}/{resource['resourceType']}", json=resource, headers=headers
        ) as answered:
            assert answered.status == 201, await answered.text()
            made.append(f"{resource['resourceType']}/{(await answered.json(content_type=None))['id']}")
    circle = people.circle("a", made[0], [(made[1], "2026-01-10", None)])
    for resource in (subscription("bre"), circle):
        keyed = headers | {"Idempotency-Key": f'"{resource["resourceType"]}"'}
        address = f"{broker.base_url}/{resource['resourceType']}"
        async with broker.http.post(address, json=resource, headers=keyed) as answered:
            assert answered.status == 201, await answered.text()
    # Published, and out of the outbox.
    await until(lambda: _published(broker), seconds=15)


async def _published(broker: Broker) -> bool:
    page = await broker.get(f"{broker.base_url.removesuffix('fhir')}metrics")
    told = re.search(rb"^cds_events_published_total (\S+)", page.body, re.MULTILINE)
    return told is not None and float(told[1]) > 0


async def _covered(broker: Broker) -> bool:
    answered = await broker.get(f"{broker.base_url.removesuffix('/fhir')}/registry/locator")
    return [one["state"] for one in answered.json["managers"]] == ["complete"]
