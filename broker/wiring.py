"""The composition root: the only place that knows every adapter. One `running_broker` is one worker."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from aiohttp import web

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker import __version__
from broker.core.breaker import BreakerPolicy
from broker.core.capability import federation_statement
from broker.core.dialects import effective_skills
from broker.core.fhir_schema import preload
from broker.core.statement import pseudonym
from broker.core.structure import preload as preload_checks
from broker.federation.check import check
from broker.federation.federation import Federation
from broker.federation.history import HistoryService
from broker.federation.locate import LocateService
from broker.federation.locating import LocatorGuide
from broker.federation.manager_guard import ManagerGuard
from broker.federation.managers import ManagersView
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.federation.read import ReadService
from broker.federation.registry_service import RegistryService
from broker.federation.search import SearchService
from broker.federation.skills_keeper import SkillsKeeper
from broker.gateway.app import build_app
from broker.gateway.fhir_request import RequestRules
from broker.gateway.fhir_routes import FhirRoutes
from broker.gateway.health import health_routes, metrics_route
from broker.gateway.http_server import MAX_LINE, HttpRunner
from broker.gateway.locate_routes import LocateRoutes
from broker.gateway.locator_api import locator_routes
from broker.gateway.plan_api import plan_routes
from broker.gateway.registry_api import registry_routes
from broker.gateway.registry_fhir import registry_fhir_routes
from broker.locator_secret import previous_secrets
from broker.observability.metrics import Figures, Room, metrics_page
from broker.observability.metrics_locator import LocatorFigures
from broker.ports import Clock
from broker.settings import Settings
from broker.sync.conflict_watch import ConflictWatch
from broker.sync.feed_events import FeedEvents
from broker.sync.keeper import LocatorKeeper
from broker.sync.observer import LocatorObserver
from broker.sync.options import SyncOptions
from broker.sync.service import LocatorService
from broker.wiring_changes import Changes, ChangesParts
from broker.wiring_writes import Writing, WritingParts
from registry.alias_store import RedisAliasStore
from registry.lease_store import RedisLeases
from registry.locator import RedisLocator
from registry.outbox import RedisOutbox
from registry.page_store import RedisCursorStore
from registry.redis_connection import RedisClient, connect
from registry.redis_keys import RedisKeys
from registry.redis_store import RedisGestionnaireStore
from registry.toml_file import apply, read

_log = logging.getLogger("broker")

_CHECK_TIMEOUT = 5.0
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


def federation_id(secret: bytes) -> str:
    """The federation's name among brokers: the same on every node, and no hint at the secret."""
    return hmac.new(secret, b"cds-broker federation id", hashlib.sha256).hexdigest()[:16]


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
        clock = SystemClock()
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        keys = RedisKeys(settings.redis_prefix)
        store = RedisGestionnaireStore(redis, clock, keys=keys)
        managers = ManagersView(store, clock, refresh_seconds=settings.registry_refresh)
        client = HttpManagerClient(clock, max_bytes=settings.max_answer_bytes)
        stack.push_async_callback(client.aclose)
        guard = ManagerGuard(
            client,
            managers,
            clock,
            default_timeout=settings.search_deadline,
            policy=BreakerPolicy(
                probe_interval=settings.probe_interval, max_interval=settings.probe_interval
            ),
        )
        stack.push_async_callback(guard.aclose)

        own_id = federation_id(secret)
        # A check asks odd things on purpose: what it is answered opens nobody's breaker.
        checker = partial(check, guard.unjudged(), clock, timeout=_CHECK_TIMEOUT, federation_id=own_id)
        registry = RegistryService(store, checker, managers.refresh)
        federation = Federation(
            managers=managers,
            client=guard,
            aliases=RedisAliasStore(redis, keys=keys),
            pages=PageKeeper(RedisCursorStore(redis, keys=keys), secret, settings.page_ttl),
            origins=Origins(settings.base_url, managers),
            options=_options(settings, own_id),
            skills_of=effective_skills,
        )
        locating = None
        if settings.locator:
            locating = _locating(
                settings, RedisParts(redis, keys, secret), federation, guard, managers, clock
            )
        searches = (
            SearchService(federation)
            if locating is None
            else SearchService(federation, locating.guide, locating.observer.seen)
        )
        reads = ReadService(federation)
        fhir = FhirRoutes(
            searches=searches,
            reads=reads,
            histories=HistoryService(federation, reads),
            statement=lambda: federation_statement(
                managers.all(),
                public_base=settings.base_url,
                version=__version__,
                now=clock.now().isoformat(timespec="seconds"),
                federation_id=own_id,
                writes=True,
                subscriptions=settings.sync,
            ),
            rules=RequestRules(own_id, settings.search_deadline),
            clock=clock,
            max_count=settings.max_count,
            default_count=settings.default_count,
        )
        known_secrets = [secret, *previous_secrets(settings)]
        writing = Writing.wired(
            settings,
            WritingParts(redis, keys, known_secrets, clock, own_id),
            federation,
            reads,
            searches,
            None if locating is None else locating.guide,
        )
        stack.push_async_callback(writing.detached.aclose)
        changes = None
        if settings.sync:
            told = ChangesParts(
                redis,
                keys,
                known_secrets,
                clock,
                managers,
                federation,
                reads,
                guard.unjudged(),
                None if locating is None else locating.guide.locator,
            )
            changes = await Changes.wired(settings, told, stack)
        rooms: list[Room] = [writing.figures()]
        rooms += [] if locating is None else [locating.figures()]
        rooms += [] if changes is None else [changes.figures()]
        app = build_app(
            [
                # Before the reads: `$locate` and `$status` would be taken for ids.
                *(() if locating is None else locating.routes(federation, fhir.rules)),
                *(() if changes is None else changes.routes()),
                *fhir.routes(),
                *writing.routes.routes(),
                *registry_routes(registry),
                *registry_fhir_routes(registry),
                *plan_routes(searches.explain, max_count=settings.max_count),
                *health_routes(lambda: bool(managers.stale_since is None)),
                metrics_route(metrics_page(Figures(managers, guard.states, rooms))),
            ],
            max_request_bytes=settings.max_request_bytes,
        )
        await asyncio.to_thread(preload)  # the first answer in XML does not wait for imports
        await asyncio.to_thread(preload_checks)  # nor the first write
        broker = RunningBroker(settings, settings.base_url, store, managers, registry, guard)
        await managers.refresh()
        await broker.load_file()
        keeper = SkillsKeeper(managers, store, RedisLeases(redis, keys=keys), checker, clock)
        background = [managers.run(), keeper.run(), writing.settler.run()]
        if locating is not None:
            background += [locating.keeper.run(), locating.observer.run(), locating.watch.run()]
        if changes is not None:
            await changes.view.refresh()
            background += changes.background()
        for work in background:
            task = asyncio.create_task(work)
            stack.push_async_callback(_cancelled, task)
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
        yield broker


