"""The persons with two homes under `/registry/conflicts`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from broker.errors import BrokerError, RequestError
from broker.gateway.problem import problem_response, translating
from broker.gateway.registry_operations import CONFLICTS
from broker.sync.conflict_service import DEFAULT_LIMIT, MAX_LIMIT, ConflictService, ConflictState


def conflict_routes(service: ConflictService) -> Iterable[web.RouteDef]:
    """Errors become problem documents in here."""

    async def conflicts(request: web.Request) -> web.Response:
        given = request.query
        unknown = [name for name in given if name not in ("state", "limit", "after")]
        if unknown:
            raise RequestError("registry.bad-value", parameter=unknown[0][:64])
        found = await service.list(
            _state(given.get("state")), limit=_limit(given.get("limit")), after=given.get("after")
        )
        return web.Response(
            body=msgspec.json.encode(found),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    yield web.RouteDef(CONFLICTS.method, CONFLICTS.path, translating(conflicts, _respond), {})


def _respond(request: web.Request, error: BrokerError) -> web.Response:
    return problem_response(error)


def _state(given: str | None) -> ConflictState:
    if given is None:
        return ConflictState.OPEN
    if given not in tuple(ConflictState):
        raise RequestError("registry.bad-value", parameter="state")
    return ConflictState(given)


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_LIMIT
    if not (given.isascii() and given.isdecimal() and len(given) < 9 and 1 <= int(given) <= MAX_LIMIT):
        raise RequestError("registry.bad-value", parameter="limit")
    return int(given)
