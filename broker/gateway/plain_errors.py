"""Errors of what is neither FHIR nor the registry (metrics, the console): problem documents."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from broker.errors import BrokerError
from broker.gateway.problem import problem_response


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """For what the middlewares within refuse; handlers of such addresses raise nothing of ours."""
    try:
        return await handler(request)
    except BrokerError as error:
        return problem_response(error)
