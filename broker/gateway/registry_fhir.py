"""The registry as FHIR under `/registry/fhir`, read-only: Organization and Endpoint, searched, read, with history.

JSON only. Errors are OperationOutcomes, as everywhere in FHIR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson
from aiohttp import web

from broker import __version__
from broker.core.fhir_dates import date_range
from broker.core.matching import predicate
from broker.core.mcsd import (
    PARAMETERS,
    VIEWS,
    Version,
    capability_statement,
    history,
    searchset,
    with_methods,
)
from broker.core.media_type import Format, negotiate
from broker.core.outcome import language_of, render_error, status_of
from broker.core.preferences import parse_prefer
from broker.core.query import Criterion
from broker.core.query_values import grammar, plain_pipes, split_or
from broker.core.search_parameters import ParamType
from broker.errors import BrokerError, RequestError
from broker.federation.registry_service import RegistryService
from broker.gateway.problem import translating
from broker.gateway.registry_fhir_operations import BASE, KIND, fhir_operations
from registry.model import Registered

_CONTROLS = ("_count", "_offset", "_format", "_pretty", "_since")
_MODIFIERS: Mapping[ParamType, tuple[str, ...]] = {
    ParamType.STRING: ("exact", "contains"),
    ParamType.TOKEN: ("not",),
}
_Item = TypeVar("_Item")


def registry_fhir_routes(service: RegistryService, *, base_url: str | None = None) -> Iterable[web.RouteDef]:
    """Every route of the view. `base_url`: its public address; None: as the client addressed it."""
    view = _RegistryView(service, base_url)
    kind = "{kind:" + "|".join(VIEWS) + "}"
    for operation in fhir_operations():
        path = operation.path.replace(KIND, kind)
        handler = translating(getattr(view, operation.handler), outcome_response)
        yield web.RouteDef(operation.method, path, handler, {})


def outcome_response(request: web.Request, error: BrokerError) -> web.Response:
    """An OperationOutcome in the client's language."""
    language = language_of(request.headers.get("Accept-Language"))
    headers = {"Content-Type": Format.JSON.content_type, "Cache-Control": "no-store"}
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return web.Response(status=status_of(error), body=render_error(error, language=language), headers=headers)


class _RegistryView:
    def __init__(self, service: RegistryService, base_url: str | None) -> None:
        self._service = service
        self._base_url = base_url

    async def metadata(self, request: web.Request) -> web.Response:
        return _fhir(request, capability_statement(self._base(request), __version__))

    async def search(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        criteria, used = _criteria(request, kind, self._base(request))
        resources = [VIEWS[kind](registered) for registered in await self._service.list()]
        found = [resource for resource in resources if all(test(resource) for test in criteria)]
        page, links = self._page(request, kind, found, used)
        return _fhir(request, searchset(self._base(request), page, len(found), links))

    async def read(self, request: web.Request) -> web.Response:
        versions = await self._versions(request)
        registered, removed = versions[0]
        if removed:
            raise RequestError("request.deleted")
        return _resource(request, registered)

    async def vread(self, request: web.Request) -> web.Response:
        for registered, removed in await self._versions(request):
            if str(registered.revision) == request.match_info["vid"]:
                if removed:
                    raise RequestError("request.deleted")
                return _resource(request, registered)
        raise RequestError("request.not-found")

    async def instance_history(self, request: web.Request) -> web.Response:
        return self._history(request, await self._versions(request), f"/{request.match_info['id']}")

    async def type_history(self, request: web.Request) -> web.Response:
        return self._history(request, await self._service.whole_history(), "")

    def _history(self, request: web.Request, versions: Sequence[Version], where: str) -> web.Response:
        kind = request.match_info["kind"]
        entries = with_methods(versions)
        used: list[tuple[str, str]] = []
        since = request.query.get("_since")
        if since is not None:
            searched = date_range(since)
            if searched is None:
                raise RequestError("request.bad-value", parameter="_since", expected="instant")
            entries = [entry for entry in entries if _low(entry[0][0].updated_at) >= searched.low]
            used.append(("_since", since))
        page, links = self._page(request, f"{kind}{where}/_history", entries, used)
        return _fhir(request, history(self._base(request), kind, page, len(entries), links))

    def _page(
        self, request: web.Request, path: str, items: Sequence[_Item], used: Sequence[tuple[str, str]]
    ) -> tuple[Sequence[_Item], dict[str, str]]:
        """The items of the page asked for, and the links of the Bundle."""
        count, offset = _number(request, "_count"), _number(request, "_offset") or 0
        base = f"{self._base(request)}/{path}"
        paging = [] if count is None else [("_count", str(count))]
        here = [("_offset", str(offset))] if offset else []
        links = {"self": _url(base, [*used, *paging, *here])}
        if count is None:
            return items[offset:], links
        after = offset + count
        if count and after < len(items):
            links["next"] = _url(base, [*used, *paging, ("_offset", str(after))])
        return items[offset:after], links

    async def _versions(self, request: web.Request) -> Sequence[Version]:
        versions = await self._service.history(request.match_info["id"])
        if not versions:
            raise RequestError("request.not-found")
        return versions

    def _base(self, request: web.Request) -> str:
        return self._base_url or f"{request.url.origin()}{BASE}"


def _criteria(
    request: web.Request, kind: str, base: str
) -> tuple[list[Callable[[Mapping[str, Any]], bool]], list[tuple[str, str]]]:
    """The tests that the query makes, and the parameters it really used."""
    strict = parse_prefer(request.headers.getall("Prefer", [])).strict
    tests, used = [], []
    for written, value in request.query.items():
        name, _, modifier = written.partition(":")
        parameter = PARAMETERS[kind].get(name)
        if parameter is None:
            if strict and written not in _CONTROLS:
                raise RequestError("request.unknown-parameter", parameter=written[:64])
            continue
        if modifier and modifier not in _MODIFIERS.get(parameter.type, ()):
            raise RequestError("request.unknown-modifier", parameter=name)
        values = split_or(plain_pipes(value))
        check, expected = grammar(name, parameter.type, modifier or None)
        if not all(map(check, values)):
            raise RequestError("request.bad-value", parameter=name, expected=expected)
        tests.append(predicate(Criterion(parameter, kind, (), modifier or None, values), base=base))
        used.append((written, value))
    return tests, used


def _number(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise RequestError("request.bad-value", parameter=name, expected="0, 1, 2…")
    return int(value)


def _low(instant: str) -> float:
    found = date_range(instant)
    return found.low if found else 0.0


def _url(base: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{base}?{urlencode(pairs)}" if pairs else base


def _resource(request: web.Request, registered: Registered) -> web.Response:
    resource = VIEWS[request.match_info["kind"]](registered)
    return _fhir(request, resource, {"ETag": f'W/"{registered.revision}"'})


def _fhir(
    request: web.Request, resource: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> web.Response:
    if negotiate(request.query.get("_format"), request.headers.get("Accept")) is not Format.JSON:
        raise RequestError("registry.format")
    return web.Response(
        body=orjson.dumps(resource),
        headers={"Content-Type": Format.JSON.content_type, "Cache-Control": "no-store", **(headers or {})},
    )