@dataclass(frozen=True, slots=True)
class RedisParts:
    """The connection, the names of the keys, and the secret that hides who is in them."""

    client: RedisClient
    keys: RedisKeys
    secret: bytes


@dataclass(frozen=True, slots=True)
class Locating:
    """The index, what feeds it, and who asks it."""

    guide: LocatorGuide
    keeper: LocatorKeeper
    observer: LocatorObserver
    service: LocatorService
    watch: ConflictWatch

    def figures(self) -> LocatorFigures:
        return LocatorFigures(
            self.guide, lambda: self.watch.count, lambda: (self.observer.learnt, self.observer.dropped)
        )

    def routes(self, federation: Federation, rules: RequestRules) -> Iterable[web.RouteDef]:
        yield from locator_routes(self.service)
        yield from LocateRoutes(LocateService(federation, self.guide), rules).routes()


def _locating(
    settings: Settings,
    redis: RedisParts,
    federation: Federation,
    guard: ManagerGuard,
    managers: ManagersView,
    clock: Clock,
) -> Locating:
    locator = RedisLocator(
        redis.client,
        clock,
        redis.secret,
        previous=previous_secrets(settings),
        expected=settings.locator_circles,
        keys=redis.keys,
    )
    guide = LocatorGuide(locator, clock, settings.locator_freshness)
    keeper = LocatorKeeper(
        managers,
        # A crawl asks for more at a time than a search: what it is answered opens nobody's breaker.
        replace(federation, client=guard.unjudged()),
        locator,
        clock,
        node=secrets.token_hex(8),
        via=f"1.1 {pseudonym(federation.options.federation_id)}",
        options=SyncOptions(
            poll=settings.locator_poll,
            overlap=settings.locator_overlap,
            recrawl=settings.locator_recrawl,
        ),
        listener=FeedEvents(RedisOutbox(redis.client, keys=redis.keys)).seen if settings.sync else None,
    )
    return Locating(
        guide,
        keeper,
        LocatorObserver(locator, clock),
        LocatorService(locator, managers, guide, clock),
        ConflictWatch(locator, clock),
    )


def _options(settings: Settings, own_id: str) -> FederationOptions:
    return FederationOptions(
        public_base=settings.base_url,
        federation_id=own_id,
        default_count=settings.default_count,
        max_count=settings.max_count,
        page_ttl=settings.page_ttl,
        sort_bound=settings.sort_bound,
    )


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End a background task. It is told until it ends: redis-py loses a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
