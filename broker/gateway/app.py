"""The aiohttp application: routes and what surrounds every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from broker.gateway.fhir_answer import fhir_errors
from broker.gateway.fhir_request import REQUEST_ID, request_id_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer carries its request's id (FHIR R4, http.html#custom)."""
    request[REQUEST_ID] = request_id_of(request)
    response = await handler(request)
    response.headers["X-Request-Id"] = request[REQUEST_ID]
    return response


def build_app(routes: Iterable[web.AbstractRouteDef], *, max_request_bytes: int) -> web.Application:
    app = web.Application(middlewares=[request_id, fhir_errors], client_max_size=max_request_bytes)
    app.add_routes(routes)
    return app
