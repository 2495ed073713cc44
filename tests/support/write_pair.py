"""Two brokers and three managers in one event loop, with a proxy before each manager that fails when it is told to."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store, Version
from broker.settings import Settings
from broker.wiring import running_broker
from registry.model import Gestionnaire
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy, unwatched
from tests.support.federation import SECRET, outcomes_of
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_world import PUBLIC, REGION, SLUGS, Managers, Node, client, organization

DEADLINE = 10.0
SETTLE = 0.15
BOUND = 20.0
"""Seconds after which everything that was unknown must be known."""

QUICK: dict[str, Any] = {
    "public_url": PUBLIC,
    "write_deadline": DEADLINE,
    "write_settle": SETTLE,
    "probe_interval": 0.05,
    "locator": True,
    "locator_poll": 0.2,
    "locator_overlap": 2.0,
    "locator_freshness": 20.0,
}


@dataclass(repr=False)
class Pair:
    """`nodes` are the two brokers; every manager holds `Organization/org`, of identifier `org-{slug}`."""

    http: aiohttp.ClientSession
    nodes: list[Node]
    stores: dict[str, Store]
    proxies: dict[str, FaultyProxy]
    managers: Managers

    def written(self, kind: str, mark: str) -> dict[str, list[Version]]:
        """Every version with this mark in it, by manager: those that have one."""
        found = {
            slug: [one for one in store.changes(kind) if mark.encode() in one.raw]
            for slug, store in self.stores.items()
        }
        return {slug: versions for slug, versions in found.items() if versions}

    def reached(self, mark: str) -> int:
        """How many writes with this mark the managers have received."""
        return sum(len(proxy.writes(mark)) for proxy in self.proxies.values())

    async def healthy(self) -> None:
        """Wait until nothing is under way, and both nodes reach every manager again."""
        for proxy in self.proxies.values():
            proxy.watch = unwatched
            proxy.faults.clear()
            await proxy.accept()
            await proxy.quiet()
            proxy.release.clear()

        async def complete() -> bool:
            for node in self.nodes:
                found = await node.send("GET", "Organization?name=org&_count=1")
                if found.status != 200 or outcomes_of(found.json):
                    return False
            return True

        await until(complete, seconds=BOUND)


@asynccontextmanager
async def pair(valkey: Valkey, **settings: Any) -> AsyncIterator[Pair]:
    """Everything runs. `settings`: names of `Settings`, for both brokers."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client())
        stores: dict[str, Store] = {}
        addresses: dict[str, str] = {}
        proxies: dict[str, FaultyProxy] = {}
        registered = []
        for slug in SLUGS:
            stores[slug] = Store(SystemClock(), SandboxOptions())
            box = await stack.enter_async_context(running_sandbox(store=stores[slug]))
            addresses[slug] = box.base_url
            proxies[slug] = await stack.enter_async_context(faulty_proxy(box.base_url))
            registered.append(
                Gestionnaire(
                    id=slug,
                    name=f"Gestionnaire {slug}",
                    region=REGION[slug],
                    base_url=proxies[slug].base_url,
                    dialect="gestionnaire",
                )
            )
        managers = Managers(http, addresses)
        for slug in SLUGS:
            await managers.put(slug, {"id": "org", **organization(f"org-{slug}")})
        nodes = [
            Node(http, await stack.enter_async_context(_broker(valkey, QUICK | settings, registered)))
            for _ in range(2)
        ]
        yield Pair(http, nodes, stores, proxies, managers)


@asynccontextmanager
async def _broker(
    valkey: Valkey, settings: dict[str, Any], managers: Sequence[Gestionnaire]
) -> AsyncIterator[str]:
    """A broker, by the address that it listens on, which is not the one that it calls itself by."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = Settings.load(auth="none", audit="none", redis_prefix=valkey.keys.prefix, **settings)
    async with running_broker(made, redis_url=valkey.url, secret=SECRET, listener=listener) as running:
        for manager in managers:
            await running.store.put(manager)
        await running.managers.refresh()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
