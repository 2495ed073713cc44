"""Errors of addresses and methods that no route of the registry takes, in the form of their neighbourhood."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from broker.errors import BrokerError
from broker.gateway.problem import problem_response, translating
from broker.gateway.registry_fhir import outcome_response
from broker.gateway.registry_fhir_operations import BASE

_ROOT = "/registry"


@web.middleware
async def registry_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """For the application's middlewares: 404 and 405 under `/registry` become documents too."""
    if not _under(request.path, _ROOT):
        return await handler(request)
    return await translating(handler, _respond)(request)


def _respond(request: web.Request, error: BrokerError) -> web.Response:
    return outcome_response(request, error) if _under(request.path, BASE) else problem_response(error)


def _under(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")
