"""Synchronisation in the demonstration: one region's agent, and what to try with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from adapters.clock import SystemClock
from broker.commands.demo_cast import FOLLOWED
from broker.commands.demo_federation import Demo, DemoManager
from broker.commands.demo_writes import Suggestion
from broker.settings import Settings
from broker.wiring_sync import redis_log, running_agent
from registry.model import TRE_R30, Gestionnaire
from registry.redis_connection import connect


@asynccontextmanager
async def working_agent(settings: Settings, redis_url: str, manager: DemoManager) -> AsyncIterator[None]:
    """The agent of a manager, as its region would run it. Until somebody subscribes for it, it waits for its topic."""
    stop, clock = asyncio.Event(), SystemClock()
    client = connect(redis_url)
    try:
        declared = Gestionnaire(manager.slug, manager.role.name, manager.role.region, manager.base_url)
        log = redis_log(settings, clock, client)
        async with running_agent(log, declared, clock, stop, settings=settings) as agent:
            working = asyncio.create_task(agent.run(stop))
            try:
                yield
            finally:
                stop.set()
                await working
    finally:
        await client.aclose()


def subscription(running: Demo) -> dict[str, Any]:
    """Of the second manager, to the circles of the first one's region."""
    home, subscriber = running.managers[0], running.managers[1]
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Tenir la région à jour",
        "criteria": f"CareTeam?_tag={TRE_R30}|{home.role.region}",
        "channel": {
            "type": "message",
            "endpoint": f"kafka:{subscriber.slug}",
            "payload": "application/fhir+json",
        },
    }


def sync_suggestions(running: Demo, directory: Path, identifier: str) -> list[Suggestion]:
    """`directory`: where the bodies are. `identifier`: of the first manager's circle `FOLLOWED`, `system|value`."""
    base, home, subscriber = running.base_url, running.managers[0], running.managers[1]
    (directory / "subscription.json").write_bytes(orjson.dumps(subscription(running)))
    send = "curl -si -H 'Content-Type: application/fhir+json'"
    followed = f"{base}/CareTeam/{home.slug}.{FOLLOWED}"
    there = f"curl -s {subscriber.base_url}/CareTeam/_search --data-urlencode {json.dumps('identifier=' + identifier)}"
    found = f"curl -s {base}/CareTeam/_search --data-urlencode {json.dumps('identifier=' + identifier)}"
    return [
        (
            (
                f"{subscriber.role.name} s'abonne aux cercles de {home.role.name} ; son agent en tient des copies",
                f"{subscriber.role.name} subscribes to {home.role.name}'s circles; its agent keeps replicas of them",
            ),
            f"{send} {base}/Subscription -d @{directory}/subscription.json; sleep 3\n{there}",
        ),
        (
            (
                "Un cercle change chez l'un : la copie change chez l'autre",
                "A circle changes at the one: the replica changes at the other",
            ),
            (
                f'curl -s {followed} | sed \'s/"name":"/&Nouveau /\' | {send} -X PUT {followed} -d @-; sleep 1\n'
                f"{there}"
            ),
        ),
        (
            (
                f"{home.role.name} ne répond plus : la copie est montrée, et dite copie",
                f"{home.role.name} hangs: the replica is shown, and said to be one",
            ),
            f"kill -STOP {home.pid}; {found}; kill -CONT {home.pid}",
        ),
    ]
