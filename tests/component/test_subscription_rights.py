"""Whose a Subscription is: who sees it, who changes it, what it may ask for, and what it is never sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from broker.core.access.principal import EVERYTHING, Principal
from registry.redis_keys import RedisKeys
from tests.support.access import Callers, scopes
from tests.support.subscription_world import Node, a_change, a_subscription, node
from tests.support.valkey import Valkey

OWNER = Principal("owner", scopes=scopes("Subscription.cruds", "*.rs"))
OTHER = Principal("other", scopes=scopes("Subscription.cruds", "*.rs"))
READER = Principal("reader", scopes=scopes("Subscription.cruds", "*.rs", "sync.read"))
WRITER = Principal("writer", scopes=scopes("Subscription.cruds", "*.rs", "sync.write"))


@asynccontextmanager
async def subscribers(valkey: Valkey) -> AsyncIterator[tuple[Node, Callers]]:
    callers = Callers()
    keys = RedisKeys(valkey.keys.prefix)
    async with node(valkey.url, keys, deliver=False, authenticated=callers.authenticated()) as one:
        yield one, callers


async def ask(
    world: tuple[Node, Callers], principal: Principal, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    one, callers = world
    headers = {name.replace("-", "_"): value for name, value in callers.header(principal).items()}
    status, found, _ = await one.ask(method, path, body, **headers)
    return status, found


def keys_of(outcome: Any) -> list[str]:
    return [issue["details"]["coding"][0]["code"] for issue in outcome["issue"]]


async def test_a_subscription_is_its_clients(valkey: Valkey) -> None:
    async with subscribers(valkey) as world:
        _, made = await ask(world, OWNER, "POST", "Subscription", a_subscription())
        one = f"Subscription/{made['id']}"
        changed = a_subscription(criteria="CareTeam?status=inactive") | {"id": made["id"]}
        for principal, seen in ((OWNER, 200), (OTHER, 404), (READER, 200), (WRITER, 200)):
            for path in (one, f"{one}/$status", f"{one}/$events"):
                assert (await ask(world, principal, "GET", path))[0] == seen, (principal.client, path)
            for path in ("Subscription", "Subscription/$status"):
                _, found = await ask(world, principal, "GET", path)
                assert (made["id"] in orjson.dumps(found).decode()) is (seen == 200), (principal.client, path)
        for principal, status in ((OTHER, 404), (READER, 403), (WRITER, 200), (OWNER, 200)):
            assert (await ask(world, principal, "PUT", one, changed))[0] == status, principal.client
        assert (await ask(world, OTHER, "GET", one))[0] == 404, "whoever changes it does not become its owner"
        assert (await ask(world, OWNER, "GET", one))[0] == 200
        for principal, status in ((OTHER, 404), (READER, 403), (OWNER, 204)):
            assert (await ask(world, principal, "DELETE", one))[0] == status, principal.client


@pytest.mark.parametrize(
    ("granted", "content", "status"),
    [
        (("*.s",), "id-only", 201),
        (("CareTeam.s",), "id-only", 201),
        (("CareTeam.r", "Patient.rs"), "id-only", 403),
        (("CareTeam.s",), "full-resource", 403),
        (("CareTeam.rs", "Patient.rs", "Practitioner.rs"), "full-resource", 403),
        (("*.rs",), "full-resource", 201),
    ],
)
async def test_nobody_is_sent_what_they_may_not_ask_for(
    valkey: Valkey, granted: tuple[str, ...], content: str, status: int
) -> None:
    level = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
    extension = {"extension": [{"url": level, "valueCode": content}]}
    async with subscribers(valkey) as world:
        principal = Principal("owner", scopes=scopes("Subscription.cruds", *granted))
        asked = a_subscription(_payload=extension)
        answered, found = await ask(world, principal, "POST", "Subscription", asked)
        assert answered == status, found
        if status == 403:
            assert keys_of(found) == ["access.scope"]
        more = Principal("owner", scopes=EVERYTHING)
        _, made = await ask(world, more, "POST", "Subscription", asked)
        events = await ask(world, principal, "GET", f"Subscription/{made['id']}/$events")
        assert events[0] == (200 if status == 201 else 403)


async def test_a_topic_is_its_managers(valkey: Valkey) -> None:
    async with subscribers(valkey) as world:
        for principal, status in (
            (Principal("c", scopes=OWNER.scopes), 403),
            (Principal("c", scopes=OWNER.scopes, manager="occ"), 403),
            (Principal("c", scopes=OWNER.scopes, manager="bre"), 201),
            (WRITER, 201),
        ):
            asked = a_subscription("kafka:bre")
            answered, found = await ask(world, principal, "POST", "Subscription", asked)
            assert answered == status, found
            if status == 403:
                assert keys_of(found) == ["access.topic"]


@pytest.mark.parametrize("reach", [{"managers": frozenset({"bre"})}, {"regions": frozenset({"53"})}])
async def test_nothing_of_a_manager_out_of_reach_is_sent(valkey: Valkey, reach: dict[str, Any]) -> None:
    async with subscribers(valkey) as world:
        one = world[0]
        near = Principal("near", scopes=OWNER.scopes, **reach)
        _, made = await ask(world, near, "POST", "Subscription", a_subscription())
        _, all_of_it = await ask(world, OWNER, "POST", "Subscription", a_subscription())
        for number, (manager, region, told) in enumerate((("bre", "53", 2), ("occ", "76", 1)), start=1):
            destinations = await one.tell(a_change(number, manager=manager, region=region))
            assert len(destinations.hooks) == told
            assert all_of_it["id"] in destinations.hooks
        _, events = await ask(world, near, "GET", f"Subscription/{made['id']}/$events")
        assert b"occ." not in orjson.dumps(events)
        far = Principal("owner", scopes=OWNER.scopes, managers=frozenset({"bre"}))
        _, events = await ask(world, far, "GET", f"Subscription/{all_of_it['id']}/$events")
        assert b"occ." not in orjson.dumps(events), "reach taken away since"
        await one.view.refresh()
        kept = one.view.get(made["id"])
        assert kept is not None
        assert kept.owner is not None
        assert (kept.owner.client, kept.covers("occ", "76")) == ("near", False)
        # Another manager's change reaches it once its owner, who reaches more by now, has written it anew.
        wider = Principal("near", scopes=OWNER.scopes)
        body = a_subscription() | {"id": made["id"]}
        assert (await ask(world, wider, "PUT", f"Subscription/{made['id']}", body))[0] == 200
        destinations = await one.tell(a_change(3, manager="occ", region="76"))
        assert made["id"] in destinations.hooks
