"""The registry's JSON API under `/registry` (described by `/registry/openapi.json`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from broker.errors import BrokerError, RequestError
from broker.federation.registry_service import RegistryService, shown
from broker.gateway.openapi_document import openapi_document
from broker.gateway.problem import problem_response, problem_types, translating
from broker.gateway.registry_operations import COLLECTION, OPERATIONS, GestionnaireList
from registry.model import REGIONS, Registered, Status

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,15})"')
_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json", re.ASCII)


def registry_routes(service: RegistryService) -> Iterable[web.RouteDef]:
    """Every route of the API. Errors become problem documents in here, those of aiohttp's body limit too."""
    api = _RegistryApi(service)
    for operation in OPERATIONS:
        handler = translating(getattr(api, operation.handler), _respond)
        yield web.RouteDef(operation.method, operation.path, handler, {})


def _respond(request: web.Request, error: BrokerError) -> web.Response:
    return problem_response(error)


class _RegistryApi:
    """One method for each operation, of the same name."""

    def __init__(self, service: RegistryService) -> None:
        self._service = service
        self._openapi = msgspec.json.encode(openapi_document())

    async def list_all(self, request: web.Request) -> web.Response:
        status = _filter(request, "status", tuple(Status))
        region = _filter(request, "region", tuple(REGIONS))
        unknown = [name for name in request.query if name not in ("status", "region")]
        if unknown:
            raise RequestError("registry.bad-value", parameter=unknown[0][:64])
        found = await self._service.list(status=Status(status) if status else None, region=region)
        return _json(GestionnaireList(tuple(map(shown, found))))

    async def create(self, request: web.Request) -> web.Response:
        registered = await self._service.create(await _body(request))
        location = f"{COLLECTION}/{registered.gestionnaire.id}"
        return _registered(registered, status=201, headers={"Location": location})

    async def read(self, request: web.Request) -> web.Response:
        return _registered(await self._service.get(_slug(request)))

    async def replace(self, request: web.Request) -> web.Response:
        expected = _if_match(request)
        raw = await _body(request)
        return _registered(await self._service.replace(_slug(request), raw, expected_revision=expected))

    async def remove(self, request: web.Request) -> web.Response:
        await self._service.remove(_slug(request))
        return web.Response(status=204)

    async def suspend(self, request: web.Request) -> web.Response:
        return _registered(await self._service.set_status(_slug(request), Status.SUSPENDED))

    async def resume(self, request: web.Request) -> web.Response:
        return _registered(await self._service.set_status(_slug(request), Status.ACTIVE))

    async def check(self, request: web.Request) -> web.Response:
        return _registered(await self._service.check(_slug(request)))

    async def problems(self, request: web.Request) -> web.Response:
        return _json(problem_types())

    async def openapi(self, request: web.Request) -> web.Response:
        return web.Response(body=self._openapi, content_type="application/json")


def _slug(request: web.Request) -> str:
    return request.match_info["id"]


def _filter(request: web.Request, name: str, allowed: tuple[str, ...]) -> str | None:
    value = request.query.get(name)
    if value is not None and value not in allowed:
        raise RequestError("registry.bad-value", parameter=name)
    return value


async def _body(request: web.Request) -> object:
    if not _JSON.fullmatch(request.content_type):
        raise RequestError("request.content-type")
    try:
        body: object = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError("registry.bad-json") from None
    if not isinstance(body, dict):
        raise RequestError("registry.bad-json")
    return body


def _if_match(request: web.Request) -> int | None:
    """The revision of an `If-Match` header; None where any will do (absent, or `*`)."""
    header = request.headers.get("If-Match", "*").strip()
    if header == "*":
        return None
    found = _ETAG.fullmatch(header)
    if found is None:
        raise RequestError("registry.bad-value", parameter="If-Match")
    return int(found[1])


def _registered(
    registered: Registered, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    etag = {"ETag": f'"{registered.revision}"'}
    return _json(shown(registered), status=status, headers=etag | (headers or {}))


def _json(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
