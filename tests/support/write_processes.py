"""Two broker processes and three manager processes around one store: what is killed and stopped in tests of writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
from redis import Redis

from tests.support.broker_process import Program, broker_program, sandbox_program
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy, unwatched
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until
from tests.support.write_world import PUBLIC, REGION, SLUGS, Managers, Node, client, organization

DEADLINE = 4.0
SETTLE = 0.4
BOUND = 20.0
"""Seconds after which a claim of whatever origin must be gone: far over what it takes, far under never."""


@dataclass(repr=False)
class Federated:
    """`brokers` and `boxes` are the processes; each manager is registered under its proxy's address."""

    http: aiohttp.ClientSession
    valkey: ValkeyServer
    brokers: list[Program]
    boxes: dict[str, Program]
    proxies: dict[str, FaultyProxy] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Node]:
        return [Node(self.http, one.base_url) for one in self.brokers]

    @property
    def managers(self) -> Managers:
        return Managers(self.http, {slug: box.base_url for slug, box in self.boxes.items()})

    def unwatched(self) -> None:
        for proxy in self.proxies.values():
            proxy.watch = unwatched

    async def restart_store(self) -> None:
        """SIGKILL, and the same data again. Every acknowledged change is on disk: see `durable`."""
        await asyncio.to_thread(self.valkey.kill)
        await asyncio.to_thread(self.valkey.restart)
        durable(self.valkey)


def durable(valkey: ValkeyServer) -> None:
    """Write before every answer: a killed server has then lost nothing that it acknowledged."""
    with Redis.from_url(valkey.url) as redis:
        redis.config_set("appendfsync", "always")


@asynccontextmanager
async def federated(directory: Path) -> AsyncIterator[Federated]:
    """Everything runs, and every manager knows `Organization/org` of its own, of identifier `org-{slug}`."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client())
        valkey = ValkeyServer(directory / "store")
        stack.callback(valkey.stop)
        durable(valkey)
        boxes = {slug: sandbox_program(region) for slug, region in REGION.items()}
        file = directory / "gestionnaires.toml"
        brokers = [
            broker_program(
                file,
                valkey.url,
                directory / f"node{number}",
                public_url=PUBLIC,
                write_deadline=str(DEADLINE),
                write_settle=str(SETTLE),
                locator_poll="0.5",
                probe_interval="0.5",
            )
            for number in range(2)
        ]
        for program in (*boxes.values(), *brokers):
            stack.push_async_callback(program.gone)
        await asyncio.gather(*(box.start() for box in boxes.values()))
        proxies = {
            slug: await stack.enter_async_context(faulty_proxy(box.base_url)) for slug, box in boxes.items()
        }
        file.write_text(_declared(proxies))
        world = Federated(http, valkey, brokers, boxes, proxies)
        for slug in SLUGS:
            await world.managers.put(slug, {"id": "org", **organization(f"org-{slug}")})
        # One after the other: both would write the file's managers into the registry.
        for broker in brokers:
            await broker.start()
        await covered(world)
        yield world


def _declared(proxies: dict[str, FaultyProxy]) -> str:
    return "\n".join(
        f'[[gestionnaire]]\nid = "{slug}"\nname = "Gestionnaire {slug}"\nregion = "{REGION[slug]}"\n'
        f'base_url = "{proxy.base_url}"\ndialect = "gestionnaire"\n'
        for slug, proxy in proxies.items()
    )


async def covered(world: Federated) -> None:
    """Wait until the index covers every manager at every node, so that it can say who holds nothing."""
    for node in world.nodes:
        await until(partial(_knows_all, node), seconds=30.0)


async def _knows_all(node: Node) -> bool:
    answered = await node.tried("GET", "../registry/locator")
    if answered is None or answered.status != 200:
        return False
    return [one["fresh"] for one in answered.json["managers"]] == [True] * len(SLUGS)
