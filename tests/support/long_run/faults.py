"""What goes wrong, and comes right again: each fault lasts as long as it is told, and leaves everybody running."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping

from tests.support.long_run.site import HOMES, Site

Fault = Callable[[Site, random.Random, float], Awaitable[None]]
"""With the seconds that it is to last, about."""


async def manager_hangs(site: Site, dice: random.Random, seconds: float) -> None:
    """It keeps its connections and answers nothing."""
    box = site.boxes[dice.choice(HOMES)]
    box.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        box.send_signal(signal.SIGCONT)


async def manager_is_killed(site: Site, dice: random.Random, seconds: float) -> None:
    slug = dice.choice(HOMES)
    site.boxes[slug].kill()
    await site.boxes[slug].gone()
    await asyncio.sleep(seconds)
    await site.boxes[slug].start()


async def manager_is_slow(site: Site, dice: random.Random, seconds: float) -> None:
    box = site.boxes[dice.choice(HOMES)]
    box.send_signal(signal.SIGUSR1)
    try:
        await asyncio.sleep(seconds)
    finally:
        box.send_signal(signal.SIGUSR2)


async def subscriber_is_killed(site: Site, _: random.Random, seconds: float) -> None:
    """The manager that the agent writes to."""
    slug = next(slug for slug in site.boxes if slug not in HOMES)
    site.boxes[slug].kill()
    await site.boxes[slug].gone()
    await asyncio.sleep(seconds)
    await site.boxes[slug].start()


async def store_drops_connections(site: Site, dice: random.Random, seconds: float) -> None:
    """All of them, again and again; it keeps what it holds."""
    left = seconds
    while left > 0:
        await asyncio.to_thread(_drop, site)
        pause = dice.uniform(0.2, 1.0)
        await asyncio.sleep(pause)
        left -= pause


def _drop(site: Site) -> None:
    with site.redis() as redis:
        for kind in ("normal", "pubsub"):
            redis.client_kill_filter(_type=kind, skipme=True)


async def kafka_is_killed(site: Site, _: random.Random, seconds: float) -> None:
    await asyncio.to_thread(site.kafka.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(site.kafka.restart)


async def agent_restarts(site: Site, _: random.Random, seconds: float) -> None:
    await site.agent.stopped()
    await asyncio.sleep(seconds)
    await site.agent.start()


FAULTS: Mapping[str, Fault] = {
    "a manager hangs": manager_hangs,
    "the store drops its connections": store_drops_connections,
    "a manager is killed": manager_is_killed,
    "Kafka is killed": kafka_is_killed,
    "a manager is slow": manager_is_slow,
    "the agent restarts": agent_restarts,
    "the subscriber's manager is killed": subscriber_is_killed,
}
