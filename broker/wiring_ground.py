"""What the parts of a worker stand on: Redis, the managers, the way to them. A part of the composition root."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from adapters.clock import SystemClock
from adapters.manager_admission import Admission
from adapters.manager_http import HttpManagerClient
from broker.core.breaker import BreakerPolicy
from broker.core.dialects import effective_skills
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.core.statement import pseudonym
from broker.federation.check import check
from broker.federation.federation import Federation
from broker.federation.manager_guard import ManagerGuard
from broker.federation.managers import ManagersView
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.federation.registry_service import Checker
from broker.federation.traffic import Traffic
from broker.gateway.fhir_request import RequestRules
from broker.locator_secret import federation_secrets, previous_secrets
from broker.observability.metrics import Room
from broker.observability.metrics_managers import ManagerFigures
from broker.observability.metrics_searches import SearchFigures
from broker.observability.outlooks import OwnOutlook
from broker.observability.tracing import TracedManagers
from broker.ports import Clock
from broker.settings import PREFIX, AuthMode, Settings
from broker.settings_sync import networks
from broker.sync.publisher_options import PublisherFigures
from broker.wiring_sharing import Sharing
from broker.wiring_tracing import BROKER, Tracing, tracing
from registry.alias_store import RedisAliasStore
from registry.page_store import RedisCursorStore
from registry.redis_connection import RedisClient, connect
from registry.redis_keys import RedisKeys
from registry.redis_store import RedisGestionnaireStore

_CHECK_TIMEOUT = 5.0


class Part:
    """What a part of a process serves, does in the background (each until cancelled), and shows under `/metrics`."""

    __slots__ = ()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return ()

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        """What each process of a broker needs."""
        return ()

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        """What one of them does for all."""
        return ()

    def figures(self) -> Iterable[Room]:
        return ()


def federation_id(secret: bytes) -> str:
    """The federation's name among brokers: the same on every node, and no hint at the secret."""
    return hmac.new(secret, b"cds-broker federation id", hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Ground:
    """`secrets`: of the locator, the present one first, then those before it."""

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
    admit: Admission
    manager_figures: ManagerFigures
    search_figures: SearchFigures
    traffic: Traffic
    publishing: PublisherFigures
    sharing: Sharing
    tracing: Tracing | None

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
        client = self.manager_figures.observing(self.guard.unjudged())
        return replace(self.federation, client=client)

    def rules(self, deadline: float) -> RequestRules:
        """What bounds a request. `deadline`: seconds for the whole of it."""
        settings = self.settings
        return RequestRules(
            self.federation_id,
            deadline,
            max_parameters=settings.limit_parameters,
            max_parameter=settings.limit_parameter,
            max_includes=settings.limit_includes,
            max_nesting=settings.limit_nesting,
        )

    @classmethod
    def wired(cls, settings: Settings, redis_url: str, secret: bytes, stack: AsyncExitStack) -> Ground:
        """What is opened closes with the stack. Raises `ConfigurationError`."""
        clock, keys = SystemClock(), RedisKeys(settings.redis_prefix)
        traces = tracing(settings, BROKER, stack)
        secrets = (secret, *previous_secrets(settings))
        present, *earlier = federation_secrets(settings, secrets)
        own_id = federation_id(present)
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        store = RedisGestionnaireStore(redis, clock, keys=keys)
        managers = ManagersView(store, clock, refresh_seconds=settings.registry_refresh)
        rules = _manager_rules(settings)
        client = HttpManagerClient(
            clock, max_bytes=settings.max_answer_bytes, rules=rules, issuer=settings.base_url
        )
        stack.push_async_callback(client.aclose)
        figures, searches, traffic = ManagerFigures(clock), SearchFigures(), Traffic(clock)
        interval = settings.probe_interval
        publishing = PublisherFigures()
        guard = ManagerGuard(
            client,
            managers,
            clock,
            default_timeout=settings.search_deadline,
            policy=BreakerPolicy(probe_interval=interval, max_interval=interval),
            on_change=figures.breaker_changed,
            observe=traffic.observe,
        )
        stack.push_async_callback(guard.aclose)
        observed = figures.observing(guard)
        return cls(
            settings=settings,
            clock=clock,
            redis=redis,
            keys=keys,
            secrets=secrets,
            store=store,
            managers=managers,
            guard=guard,
            federation=Federation(
                managers=managers,
                client=observed if traces is None else TracedManagers(observed),
                aliases=RedisAliasStore(redis, keys=keys),
                pages=PageKeeper(
                    searches.counting(RedisCursorStore(redis, keys=keys)), present, settings.page_ttl, earlier
                ),
                origins=Origins(settings.base_url, managers),
                options=_options(settings, own_id),
                skills_of=effective_skills,
            ),
            # A check asks odd things on purpose: what it is answered opens nobody's breaker.
            checker=partial(check, guard.unjudged(), clock, timeout=_CHECK_TIMEOUT, federation_id=own_id),
            admit=_admission(settings, rules),
            manager_figures=figures,
            search_figures=searches,
            traffic=traffic,
            publishing=publishing,
            sharing=Sharing(OwnOutlook(guard.states, traffic, lambda: publishing.waiting_for)),
            tracing=traces,
        )


def _manager_rules(settings: Settings) -> AddressRules:
    """Where managers may be: public addresses, what the operator allows, and this machine where all is on it anyway."""
    local = LOOPBACK if settings.auth is AuthMode.NONE else ()
    return AddressRules((*local, *networks(settings.manager_networks)))


def _admission(settings: Settings, rules: AddressRules) -> Admission:
    values = [getattr(settings, name) for name in Settings.model_fields]
    return Admission(
        rules,
        own_variables=frozenset(PREFIX + name.upper() for name in Settings.model_fields),
        own_files=[value for value in values if isinstance(value, Path)],
        own_folder=settings.data_dir,
    )


def _options(settings: Settings, own_id: str) -> FederationOptions:
    return FederationOptions(
        public_base=settings.base_url,
        federation_id=own_id,
        default_count=settings.default_count,
        max_count=settings.max_count,
        page_ttl=settings.page_ttl,
        sort_bound=settings.sort_bound,
        include_rounds=settings.limit_iterate,
        include_bound=settings.limit_included,
        page_bound=settings.limit_pages,
    )
