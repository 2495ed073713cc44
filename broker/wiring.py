"""The composition root: one `running_broker` is one worker. It knows every adapter, through the parts of `broker.wiring_*`."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from broker.core.fhir_schema import preload
from broker.core.structure import preload as preload_checks
from broker.federation.manager_guard import ManagerGuard
from broker.federation.managers import ManagersView
from broker.federation.registry_service import RegistryService
from broker.federation.skills_keeper import SkillsKeeper
from broker.gateway.app import SURROUNDINGS, build_app
from broker.gateway.health import health_routes, metrics_route
from broker.gateway.http_server import MAX_LINE, HttpRunner
from broker.gateway.registry_api import registry_routes
from broker.gateway.registry_fhir import registry_fhir_routes
from broker.observability.metrics import Figures, metrics_page
from broker.settings import Settings
from broker.wiring_changes import Changes
from broker.wiring_ground import Ground, Part, federation_id
from broker.wiring_locating import Locating
from broker.wiring_reading import Reading
from broker.wiring_writes import Writing
from registry.lease_store import RedisLeases
from registry.redis_store import RedisGestionnaireStore
from registry.toml_file import apply, read

__all__ = ["RunningBroker", "federation_id", "listening_socket", "running_broker"]

_log = logging.getLogger("broker")

_SHUTDOWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """What a started worker can be asked by its process: its address, its store, its managers."""

    settings: Settings
    base_url: str
    store: RedisGestionnaireStore
    managers: ManagersView
    registry: RegistryService
    guard: ManagerGuard

    async def load_file(self) -> None:
        """Read the Gestionnaires file again (at start, on SIGHUP). Raises `ConfigurationError`, `StoreError`."""
        path = self.settings.gestionnaires
        if path is not None:
            done = await apply(self.store, await asyncio.to_thread(read, path))
            _log.info("gestionnaires file: %d added, %d changed", len(done.added), len(done.changed))
            await self.managers.refresh()


def listening_socket(settings: Settings) -> socket.socket:
    """Bound before anything is started, so that a port of 0 is known when links are made."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server(
        (settings.host, settings.port), family=family, reuse_port=settings.workers > 1, backlog=1024
    )


@asynccontextmanager
async def running_broker(
    settings: Settings, *, redis_url: str, secret: bytes, listener: socket.socket | None = None
) -> AsyncIterator[RunningBroker]:
    """One worker, serving until the context ends. `redis_url`: of the given or of the embedded server."""
    async with AsyncExitStack() as stack:
        bound = listener or listening_socket(settings)
        stack.callback(bound.close)
        if settings.port == 0:
            settings = settings.model_copy(update={"port": bound.getsockname()[1]})
        ground = Ground.wired(settings, redis_url, secret, stack)
        managers = ground.managers
        registry = RegistryService(ground.store, ground.checker, managers.refresh)
        parts = await _parts(ground, stack)
        app = _app(ground, registry, parts)
        await asyncio.to_thread(preload)  # the first answer in XML does not wait for imports
        await asyncio.to_thread(preload_checks)  # nor the first write
        broker = RunningBroker(settings, settings.base_url, ground.store, managers, registry, ground.guard)
        await managers.refresh()
        await broker.load_file()
        _run_in_background(ground, parts, stack)
        await _serve(app, bound, stack)
        yield broker


async def _parts(ground: Ground, stack: AsyncExitStack) -> Sequence[Part]:
    """In the order in which their routes are tried: those of the index and of synchronisation before the reads."""
    settings = ground.settings
    locating = Locating.wired(ground) if settings.locator else None
    guide = None if locating is None else locating.guide
    reading = Reading.wired(ground, locating)
    writing = Writing.wired(ground, reading, guide, stack)
    changes = None
    if settings.sync:
        locator = None if guide is None else guide.locator
        changes = await Changes.wired(ground, reading, locator, stack)
    return [one for one in (locating, changes, reading, writing) if one is not None]


def _app(ground: Ground, registry: RegistryService, parts: Sequence[Part]) -> web.Application:
    managers, figures = ground.managers, [figure for part in parts for figure in part.figures()]
    return build_app(
        [
            *(route for part in parts for route in part.routes()),
            *registry_routes(registry),
            *registry_fhir_routes(registry),
            *health_routes(lambda: bool(managers.stale_since is None)),
            metrics_route(metrics_page(Figures(managers, ground.guard.states, figures))),
        ],
        surroundings=SURROUNDINGS,  # outermost first: whatever refuses requests stands within them
        max_request_bytes=ground.settings.max_request_bytes,
    )


def _run_in_background(ground: Ground, parts: Sequence[Part], stack: AsyncExitStack) -> None:
    leases = RedisLeases(ground.redis, keys=ground.keys)
    keeper = SkillsKeeper(ground.managers, ground.store, leases, ground.checker, ground.clock)
    background = [
        ground.managers.run(),
        keeper.run(),
        *(work for part in parts for work in part.background()),
    ]
    for work in background:
        stack.push_async_callback(_cancelled, asyncio.create_task(work))


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End a background task. It is told until it ends: redis-py loses a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)


async def _serve(app: web.Application, bound: socket.socket, stack: AsyncExitStack) -> None:
    runner = HttpRunner(
        app,
        handler_cancellation=True,  # a client that leaves takes its fan-out with it
        access_log=None,
        shutdown_timeout=_SHUTDOWN_SECONDS,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, bound).start()
