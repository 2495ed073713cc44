"""Every request, told of once it is answered: for the log and the figures. Nothing that a client wrote is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.core.access.principal import ANONYMOUS
from broker.current_request import LEFT, Served
from broker.errors import BrokerError
from broker.gateway.fhir_request import PRINCIPAL, REASON, REQUEST_ID
from broker.gateway.traced import passed_on
from broker.ports import Clock

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Others are one to whoever counts them: a client may make up as many as it likes."""

NOWHERE: Final = "-"


def told_of(tellers: Sequence[Callable[[Served], None]], clock: Clock) -> Middleware:
    """Stands outside of all that answers."""

    @web.middleware
    async def telling(request: web.Request, handler: Handler) -> web.StreamResponse:
        began, status = clock.monotonic(), 500
        with passed_on(request):
            try:
                response = await handler(request)
                status = response.status
            except asyncio.CancelledError:
                status = LEFT
                raise
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                served = _served(request, status, clock.monotonic() - began)
                for tell in tellers:
                    tell(served)
        return response

    return telling


@web.middleware
async def reasoned(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Notes why a request is refused. Stands within what renders errors, and outside of all that raises them."""
    try:
        return await handler(request)
    except BrokerError as error:
        request[REASON] = error.key
        raise


def _served(request: web.Request, status: int, seconds: float) -> Served:
    resource = request.match_info.route.resource
    principal = request.get(PRINCIPAL)
    known = principal is not None and principal is not ANONYMOUS
    return Served(
        method=request.method if request.method in _METHODS else "other",
        route=NOWHERE if resource is None else resource.canonical,
        status=status,
        seconds=seconds,
        request_id=request.get(REQUEST_ID),
        client=principal.client if principal is not None and known else None,
        how=principal.method.value if principal is not None and known else "nobody",
        reason=request.get(REASON),
    )
