"""Synchronisation in a worker, put together: log, publisher, subscriptions. A part of the composition root."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from adapters.hook_http import HttpHookClient
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.core.sealing import Sealer
from broker.core.statement import pseudonym
from broker.core.subscription import ChannelKind
from broker.federation.federation import Federation
from broker.federation.managers import ManagersView
from broker.federation.read import ReadService
from broker.gateway.fhir_request import RequestRules
from broker.gateway.subscription_routes import SubscriptionRoutes
from broker.observability.metrics_sync import PublishLatency, SyncFigures
from broker.ports import Clock
from broker.settings import Settings, is_loopback
from broker.settings_sync import networks
from broker.sync.change_log import ChangeLog
from broker.sync.event_records import EventRecords
from broker.sync.fetch import FederationHomes
from broker.sync.publisher import Publisher
from broker.sync.rest_hook import RestHooks
from broker.sync.routing import ChangeRouter
from broker.sync.subscriptions import SubscriptionOptions, SubscriptionService
from broker.sync.subscriptions_view import SubscriptionForm, SubscriptionsView, takes_changes
from broker.sync.topic_keeper import TopicKeeper
from broker.sync.watch import SyncWatch
from broker.wiring_sync import kafka_log, redis_log
from registry.hook_queue import RedisHookQueue
from registry.lease_store import RedisLeases
from registry.outbox import RedisOutbox
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.sent_circles import RedisSentCircles
from registry.subscription_store import RedisSubscriptionStore


@dataclass(frozen=True, slots=True)
class ChangesParts:
    """`secrets`: the present one first, then those before it."""

    redis: RedisClient
    keys: RedisKeys
    secrets: Sequence[bytes]
    clock: Clock
    managers: ManagersView
    federation: Federation
    reads: ReadService

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
        publisher = Publisher(
            secrets.token_hex(8),
            outbox,
            log,
            homes,
            ChangeRouter(view, RedisSentCircles(parts.redis, keys=keys), queue, settings.base_url),
            EventRecords(settings.base_url, prefix),
            clock,
            observe=latency.observe,
        )
        request_rules = RequestRules(parts.federation.options.federation_id, settings.search_deadline)
        return cls(
            topics=topics,
            publisher=publisher,
            view=view,
            service=service,
            hooks=RestHooks(store, queue, client, form, clock, random.random),
            watch=SyncWatch(outbox, log, clock, lambda: subscribers(view), prefix),
            subscription_routes=SubscriptionRoutes(service, settings.base_url, request_rules, clock),
            latency=latency,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        """To stand before those of the reads."""
        yield from self.subscription_routes.routes()

    def background(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self.topics.run(),
            self._publish(),
            self.view.run(),
            self.service.run(),
            self.hooks.run(),
            self.watch.run(),
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
            subscriptions=self._by_status,
            latency=self.latency,
        )

    def _by_status(self) -> Mapping[str, int]:
        counted = Counter(one.status.value for one in self.view.all().values())
        if self.view.unreadable:
            counted["unreadable"] = self.view.unreadable
        return counted


def subscribers(view: SubscriptionsView) -> set[str]:
    """Slugs of the managers with an active subscription on their topic."""
    return {
        one.channel.slug
        for one in view.all().values()
        if one.channel.kind is ChannelKind.MESSAGE and one.channel.slug is not None and takes_changes(one)
    }


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
