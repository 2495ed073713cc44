"""`CareTeam/$locate`, by GET or, so that no INS is in a URL, by a POST of the same form as a search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from broker.core.query_parser import parse_search
from broker.federation.locate import LocateService
from broker.gateway.fhir_answer import fhir_response
from broker.gateway.fhir_request import RequestRules, context_of, form_pairs, format_of, query_pairs
from broker.ports import Clock

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class LocateRoutes:
    service: LocateService
    rules: RequestRules
    clock: Clock

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get("/fhir/CareTeam/$locate", self.by_query)
        yield web.post("/fhir/CareTeam/$locate", self.by_form)

    async def by_query(self, request: web.Request) -> web.Response:
        return await self._located(request, query_pairs(request, self.rules))

    async def by_form(self, request: web.Request) -> web.Response:
        return await self._located(request, await form_pairs(request, self.rules))

    async def _located(self, request: web.Request, pairs: Pairs) -> web.Response:
        # Strict: a parameter that is not understood would point to more circles than were asked for.
        query = parse_search("CareTeam", pairs, strict=True, max_parameters=self.rules.max_parameters)
        context = context_of(request, self.rules, self.clock)
        return await fhir_response(await self.service.locate(query, context), format_of(request))
