"""The composition root: one `running_broker` is one process that serves, `running_background` one that does for several of
them what is done once. Only it and its parts, `broker.wiring_*`, know the adapters."""

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
from broker.settings import Settings
from broker.wiring_access import Access, tls_context
from broker.wiring_console import Console
from broker.wiring_ground import Part, federation_id
from broker.wiring_limits import Limits
from broker.wiring_observing import Observing
from broker.wiring_parts import Parts, grounded, run_in_background, show_figures
from registry.redis_store import RedisGestionnaireStore
from registry.toml_file import admitted, apply, read

__all__ = ["RunningBroker", "federation_id", "listening_socket", "running_background", "running_broker"]

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


def listening_socket(settings: Settings, *, shared: bool = False) -> socket.socket:
    """Bound before anything is started, so that a port of 0 is known when links are made. `shared`: others listen on it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server(
        (settings.host, settings.port), family=family, reuse_port=shared, backlog=1024
    )


@asynccontextmanager
async def running_broker(
    settings: Settings,
    *,
    redis_url: str,
    secret: bytes,
    listener: socket.socket | None = None,
    beside: socket.socket | None = None,
) -> AsyncIterator[RunningBroker]:
    """One that serves until the context ends. `redis_url`: of the given or of the embedded server.

    `beside`: the way to the processes that serve with it, one of which does the chores (`running_background`). None: it is
    the whole broker.
    """
    async with AsyncExitStack() as stack:
        bound = listener or listening_socket(settings)
        stack.callback(bound.close)
        if settings.port == 0:
            settings = settings.model_copy(update={"port": bound.getsockname()[1]})
        ground = await grounded(settings, redis_url, secret, beside, stack)
        access = await Access.wired(ground, stack)
        parts = await Parts.wired(ground, stack, access.recognised)
        context = await tls_context(settings)
        limits, observing = Limits.wired(ground, access.peers), Observing(ground)
        console = Console.wired(parts, access, observing.draining.begun)
        served: Sequence[Part] = [access, limits, observing, console, *parts.all()]
        show_figures(ground, served)
        app = _app(parts, access, limits, observing, console, served)
        runner = await _runner(app, limits, stack)
        listening = Listening(runner, bound, handshake_seconds=settings.limit_head_seconds)
        await asyncio.to_thread(preload)  # the first answer in XML does not wait for imports
        await asyncio.to_thread(preload_checks)  # nor the first write
        broker = RunningBroker(
            settings,
            settings.base_url,
            ground.store,
            ground.managers,
            parts.registry,
            ground.admit,
            ground.guard,
            access,
            listening,
            observing.draining,
        )
        await ground.managers.refresh()
        await broker.load_file()
        run_in_background([ground.managers.run(), runner.watch()], stack)
        run_in_background([work for part in served for work in part.background()], stack)
        if beside is None:
            run_in_background(parts.chores(), stack)
        # Closed before what runs is finished: who comes then is refused, and goes elsewhere.
        stack.callback(bound.close)
        await listening.take(context)
        await ground.sharing.serves()
        yield broker


@asynccontextmanager
async def running_background(
    settings: Settings, *, redis_url: str, secret: bytes, beside: socket.socket
) -> AsyncIterator[None]:
    """One that does the chores of those `beside` it and hears no request: publishing, crawling, settling, telling endpoints.
    It takes time from nobody's request. `settings.port`: on which the others serve."""
    async with AsyncExitStack() as stack:
        ground = await grounded(settings, redis_url, secret, beside, stack)
        parts = await Parts.wired(ground, stack)
        show_figures(ground, parts.all())
        await ground.managers.refresh()
        run_in_background([ground.managers.run()], stack)
        run_in_background([work for part in parts.all() for work in part.background()], stack)
        run_in_background(parts.chores(), stack)
        yield


def _app(
    parts: Parts,
    access: Access,
    limits: Limits,
    observing: Observing,
    console: Console,
    served: Sequence[Part],
) -> web.Application:
    ground, audit = parts.ground, parts.audit
    settings, managers = ground.settings, ground.managers
    app = build_app(
        [
            *(route for part in served for route in part.routes()),
            *(audit_routes(None) if audit is None else ()),
            *registry_routes(parts.registry),
            *registry_fhir_routes(parts.registry),
            *health_routes(
                lambda: managers.stale_since is None and not observing.draining.is_begun,
                parts.store.warnings,
            ),
            metrics_route(ground.sharing.page),
        ],
        surroundings=(
            *observing.outside(),
            *SURROUNDINGS,  # outermost first; who refuses requests goes behind them: they render the refusal
            console.middleware(),
            *observing.within(),
            *([] if audit is None else [audit.middleware(access.peers.address)]),
            limits.before(),
            authenticated(
                access.authenticator,
                access.peers,
                open_metrics=settings.metrics_open,
                signed_in=console.signed_in,
            ),
            limits.behind(),
            permitted(open_metrics=settings.metrics_open),
        ),
        max_request_bytes=settings.max_request_bytes,
    )
    app.on_shutdown.append(console.live.end)
    return app


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
