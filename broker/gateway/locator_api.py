"""The index of circles under `/registry/locator`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from broker.errors import BrokerError
from broker.gateway.problem import problem_response, translating
from broker.gateway.registry_operations import LOCATOR_OPERATIONS
from broker.sync.service import LocatorService


def locator_routes(service: LocatorService) -> Iterable[web.RouteDef]:
    """Every route. Errors become problem documents in here."""
    api = _LocatorApi(service)
    for operation in LOCATOR_OPERATIONS:
        handler = translating(getattr(api, operation.handler), _respond)
        yield web.RouteDef(operation.method, operation.path, handler, {})


def _respond(request: web.Request, error: BrokerError) -> web.Response:
    return problem_response(error)


class _LocatorApi:
    """One method for each operation, of the same name."""

    def __init__(self, service: LocatorService) -> None:
        self._service = service

    async def status(self, request: web.Request) -> web.Response:
        return _json(await self._service.status())

    async def crawl(self, request: web.Request) -> web.Response:
        return _json(await self._service.crawl(request.match_info["id"]), status=202)

    async def rotate_key(self, request: web.Request) -> web.Response:
        return _json(await self._service.rotate_key(), status=202)


def _json(content: msgspec.Struct, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
