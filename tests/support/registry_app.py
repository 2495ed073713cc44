"""The registry's routes on a real server, over a store of the test's choice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from aiohttp import web

from broker.core.access.principal import Principal
from broker.core.query import SearchQuery
from broker.core.routing import Plan
from broker.errors import RequestError
from broker.federation.locating import LocatorGuide
from broker.federation.managers import ManagersView
from broker.federation.registry_service import RegistryService, VersionedStore
from broker.gateway.audit_api import audit_routes
from broker.gateway.conflict_api import conflict_routes
from broker.gateway.locator_api import locator_routes
from broker.gateway.plan_api import plan_routes
from broker.gateway.registry_api import registry_routes
from broker.gateway.registry_errors import registry_errors
from broker.gateway.registry_fhir import registry_fhir_routes
from broker.gateway.sync_api import sync_routes
from broker.ports import Clock
from broker.sync.service import LocatorService
from registry.model import Gestionnaire, Skills
from tests.support.access import as_local
from tests.support.fake_locator import FakeLocator
from tests.support.fake_stores import FakeGestionnaireStore, ManualClock


async def skilled(manager: Gestionnaire) -> Skills:
    """A check that finds the same at everybody."""
    return Skills(checked_at="2026-01-01T00:00:00Z", chaining=False, lacks=("chaining",))


async def no_plan(query: SearchQuery, principal: Principal) -> Plan:
    """There is no search behind this application; its plan route is here to be described."""
    raise RequestError("federation.no-manager")


@dataclass
class RegistryApp:
    app: web.Application
    url: str
    view: ManagersView
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """Status, parsed body (None where empty) and headers."""
        async with self.session.request(method, self.url + path, **options) as response:
            content = await response.read()
            return (
                response.status,
                await response.json(content_type=None) if content else None,
                response.headers,
            )


@asynccontextmanager
async def registry_app(
    store: VersionedStore | None = None,
    *,
    clock: Clock | None = None,
    check: Callable[[Gestionnaire], Awaitable[Skills]] = skilled,
    admit: Callable[[Gestionnaire], Awaitable[None]] | None = None,
) -> AsyncIterator[RegistryApp]:
    store = store or FakeGestionnaireStore()
    view = ManagersView(store, clock or ManualClock())
    service = RegistryService(store, check, view.refresh, **({} if admit is None else {"admit": admit}))
    locator = FakeLocator(clock or ManualClock())
    guide = LocatorGuide(locator, locator.clock, 30.0)
    app = web.Application(client_max_size=64 * 1024, middlewares=[registry_errors, as_local])
    app.add_routes([*registry_routes(service), *plan_routes(no_plan, max_count=200)])
    app.add_routes(locator_routes(LocatorService(locator, view, guide, locator.clock)))
    app.add_routes(registry_fhir_routes(service))
    app.add_routes(sync_routes(cast("Any", None)))  # here to be described: there is nothing behind them
    app.add_routes([*conflict_routes(cast("Any", None)), *audit_routes(None)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as session:
        yield RegistryApp(app, f"http://{host}:{port}", view, session)
    await runner.cleanup()
