"""Synchronisation in a worker, put together: log, publisher, subscriptions. A part of the composition root."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from adapters.hook_http import HttpHookClient
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.core.sealing import Sealer
from broker.core.subscription import Subscription
from broker.gateway.subscription_routes import SubscriptionRoutes
from broker.gateway.sync_api import sync_routes
from broker.observability.metrics_sync import PublishLatency, SyncFigures
from broker.ports import Disclosures
from broker.settings import Settings, is_loopback
from broker.settings_sync import networks
from broker.sync.bootstrap import Bootstrap, Save
from broker.sync.bootstrap_options import BootstrapOptions
from broker.sync.bootstraps import Bootstraps, Followed
from broker.sync.change_log import ChangeLog
from broker.sync.disclosures import UNTRACED
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
from broker.wiring_ground import Ground, Part
from broker.wiring_reading import Reading
from broker.wiring_sync import kafka_log, redis_log
from registry.bootstrap_model import BootstrapProgress
from registry.bootstrap_store import RedisBootstrapStore
from registry.hook_queue import RedisHookQueue
from registry.lease_store import RedisLeases
from registry.locator_model import CoverageState
from registry.model import Registered
from registry.outbox import RedisOutbox
from registry.ports import Locator
from registry.sent_circles import RedisSentCircles
from registry.subscription_store import RedisSubscriptionStore


@dataclass(frozen=True, slots=True)
class Changes(Part):
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
    async def wired(
        cls,
        ground: Ground,
        reading: Reading,
        locator: Locator | None,
        stack: AsyncExitStack,
        disclosures: Disclosures = UNTRACED,
    ) -> Changes:
        """What is opened closes with the stack. Raises `ConfigurationError`."""
        settings, clock, redis, keys = ground.settings, ground.clock, ground.redis, ground.keys
        prefix = settings.topic_prefix
        log = await _log(ground, stack)
        outbox = RedisOutbox(redis, keys=keys)
        sealer = Sealer(ground.secrets)
        store = RedisSubscriptionStore(redis, sealer, clock, keys=keys)
        queue = RedisHookQueue(redis, sealer, clock, keys=keys)
        form = SubscriptionForm(settings.base_url, prefix, clock)
        view = SubscriptionsView(store, form, clock, refresh_seconds=settings.registry_refresh)
        topics = TopicKeeper(
            log,
            RedisLeases(redis, keys=keys),
            clock,
            prefix,
            partitions=settings.topic_partitions,
            retention=settings.topic_retention,
            wanted=lambda: subscribers(view),
        )
        await view.refresh()
        rules = _addresses(settings)
        service = SubscriptionService(
            store,
            queue,
            view,
            ground.managers,
            form,
            clock,
            topics.open,
            lambda: secrets.token_hex(8),
            lambda: secrets.token_urlsafe(32),
            SubscriptionOptions(addresses=rules),
        )
        client = HttpHookClient(rules)
        stack.push_async_callback(client.aclose)
        homes = FederationHomes(ground.managers, ground.federation, reading.reads, clock, ground.via)
        latency = PublishLatency()
        tracer = None if ground.tracing is None else ground.tracing.tracer
        sent, records = RedisSentCircles(redis, keys=keys), EventRecords(settings.base_url, prefix)
        publisher = Publisher(
            secrets.token_hex(8),
            outbox,
            log,
            homes,
            ChangeRouter(view, sent, queue, settings.base_url),
            records,
            clock,
            observe=latency.observe,
            figures=ground.publishing,
            disclosures=disclosures,
            tracer=tracer,
        )
        request_rules = ground.rules(settings.search_deadline)
        bootstraps = _bootstraps(
            ground, Sources(homes, outbox, sent, log, records, disclosures), view, _followed(locator)
        )
        watch = SyncWatch(outbox, log, clock, lambda: subscribers(view), prefix)
        return cls(
            topics=topics,
            publisher=publisher,
            view=view,
            service=service,
            hooks=RestHooks(
                store, queue, client, form, clock, random.random, disclosures=disclosures, tracer=tracer
            ),
            watch=watch,
            subscription_routes=SubscriptionRoutes(service, settings.base_url, request_rules, clock),
            bootstraps=bootstraps,
            status=SyncService(
                "redis-streams" if settings.kafka_bootstrap is None else "kafka",
                watch,
                ground.sharing.outlooks,
                view,
                bootstraps,
                ground.managers,
            ),
            latency=latency,
        )

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """To stand before those of the reads: `$status` would be taken for an id."""
        yield from self.subscription_routes.routes()
        yield from sync_routes(self.status)

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.view.run()
        yield self.watch.run()

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.topics.run()
        yield self._publish()
        yield self.service.run()
        yield self.hooks.run()
        yield self.bootstraps.run()

    async def _publish(self) -> None:
        await self.topics.ready()
        await self.publisher.run()

    def figures(self) -> Iterable[SyncFigures]:
        yield SyncFigures(
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
    disclosures: Disclosures


def _bootstraps(ground: Ground, sources: Sources, view: SubscriptionsView, followed: Followed) -> Bootstraps:
    clock, overlap = ground.clock, ground.settings.locator_overlap
    options = BootstrapOptions(overlap=overlap)
    federation = ground.unjudged

    def made(
        subscription: Subscription, registered: Registered, progress: BootstrapProgress, save: Save
    ) -> Bootstrap:
        reading = SyncOptions(overlap=overlap)
        return Bootstrap(
            subscription,
            ManagerReader(registered, federation, clock, ground.via, reading, reading.page),
            sources.homes,
            sources.outbox,
            sources.sent,
            sources.log,
            sources.records,
            clock,
            options,
            save,
            progress,
            sources.disclosures,
        )

    store = RedisBootstrapStore(ground.redis, keys=ground.keys)
    return Bootstraps(secrets.token_hex(8), store, view, ground.managers, followed, made, clock, options)


def _followed(locator: Locator | None) -> Followed:
    async def followed(slug: str) -> bool:
        """Without an index nobody's changes are followed but those made through the broker."""
        if locator is None:
            return True
        coverage = (await locator.coverage()).get(slug)
        return coverage is not None and coverage.state is not CoverageState.NONE

    return followed


async def _log(ground: Ground, stack: AsyncExitStack) -> ChangeLog:
    settings, clock = ground.settings, ground.clock
    if settings.kafka_bootstrap is None:
        return redis_log(settings, clock, ground.redis)
    log = await asyncio.to_thread(kafka_log, settings, clock)
    stack.push_async_callback(log.close)
    return log


def _addresses(settings: Settings) -> AddressRules:
    """Where hooks may go: what is public, what the operator allows, and this machine where only it can be a client."""
    local = LOOPBACK if is_loopback(settings.host) else ()
    return AddressRules((*local, *networks(settings.hook_networks)))
