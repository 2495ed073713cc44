"""How much of one address, and of one client, is taken on at a time and in a second.

Twice on a request's way: by address before anybody asks who it is, since finding out costs too; by client behind that. A
refusal is held back for up to a second, so that a loop of refused requests is a slow one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.access.rates import Rates
from broker.core.access.principal import ANONYMOUS
from broker.errors import LimitError
from broker.gateway.fhir_request import principal_of
from broker.gateway.peer import Peers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def limited_addresses(rates: Rates, peers: Peers) -> Middleware:
    """Raises `LimitError` (429). A trusted proxy that names no client is not bounded: nobody knows for whom it asks."""

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        address = peers.address(request)
        if not address or peers.is_proxy(address):
            return await handler(request)
        return await _within(rates, address, None, request, handler)

    return bounded


def limited_clients(rates: Rates) -> Middleware:
    """Goes within whatever sets `PRINCIPAL`. Raises `LimitError` (429)."""

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        principal = principal_of(request)
        if principal is ANONYMOUS:  # bounded by its address
            return await handler(request)
        return await _within(rates, principal.client, principal.rate, request, handler)

    return bounded


async def _within(
    rates: Rates, who: str, per_second: float | None, request: web.Request, handler: Handler
) -> web.StreamResponse:
    account = rates.account(who, per_second)
    try:
        rates.admit(who, account)
    except LimitError:
        await rates.hold(account)
        raise
    try:
        return await handler(request)
    finally:
        rates.done(account)
