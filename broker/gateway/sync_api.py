"""Synchronisation under `/registry/synchronisation`: how it is doing, and the present state for a newcomer once more."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from broker.errors import BrokerError
from broker.gateway.problem import problem_response, translating
from broker.gateway.registry_operations import SYNC_OPERATIONS
from broker.sync.sync_service import SyncService


def sync_routes(service: SyncService) -> Iterable[web.RouteDef]:
    """Every route. Errors become problem documents in here."""
    api = _SyncApi(service)
    for operation in SYNC_OPERATIONS:
        handler = translating(getattr(api, operation.handler), _respond)
        yield web.RouteDef(operation.method, operation.path, handler, {})


def _respond(request: web.Request, error: BrokerError) -> web.Response:
    return problem_response(error)


class _SyncApi:
    """One method for each operation, of the same name."""

    def __init__(self, service: SyncService) -> None:
        self._service = service

    async def sync_status(self, request: web.Request) -> web.Response:
        return _json(await self._service.status())

    async def sync_bootstrap(self, request: web.Request) -> web.Response:
        return _json(await self._service.bootstrap(request.match_info["id"]), status=202)


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
