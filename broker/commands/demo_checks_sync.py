"""The checks of synchronisation: a region subscribes, its agent keeps replicas, and they answer for a home that is away.

They come last, in this order: from then on the second manager holds replicas of all that the first one has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from broker.commands.demo_cast import FOLLOWED, REPLICATED
from broker.commands.demo_held import Held, Resource, read_held
from broker.commands.demo_probe import Probe, entries, expect, expect_same, ids, reasons
from broker.commands.demo_sync import subscription

_JSON = {"Content-Type": "application/fhir+json"}
_COPY = {"system": "urn:cds-broker:copy", "code": "replica"}
_PATIENCE = 30.0
_LOOK = 0.05


async def subscribed(probe: Probe) -> str:
    """What is there comes first: every circle of the home, each once, with everybody in it."""
    subscriber = probe.demo.managers[1].slug
    began = probe.clock.monotonic()
    answer = await probe.send("POST", "/fhir/Subscription", body=subscription(probe.demo), headers=_JSON)
    expect_same((answer.status, answer.json.get("status")), (201, "active"), "the Subscription")
    held: dict[str, Held] = {}

    async def all_there() -> bool:
        nonlocal held
        held = await read_held(probe.demo)
        return set(_replicas(held, probe)) == _wanted(held[probe.home], probe)

    await _until(probe, all_there, "replicas of all that the home holds")
    for source, replica in _replicas(held, probe).items():
        own = held[probe.home]["CareTeam"][source]
        for name in ("identifier", "name", "status", "period"):
            expect_same(replica.get(name), own.get(name), f"{name} of the replica of {source}")
        expect(_COPY in replica["meta"].get("tag", ()), f"the replica of {source} is not marked")
        expect_same(
            _known_as(held[subscriber], replica["subject"]),
            _known_as(held[probe.home], own["subject"]),
            f"the person of the replica of {source}",
        )
    seconds = probe.clock.monotonic() - began
    return f"{subscriber} holds {len(_replicas(held, probe))} replicas after {seconds:.1f} s, their people are local"


async def replicated(probe: Probe) -> str:
    """A change at the home is at the other one a moment later."""
    public = f"{probe.home}.{FOLLOWED}"
    circle = (await probe.send("GET", f"/fhir/CareTeam/{public}")).json
    name = f"{circle['name']} (répliqué)"
    began = probe.clock.monotonic()
    answer = await probe.send("PUT", f"/fhir/CareTeam/{public}", body=circle | {"name": name}, headers=_JSON)
    expect_same(answer.status, 200, "the update: status")

    async def there() -> bool:
        found = await _at_subscriber(probe, circle)
        return [one["name"] for one in found] == [name]

    await _until(probe, there, "the new name at the other manager")
    (replica,) = await _at_subscriber(probe, circle)
    expect_same(replica["meta"].get("source"), f"{probe.demo.base_url}/CareTeam/{public}", "meta.source")
    return f"at {probe.demo.managers[1].slug} after {(probe.clock.monotonic() - began) * 1000:.0f} ms"


async def answered_for(probe: Probe) -> str:
    """The home is away: the search finds the replica, and says so."""
    home, subscriber = probe.demo.managers[0], probe.demo.managers[1].slug
    circle = (await probe.send("GET", f"/fhir/CareTeam/{home.slug}.{FOLLOWED}")).json
    wanted = ("identifier", _token(circle))
    expect_same(ids(await probe.search("CareTeam", wanted)), [circle["id"]], "while the home answers")
    home.hang()
    bundle: Any = {}
    try:

        async def found() -> bool:
            nonlocal bundle
            answer = await probe.send("POST", "/fhir/CareTeam/_search", form=[wanted])
            bundle = answer.json
            return answer.status == 200 and bool(ids(bundle))

        await _until(probe, found, "the replica")
    finally:
        home.go_on()
    (shown,) = entries(bundle, "match")
    expect(shown["id"].startswith(f"{subscriber}."), f"{shown['id']} is shown")
    expect(_COPY in shown["meta"].get("tag", ()), "the replica is not marked")
    expect(("merge.replica-shown", "") in reasons(bundle), "it is not said to be a replica")

    async def back() -> bool:
        return ids(await probe.search("CareTeam", wanted)) == [circle["id"]]

    await _until(probe, back, "the home's circle, once it is back")
    return f"{home.slug} hangs: the replica at {subscriber} is shown, and said to be one"


# --- looking


async def _until(probe: Probe, condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await condition():
                await probe.clock.sleep(_LOOK)
    except TimeoutError:
        expect(held=False, otherwise=f"{what}: not after {_PATIENCE:.0f} s")


def _wanted(held: Held, probe: Probe) -> set[str]:
    """Circles of which the home is home. Of one the last manager holds a replica that somebody else made: it stays that."""
    subscriber, last = probe.demo.managers[1], probe.demo.managers[-1]
    taken = {REPLICATED} if subscriber is last else set()
    return {
        name for name, one in held["CareTeam"].items() if _COPY not in one.get("meta", {}).get("tag", ())
    } - taken


def _replicas(held: dict[str, Held], probe: Probe) -> dict[str, Resource]:
    """At the subscriber, of the home's circles, by their ids there."""
    beginning = f"{probe.demo.base_url}/CareTeam/{probe.home}."
    found = held[probe.demo.managers[1].slug]["CareTeam"].values()
    sources = ((str(one["meta"].get("source", "")), one) for one in found)
    return {source.removeprefix(beginning): one for source, one in sources if source.startswith(beginning)}


def _known_as(held: Held, reference: Resource) -> Any:
    """By which identifiers somebody is known whom a manager's own reference names."""
    kind, _, name = reference["reference"].partition("/")
    return held[kind][name]["identifier"]


async def _at_subscriber(probe: Probe, circle: Resource) -> list[Any]:
    base = probe.demo.managers[1].base_url
    answer = await probe.send("GET", f"{base}/CareTeam", query=[("identifier", _token(circle))])
    return [entry["resource"] for entry in answer.json.get("entry", ())]


def _token(circle: Resource) -> str:
    first = circle["identifier"][0]
    return f"{first['system']}|{first['value']}"
