"""What all parts of a worker stand on, put together: Redis, the managers, the way to them. A part of the composition root."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from aiohttp import web

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker.core.breaker import BreakerPolicy
from broker.core.dialects import effective_skills
from broker.core.statement import pseudonym
from broker.federation.check import check
from broker.federation.federation import Federation
from broker.federation.manager_guard import ManagerGuard
from broker.federation.managers import ManagersView
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.federation.registry_service import Checker
from broker.locator_secret import previous_secrets
from broker.observability.metrics import Room
from broker.ports import Clock
from broker.settings import Settings
from registry.alias_store import RedisAliasStore
from registry.page_store import RedisCursorStore
from registry.redis_connection import RedisClient, connect
from registry.redis_keys import RedisKeys
from registry.redis_store import RedisGestionnaireStore

_CHECK_TIMEOUT = 5.0


class Part(Protocol):
    """What a part of a worker serves, does in the background (each until cancelled), and shows under `/metrics`."""

    def routes(self) -> Iterable[web.AbstractRouteDef]: ...

    def background(self) -> Iterable[Coroutine[Any, Any, None]]: ...

    def figures(self) -> Iterable[Room]: ...


def federation_id(secret: bytes) -> str:
    """The federation's name among brokers: the same on every node, and no hint at the secret."""
    return hmac.new(secret, b"cds-broker federation id", hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Ground:
    """`secrets`: the present one first, then those before it."""

    settings: Settings
    clock: Clock
    redis: RedisClient
    keys: RedisKeys
    secrets: Sequence[bytes] = field(repr=False)
    store: RedisGestionnaireStore
    managers: ManagersView
    guard: ManagerGuard
    federation: Federation
    checker: Checker

    @property
    def federation_id(self) -> str:
        return self.federation.options.federation_id

    @property
    def via(self) -> str:
        """RFC 9110, 7.6.3."""
        return f"1.1 {pseudonym(self.federation_id)}"

    @property
    def unjudged(self) -> Federation:
        """For what asks for more at a time than a search: what it is answered opens nobody's breaker."""
        return replace(self.federation, client=self.guard.unjudged())

    @classmethod
    def wired(cls, settings: Settings, redis_url: str, secret: bytes, stack: AsyncExitStack) -> Ground:
        """What is opened closes with the stack. Raises `ConfigurationError`."""
        clock, keys, own_id = SystemClock(), RedisKeys(settings.redis_prefix), federation_id(secret)
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        store = RedisGestionnaireStore(redis, clock, keys=keys)
        managers = ManagersView(store, clock, refresh_seconds=settings.registry_refresh)
        client = HttpManagerClient(clock, max_bytes=settings.max_answer_bytes)
        stack.push_async_callback(client.aclose)
        interval = settings.probe_interval
        guard = ManagerGuard(
            client,
            managers,
            clock,
            default_timeout=settings.search_deadline,
            policy=BreakerPolicy(probe_interval=interval, max_interval=interval),
        )
        stack.push_async_callback(guard.aclose)
        return cls(
            settings=settings,
            clock=clock,
            redis=redis,
            keys=keys,
            secrets=(secret, *previous_secrets(settings)),
            store=store,
            managers=managers,
            guard=guard,
            federation=Federation(
                managers=managers,
                client=guard,
                aliases=RedisAliasStore(redis, keys=keys),
                pages=PageKeeper(RedisCursorStore(redis, keys=keys), secret, settings.page_ttl),
                origins=Origins(settings.base_url, managers),
                options=_options(settings, own_id),
                skills_of=effective_skills,
            ),
            # A check asks odd things on purpose: what it is answered opens nobody's breaker.
            checker=partial(check, guard.unjudged(), clock, timeout=_CHECK_TIMEOUT, federation_id=own_id),
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
