"""What clients are held to, in a worker, put together. A part of the composition root."""

from __future__ import annotations

import resource
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp.typedefs import Middleware

from broker.access.rates import Bounds, Rates
from broker.core.rate import a_second_at_once
from broker.gateway.connection_bounds import ConnectionBounds
from broker.gateway.limits import limited_addresses, limited_clients
from broker.gateway.peer import Peers
from broker.observability.metrics import Room
from broker.observability.metrics_limits import LimitFigures
from broker.settings import Settings
from broker.wiring_ground import Ground, Part
from registry.rate_store import RedisRates

_OWN_DESCRIPTORS: Final = 256
"""Descriptors that a worker has for managers, the store and its files whatever its clients do."""


@dataclass(frozen=True, slots=True)
class Limits(Part):
    peers: Peers
    addresses: Rates
    clients: Rates
    connections: ConnectionBounds

    @classmethod
    def wired(cls, ground: Ground, peers: Peers) -> Limits:
        settings = ground.settings
        by_address = Bounds(a_second_at_once(settings.limit_address_rate), settings.limit_address_concurrent)
        by_client = Bounds(a_second_at_once(settings.limit_rate), settings.limit_concurrent)
        return cls(
            peers,
            Rates(by_address, ground.clock),
            Rates(by_client, ground.clock, RedisRates(ground.redis, keys=ground.keys)),
            _connections(settings, peers),
        )

    def before(self) -> Middleware:
        """Of those that find out who asks."""
        return limited_addresses(self.addresses, self.peers)

    def behind(self) -> Middleware:
        """Of those that find out who asks."""
        return limited_clients(self.clients)

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.clients.run()

    def figures(self) -> Iterable[Room]:
        yield LimitFigures(lambda: {"address": self.addresses.refused, "client": self.clients.refused})


def _connections(settings: Settings, peers: Peers) -> ConnectionBounds:
    return ConnectionBounds(
        line=settings.limit_line,
        header=settings.limit_header,
        headers=settings.limit_headers,
        head=max(settings.limit_head, settings.limit_line, settings.limit_header),
        head_seconds=settings.limit_head_seconds,
        body_seconds=settings.limit_body_seconds,
        answer_seconds=settings.limit_answer_seconds,
        idle_seconds=settings.limit_idle_seconds,
        connections=min(settings.limit_connections, _descriptors()),
        of_an_address=settings.limit_address_connections,
        exempt=peers.is_proxy,
    )


def _descriptors() -> int:
    """What the system grants for connections of clients."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else max(64, soft - _OWN_DESCRIPTORS)
