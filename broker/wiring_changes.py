"""Synchronisation in a worker, put together: log, publisher, subscriptions. A part of the composition root."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from adapters.hook_http import HttpHookClient
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.core.sealing import Sealer
from broker.core.statement import pseudonym
from broker.core.subscription import Subscription
from broker.federation.federation import Federation
from broker.federation.managers import ManagersView
from broker.federation.read import ReadService
from broker.gateway.fhir_request import RequestRules
from broker.gateway.subscription_routes import SubscriptionRoutes
from broker.gateway.sync_api import sync_routes
from broker.observability.metrics_sync import PublishLatency, SyncFigures
from broker.ports import Clock, ManagerClient
from broker.settings import Settings, is_loopback
from broker.settings_sync import networks
from broker.sync.bootstrap import Bootstrap, Save
from broker.sync.bootstrap_options import BootstrapOptions
from broker.sync.bootstraps import Bootstraps, Followed
from broker.sync.change_log import ChangeLog
from broker.sync.event_records import EventRecords
from broker.sync.fetch import FederationHomes
from broker.sync.options import SyncOptions
from broker.sync.publisher import Publisher
from broker.sync.reader import ManagerReader
from broker.sync.rest_hook import RestHooks
from broker.sync.routing import ChangeRouter
from broker.sync.subscriptions import SubscriptionOptions, SubscriptionService
from broker.sync.subscriptions_view import SubscriptionForm, SubscriptionsView
from broker.sync.sync_service import SyncService, subscribers
from broker.sync.topic_keeper import TopicKeeper
from broker.sync.watch import SyncWatch
from broker.wiring_sync import kafka_log, redis_log
from registry.bootstrap_model import BootstrapProgress
from registry.bootstrap_store import RedisBootstrapStore
from registry.hook_queue import RedisHookQueue
from registry.lease_store import RedisLeases
from registry.locator_model import CoverageState
from registry.model import Registered
from registry.outbox import RedisOutbox
from registry.ports import Locator
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.sent_circles import RedisSentCircles
from registry.subscription_store import RedisSubscriptionStore


@dataclass(frozen=True, slots=True)
class ChangesParts:
    """`secrets`: the present one first, then those before it. `unjudged`: see `ManagerGuard`."""

    redis: RedisClient
    keys: RedisKeys
    secrets: Sequence[bytes]
    clock: Clock
    managers: ManagersView
    federation: Federation
    reads: ReadService
    unjudged: ManagerClient
    locator: Locator | None

    @property
    def via(self) -> str:
        return f"1.1 {pseudonym(self.federation.options.federation_id)}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a worker serves and runs in the background of synchronisation."""

    topics: TopicKeeper
    publisher: Publisher
    view: SubscriptionsView
    service: SubscriptionService
    hooks: RestHooks
    watch: SyncWatch
    subscription_routes: SubscriptionRoutes
    bootstraps: Bootstraps
    status: SyncService
    latency: PublishLatency = field(repr=False)

    @classmethod
    async def wired(cls, settings: Settings, parts: ChangesParts, stack: AsyncExitStack) -> Changes:
        """What is opened closes with the stack. Raises `ConfigurationError`."""
        clock, keys, prefix = parts.clock, parts.keys, settings.topic_prefix
        log = await _log(settings, parts, stack)
        outbox = RedisOutbox(parts.redis, keys=keys)
        sealer = Sealer(parts.secrets)
        store = RedisSubscriptionStore(parts.redis, sealer, clock, keys=keys)
        queue = RedisHookQueue(parts.redis, sealer, clock, keys=keys)
        form = SubscriptionForm(settings.base_url, prefix, clock)
        view = SubscriptionsView(store, form, clock, refresh_seconds=settings.registry_refresh)
        topics = TopicKeeper(
            log,
            RedisLeases(parts.redis, keys=keys),
            clock,
            prefix,
            partitions=settings.topic_partitions,
            retention=settings.topic_retention,
            wanted=lambda: subscribers(view),
        )
        rules = _addresses(settings)
        service = SubscriptionService(
            store,
            queue,
            view,
            parts.managers,
            form,
            clock,
            topics.open,
            lambda: secrets.token_hex(8),
            lambda: secrets.token_urlsafe(32),
            SubscriptionOptions(addresses=rules),
        )
        client = HttpHookClient(rules)
        stack.push_async_callback(client.aclose)
        homes = FederationHomes(parts.managers, parts.federation, parts.reads, clock, parts.via)
        latency = PublishLatency()
        sent, records = RedisSentCircles(parts.redis, keys=keys), EventRecords(settings.base_url, prefix)
        publisher = Publisher(
            secrets.token_hex(8),
            outbox,
            log,
            homes,
            ChangeRouter(view, sent, queue, settings.base_url),
            records,
            clock,
            observe=latency.observe,
        )
        request_rules = RequestRules(parts.federation.options.federation_id, settings.search_deadline)
        bootstraps = _bootstraps(settings, parts, Sources(homes, outbox, sent, log, records), view)
        watch = SyncWatch(outbox, log, clock, lambda: subscribers(view), prefix)
        return cls(
            topics=topics,
            publisher=publisher,
            view=view,
            service=service,
            hooks=RestHooks(store, queue, client, form, clock, random.random),
            watch=watch,
            subscription_routes=SubscriptionRoutes(service, settings.base_url, request_rules, clock),
            bootstraps=bootstraps,
            status=SyncService(
                "redis-streams" if settings.kafka_bootstrap is None else "kafka",
                watch,
                publisher,
                view,
                bootstraps,
                parts.managers,
            ),
            latency=latency,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        """To stand before those of the reads."""
        yield from self.subscription_routes.routes()
        yield from sync_routes(self.status)

    def background(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self.topics.run(),
            self._publish(),
            self.view.run(),
            self.service.run(),
            self.hooks.run(),
            self.watch.run(),
            self.bootstraps.run(),
        ]

    async def _publish(self) -> None:
        await self.topics.ready()
        await self.publisher.run()

    def figures(self) -> SyncFigures:
        return SyncFigures(
            watch=self.watch,
            publisher=self.publisher,
            hooks=self.hooks.figures,
            queues=self.service.queues,
            subscriptions=self.status.by_status,
            bootstraps=self.status.by_state,
            latency=self.latency,
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """What a bootstrap reads, and where it sends."""

    homes: FederationHomes
    outbox: RedisOutbox
    sent: RedisSentCircles
    log: ChangeLog
    records: EventRecords


def _bootstraps(
    settings: Settings, parts: ChangesParts, sources: Sources, view: SubscriptionsView
) -> Bootstraps:
    clock = parts.clock
    options = BootstrapOptions(overlap=settings.locator_overlap)
    # Asks for more at a time than a search: what it is answered opens nobody's breaker.
    federation = replace(parts.federation, client=parts.unjudged)

    def made(
        subscription: Subscription, registered: Registered, progress: BootstrapProgress, save: Save
    ) -> Bootstrap:
        reading = SyncOptions(overlap=settings.locator_overlap)
        return Bootstrap(
            subscription,
            ManagerReader(registered, federation, clock, parts.via, reading, reading.page),
            sources.homes,
            sources.outbox,
            sources.sent,
            sources.log,
            sources.records,
            clock,
            options,
            save,
            progress,
        )

    store = RedisBootstrapStore(parts.redis, keys=parts.keys)
    return Bootstraps(
        secrets.token_hex(8), store, view, parts.managers, _followed(parts.locator), made, clock, options
    )


def _followed(locator: Locator | None) -> Followed:
    async def followed(slug: str) -> bool:
        """Without an index nobody's changes are followed but those made through the broker."""
        if locator is None:
            return True
        coverage = (await locator.coverage()).get(slug)
        return coverage is not None and coverage.state is not CoverageState.NONE

    return followed


async def _log(settings: Settings, parts: ChangesParts, stack: AsyncExitStack) -> ChangeLog:
    if settings.kafka_bootstrap is None:
        return redis_log(settings, parts.clock, parts.redis)
    log = await asyncio.to_thread(kafka_log, settings, parts.clock)
    stack.push_async_callback(log.close)
    return log


def _addresses(settings: Settings) -> AddressRules:
    """Where hooks may go: what is public, what the operator allows, and this machine where only it can be a client."""
    local = LOOPBACK if is_loopback(settings.host) else ()
    return AddressRules((*local, *networks(settings.hook_networks)))
