"""What synchronisation hands over stands in the trail before it leaves: on topics, by rest-hook, and to a newcomer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from fhir.resources.R4B.auditevent import AuditEvent

from broker.core.access.principal import EVERYTHING
from broker.core.subscription_channel import BACKPORT
from tests.support import audited
from tests.support.audited import Json
from tests.support.guarded import GuardedWorld, guarded
from tests.support.valkey import Valkey
from tests.support.waiting import until


@asynccontextmanager
async def hook() -> AsyncIterator[tuple[str, list[Json]]]:
    """An endpoint with a secret in its path, and what it was posted."""
    posted: list[Json] = []

    async def taken(request: web.Request) -> web.Response:
        posted.append(json.loads(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/secret-path", taken)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", posted
    finally:
        await runner.cleanup()


def subscription(kind: str, endpoint: str, *, whole: bool = True) -> Json:
    channel: Json = {"type": kind, "endpoint": endpoint}
    if whole:
        level = {"url": f"{BACKPORT}backport-payload-content", "valueCode": "full-resource"}
        channel |= {"payload": "application/fhir+json", "_payload": {"extension": [level]}}
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Suivi",
        "criteria": "CareTeam",
        "channel": channel,
    }


async def subscribed(world: GuardedWorld, stated: Json) -> str:
    made = await world.ask(world.token(EVERYTHING), "POST", "/fhir/Subscription", stated)
    assert made.answered.status == 201, made.answered.body
    return str(made.answered.json["id"])


async def changed(world: GuardedWorld, name: str = "bre.c1") -> None:
    token = world.token(EVERYTHING)
    circle = (await world.ask(token, "GET", f"/fhir/CareTeam/{name}")).answered.json
    circle["status"] = "suspended" if circle["status"] == "active" else "active"
    done = await world.ask(token, "PUT", f"/fhir/CareTeam/{name}", circle)
    assert done.answered.status == 200, done.answered.body


def disclosures(world: GuardedWorld) -> list[Json]:
    return [one for events in world.trail().values() for one in events if audited.code(one) == "disclosure"]


def of(events: list[Json], name: str) -> list[Json]:
    return [one for one in events if ("subscription", name) in audited.details(one)]


async def test_what_is_handed_over_is_traced_for_each_person(valkey: Valkey, tmp_path: Path) -> None:
    async with guarded(valkey, tmp_path) as world, hook() as (address, posted):
        topic = await subscribed(world, subscription("message", "kafka:occ"))
        told = await subscribed(world, subscription("rest-hook", f"{address}/secret-path"))
        by_id = await subscribed(world, subscription("rest-hook", f"{address}/secret-path", whole=False))
        base = world.brokers["usual"].base_url

        # The present state, for a newcomer.
        await until(lambda: bool(of(disclosures(world), topic)), seconds=20)
        (first,) = of(disclosures(world), topic)
        assert audited.persons(first) == [f"{base}/Patient/bre.p1"]
        await until(lambda: len(posted) >= 2, seconds=20)  # the handshakes
        await changed(world)
        await until(lambda: len(posted) >= 4, seconds=20)
        events = disclosures(world)
        assert len(of(events, topic)) == 2
        (by_hook,) = of(events, told)
        assert of(events, by_id) == [], "ids alone hand nobody's data over"
        for event, recipient in (*((one, "kafka:occ") for one in of(events, topic)), (by_hook, address)):
            AuditEvent.model_validate(event)
            assert event["type"]["code"] == "110106"
            assert (event["action"], event["outcome"]) == ("R", "0")
            assert audited.client(event) == "everywhere"
            assert event["agent"][0]["type"]["coding"][0]["code"] == "110152", (
                "the subscriber is where it goes"
            )
            assert audited.persons(event) == [f"{base}/Patient/bre.p1"]
            assert audited.objects(event) == [f"{base}/CareTeam/bre.c1"]
            assert ("recipient", recipient) in audited.details(event)
            assert ("manager", "bre") in audited.details(event)
        written = "".join(path.read_text() for path in (tmp_path / "audit").glob("*.ndjson"))
        assert "secret-path" not in written.replace(str(audited.query(by_hook)), "")
        assert world.verified().intact
