"""The composition root: one `running_broker` is one worker. Only it and its parts, `broker.wiring_*`, know the adapters."""

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
from broker.federation.registry_service import Admit, RegistryService
from broker.federation.skills_keeper import SkillsKeeper
from broker.gateway.app import SURROUNDINGS, build_app
from broker.gateway.audit_api import audit_routes
from broker.gateway.authentication import authenticated
from broker.gateway.draining import Draining
from broker.gateway.health import health_routes, metrics_route
from broker.gateway.http_server import HttpRunner
from broker.gateway.listening import Listening
from broker.gateway.permission import permitted
from broker.gateway.registry_api import registry_routes
from broker.gateway.registry_fhir import registry_fhir_routes
from broker.observability.metrics import Figures, metrics_page
from broker.settings import Settings
from broker.sync.disclosures import UNTRACED
from broker.wiring_access import Access, tls_context
from broker.wiring_audit import Audit
from broker.wiring_changes import Changes
from broker.wiring_conflicts import Conflicts
from broker.wiring_console import Console, Parts
from broker.wiring_ground import Ground, Part, federation_id
from broker.wiring_limits import Limits
from broker.wiring_locating import Locating
from broker.wiring_observing import Observing
from broker.wiring_reading import Reading
from broker.wiring_store import StoreWatch
from broker.wiring_writes import Writing
from registry.lease_store import RedisLeases
from registry.redis_store import RedisGestionnaireStore
from registry.toml_file import admitted, apply, read

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
    admit: Admit
    guard: ManagerGuard
    access: Access
    listening: Listening
    draining: Draining

    async def load_file(self) -> None:
        """Read the Gestionnaires file again (at start, on SIGHUP). Raises `ConfigurationError`, `StoreError`."""
        path = self.settings.gestionnaires
        if path is not None:
            declared = await asyncio.to_thread(read, path)
            await admitted(declared, self.admit, file=str(path))
            done = await apply(self.store, declared)
            _log.info("gestionnaires file: %d added, %d changed", len(done.added), len(done.changed))
            await self.managers.refresh()

    async def load_tls(self) -> None:
        """Read the TLS files again: new connections see what they say now. Raises `ConfigurationError`."""
        context = await tls_context(self.settings)
        if context is not None:
            await self.listening.take(context)


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
        watch = await StoreWatch.wired(ground)
        registry = RegistryService(ground.store, ground.checker, managers.refresh, ground.admit)
        audit = (
            await Audit.wired(ground, stack) if settings.audit_sinks else None
        )  # closes after all it traces
        access = await Access.wired(ground, stack)
        context = await tls_context(settings)
        limits = Limits.wired(ground, access.peers)
        observing = Observing(ground)
        console, offered = await _parts(ground, registry, access, audit, observing, stack)
        parts: list[Part] = [watch, access, limits, observing, console, *offered]
        parts += [] if audit is None else [audit]
        app = _app(ground, registry, access, limits, audit, watch, observing, console, parts)
        runner = await _runner(app, limits, stack)
        listening = Listening(runner, bound, handshake_seconds=settings.limit_head_seconds)
        await asyncio.to_thread(preload)  # the first answer in XML does not wait for imports
        await asyncio.to_thread(preload_checks)  # nor the first write
        broker = RunningBroker(
            settings,
            settings.base_url,
            ground.store,
            managers,
            registry,
            ground.admit,
            ground.guard,
            access,
            listening,
            observing.draining,
        )
        await managers.refresh()
        await broker.load_file()
        _run_in_background(ground, parts, runner, stack)
        # Closed before what runs is finished: who comes then is refused, and goes elsewhere.
        stack.callback(bound.close)
        await listening.take(context)
        yield broker


async def _parts(
    ground: Ground,
    registry: RegistryService,
    access: Access,
    audit: Audit | None,
    observing: Observing,
    stack: AsyncExitStack,
) -> tuple[Console, Sequence[Part]]:
    """The console; and the others in the order in which their routes are tried: those of the index and of synchronisation
    before the reads."""
    settings = ground.settings
    locating = Locating.wired(ground) if settings.locator else None
    guide = None if locating is None else locating.guide
    reading = Reading.wired(ground, locating, access.recognised)
    writing = Writing.wired(ground, reading, guide, stack)
    changes = None
    if settings.sync:
        locator = None if guide is None else guide.locator
        disclosures = UNTRACED if audit is None else audit.disclosures()
        changes = await Changes.wired(ground, reading, locator, stack, disclosures)
    conflicts = None
    if guide is not None:
        log = None if changes is None else changes.topics.log
        conflicts = Conflicts.wired(ground, guide.locator, log)
    shown = Parts(registry, locating, changes, conflicts, reading, audit)
    console = Console.wired(ground, shown, observing.draining.begun)
    return console, [one for one in (locating, conflicts, changes, reading, writing) if one is not None]


def _app(
    ground: Ground,
    registry: RegistryService,
    access: Access,
    limits: Limits,
    audit: Audit | None,
    watch: StoreWatch,
    observing: Observing,
    console: Console,
    parts: Sequence[Part],
) -> web.Application:
    managers, figures = ground.managers, [figure for part in parts for figure in part.figures()]
    app = build_app(
        [
            *(route for part in parts for route in part.routes()),
            *(audit_routes(None) if audit is None else ()),
            *registry_routes(registry),
            *registry_fhir_routes(registry),
            *health_routes(
                lambda: managers.stale_since is None and not observing.draining.is_begun, watch.warnings
            ),
            metrics_route(metrics_page(Figures(managers, ground.guard.states, figures))),
        ],
        surroundings=(
            *observing.outside(),
            *SURROUNDINGS,  # outermost first; who refuses requests goes behind them: they render the refusal
            console.middleware(),
            *observing.within(),
            *([] if audit is None else [audit.middleware(access.peers.address)]),
            limits.before(),
            authenticated(access.authenticator, access.peers, open_metrics=ground.settings.metrics_open),
            limits.behind(),
            permitted(open_metrics=ground.settings.metrics_open),
        ),
        max_request_bytes=ground.settings.max_request_bytes,
    )
    app.on_shutdown.append(console.live.end)
    return app


def _run_in_background(
    ground: Ground, parts: Sequence[Part], runner: HttpRunner, stack: AsyncExitStack
) -> None:
    leases = RedisLeases(ground.redis, keys=ground.keys)
    keeper = SkillsKeeper(ground.managers, ground.store, leases, ground.checker, ground.clock)
    background = [
        ground.managers.run(),
        keeper.run(),
        runner.watch(),
        *(work for part in parts for work in part.background()),
    ]
    for work in background:
        stack.push_async_callback(_cancelled, asyncio.create_task(work))


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End a background task. It is told until it ends: redis-py loses a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)


async def _runner(app: web.Application, limits: Limits, stack: AsyncExitStack) -> HttpRunner:
    runner = HttpRunner(
        app,
        bounds=limits.connections,
        handler_cancellation=True,  # a client that leaves takes its fan-out with it
        access_log=None,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner
