"""The aiohttp application: routes and what surrounds every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.current_request import CURRENT
from broker.gateway.compression import compressed
from broker.gateway.fhir_answer import fhir_errors
from broker.gateway.fhir_request import REQUEST_ID, request_id_of
from broker.gateway.plain_errors import plain_errors
from broker.gateway.registry_errors import registry_errors

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer carries its request's id (FHIR R4, http.html#custom)."""
    request[REQUEST_ID] = request_id_of(request)
    said_before = CURRENT.set(request[REQUEST_ID])
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers["X-Request-Id"] = request[REQUEST_ID]
        raise
    finally:
        CURRENT.reset(said_before)
    response.headers["X-Request-Id"] = request[REQUEST_ID]
    return response


SURROUNDINGS: Final[Sequence[Middleware]] = (
    request_id,
    compressed,
    plain_errors,
    fhir_errors,
    registry_errors,
)
"""Outermost first. Errors are OperationOutcomes under `/fhir`, problem documents elsewhere.

Who refuses requests stands within these: they render the refusal."""


def build_app(
    routes: Iterable[web.AbstractRouteDef],
    *,
    surroundings: Iterable[Middleware] = SURROUNDINGS,
    max_request_bytes: int,
) -> web.Application:
    """`surroundings`: outermost first."""
    app = web.Application(middlewares=surroundings, client_max_size=max_request_bytes)
    app.add_routes(routes)
    return app
