"""The FHIR interactions of the federation: search, read, vread, history, metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from broker.core.manager_query import shown_elements
from broker.core.media_type import Format
from broker.core.query import SearchQuery
from broker.core.query_parser import canonical_type, parse_search, shown
from broker.core.query_values import is_date, is_id
from broker.errors import RequestError
from broker.federation.context import RequestContext
from broker.federation.history import HistoryService
from broker.federation.issues import FederatedAnswer
from broker.federation.read import HEEDED, ReadService
from broker.federation.search import SearchService
from broker.gateway.fhir_answer import fhir_response
from broker.gateway.fhir_request import RequestRules, context_of, form_pairs, format_of, query_pairs
from broker.ports import Clock

Pairs = list[tuple[str, str]]

_PAGE = "_page"
_HISTORY = frozenset({"_since", "_count", "_format", "_pretty"})


@dataclass(frozen=True, slots=True)
class FhirRoutes:
    """Handlers over the use cases. `statement` makes the CapabilityStatement of this moment."""

    searches: SearchService
    reads: ReadService
    histories: HistoryService
    statement: Callable[[], dict[str, Any]]
    rules: RequestRules
    clock: Clock
    max_count: int
    default_count: int

    def routes(self) -> Iterable[web.RouteDef]:
        """In order: fixed segments before variable ones, and of these first what is asked for most."""
        yield web.post("/fhir/{type}/_search", self.search_by_form)
        yield web.get("/fhir/metadata", self.metadata)
        yield web.get("/fhir/{type}", self.search)
        yield web.get("/fhir/{type}/_history", self.history_of_type)
        yield web.get("/fhir/{type}/{id}", self.read)
        yield web.get("/fhir/{type}/{id}/_history", self.history_of_circle)
        yield web.get("/fhir/{type}/{id}/_history/{vid}", self.vread)

    async def metadata(self, request: web.Request) -> web.Response:
        return await fhir_response(orjson.dumps(self.statement()), format_of(request))

    async def search(self, request: web.Request) -> web.Response:
        return await self._search(request, query_pairs(request, self.rules))

    async def search_by_form(self, request: web.Request) -> web.Response:
        return await self._search(request, await form_pairs(request, self.rules))

    async def _search(self, request: web.Request, pairs: Pairs) -> web.Response:
        form = format_of(request)
        resource_type = _type_of(request)
        context = context_of(request, self.rules, self.clock)
        token = dict(pairs).get(_PAGE)
        if token is not None:
            answer = await self.searches.later_page(resource_type, token, context)
            return await self._answered(answer, form, context, "partial")
        query = self._parsed(resource_type, pairs, context)
        answer = await self.searches.first_page(query, context)
        return await self._answered(answer, form, context, "handling", "partial")

    def _parsed(self, resource_type: str, pairs: Pairs, context: RequestContext) -> SearchQuery:
        query = parse_search(
            resource_type,
            pairs,
            strict=context.preferences.strict,
            max_count=self.max_count,
            max_parameters=self.rules.max_parameters,
        )
        if len(query.includes) > self.rules.max_includes:
            raise RequestError("limit.includes", limit=self.rules.max_includes)
        return query

    async def read(self, request: web.Request) -> web.Response:
        return await self._read(request, None)

    async def vread(self, request: web.Request) -> web.Response:
        version = request.match_info["vid"]
        if not is_id(version):
            raise RequestError("request.not-found")
        return await self._read(request, version)

    async def _read(self, request: web.Request, version: str | None) -> web.Response:
        form = format_of(request)
        resource_type = _type_of(request)
        context = context_of(request, self.rules, self.clock)
        parts = [pair for pair in query_pairs(request, self.rules) if pair[0] in ("_elements", "_summary")]
        elements = (
            shown_elements(self._parsed(resource_type, parts, context), resource_type) if parts else None
        )
        answer = await self.reads.read(
            resource_type,
            request.match_info["id"],
            context,
            version=version,
            conditions=_heeded(request),
            elements=elements,
        )
        headers = {**answer.headers, **self._applied(context)}
        if answer.status == 304:
            return web.Response(status=304, headers=headers)
        return await fhir_response(answer.body, form, status=answer.status, headers=headers)

    async def history_of_type(self, request: web.Request) -> web.Response:
        return await self._history(request, None)

    async def history_of_circle(self, request: web.Request) -> web.Response:
        return await self._history(request, request.match_info["id"])

    async def _history(self, request: web.Request, public_id: str | None) -> web.Response:
        form = format_of(request)
        if _type_of(request) != "CareTeam":  # the guide asks for the history of circles alone
            raise RequestError("request.not-found")
        context = context_of(request, self.rules, self.clock)
        pairs = query_pairs(request, self.rules)
        token = dict(pairs).get(_PAGE)
        if token is not None:
            what = "CareTeam" if public_id is None else f"CareTeam/{public_id}"
            answer = await self.histories.later_page(what, token, context)
            return await self._answered(answer, form, context, "partial")
        unknown = next((name for name, _ in pairs if name not in _HISTORY), None)
        if unknown is not None and context.preferences.strict:
            raise RequestError("request.unknown-parameter", parameter=shown(unknown))
        size = self._history_size(pairs)
        kept = tuple((name, value) for name, value in pairs if name == "_since")
        if any(not is_date(value) or not value[:4].isdigit() for _, value in kept):
            raise RequestError(
                "request.bad-value", parameter="_since", expected="YYYY-MM-DDThh:mm:ss.sss±hh:mm"
            )
        if public_id is None:
            answer = await self.histories.of_type(kept, size, context)
        else:
            answer = await self.histories.of_circle(public_id, kept, size, context)
        return await self._answered(answer, form, context, "handling", "partial")

    async def _answered(
        self, answer: FederatedAnswer, form: Format, context: RequestContext, *honoured: str
    ) -> web.Response:
        headers = self._applied(context, *honoured)
        if answer.status == 503:
            headers["Retry-After"] = "5"
        return await fhir_response(answer.body, form, status=answer.status, headers=headers)

    def _applied(self, context: RequestContext, *honoured: str) -> dict[str, str]:
        """`Preference-Applied`; a `wait` beyond the broker's own deadline was not."""
        wait = context.preferences.wait
        waited = ("wait",) if wait is not None and wait <= self.rules.deadline else ()
        applied = context.preferences.applied((*honoured, *waited))
        return {"Preference-Applied": applied} if applied else {}

    def _history_size(self, pairs: Pairs) -> int:
        given = dict(pairs).get("_count")
        if given is None:
            return self.default_count
        if not (given.isascii() and given.isdigit()) or len(given) > 9 or int(given) == 0:
            raise RequestError("request.bad-value", parameter="_count", expected="1…")
        return min(int(given), self.max_count)


def _heeded(request: web.Request) -> dict[str, str]:
    """Headers of a read. One that came in several lines is one list (RFC 9110, section 5.3)."""
    headers = request.headers
    return {name: ", ".join(headers.getall(name)) for name in HEEDED if name in headers}


def _type_of(request: web.Request) -> str:
    """The resource type of the path, however the guide's examples spell it; 404 for another."""
    resource_type = canonical_type(request.match_info["type"])
    if resource_type is None:
        raise RequestError("request.not-found")
    return resource_type
