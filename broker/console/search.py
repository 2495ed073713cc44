"""`/console/search`: the guide's criteria as a form, and what the federation answers as circles one can read.

Searches and their pages go by POST: no identity is in an address, a link or a cookie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from aiohttp import web

from broker.console.asked_view import Waited, manager_lines
from broker.console.curl import curl
from broker.console.frame import NavItem, language_of_request
from broker.console.gate import Gate
from broker.console.purpose import Purpose
from broker.console.search_form import FIELDS, GROUPS, OPERATORS, SIZES, Asked, read
from broker.console.search_view import Known, Results, results
from broker.console.shown_dates import shown_date, shown_period
from broker.core.access.principal import Method
from broker.core.messages import text as message
from broker.core.query import SearchQuery
from broker.core.query_parser import parse_search
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.search import SearchService
from broker.gateway.fhir_request import PRINCIPAL

PATH: Final = "/console/search"
NAV: Final = NavItem("search.nav", PATH)
_PAGE: Final = "page"


@dataclass(frozen=True, slots=True)
class SearchPage:
    gate: Gate
    searches: SearchService

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get(PATH, self._form), web.post(PATH, self._search)]

    async def _form(self, request: web.Request) -> web.Response:
        return self._page(request, self.gate.admitted(request), Asked({}, ()))

    async def _search(self, request: web.Request) -> web.Response:
        purpose = self.gate.admitted(request)
        form = await self.gate.frame.form(request)
        asked = read(form)
        if asked.faults:
            return self._page(request, purpose, asked, status=422)
        options = self.searches.federation.options
        query = parse_search("CareTeam", asked.pairs, strict=True, max_count=options.max_count)
        context = self.gate.context(request)
        plan = await self.searches.explain(query, context.principal)
        status, found = await self._found(query, form.get(_PAGE), context)
        lines = manager_lines(plan, found, waited(context))
        token = request[PRINCIPAL].method is Method.TOKEN
        command = curl(options.public_base, "CareTeam", asked.pairs, token=token)
        return self._page(
            request, purpose, asked, status=status, found=found, managers=lines, command=command
        )

    async def _found(
        self, query: SearchQuery, page: str | None, context: RequestContext
    ) -> tuple[int, Results]:
        if page:
            answer = await self.searches.later_page("CareTeam", page, context)
        else:
            answer = await self.searches.first_page(query, context)
        return answer.status, results(orjson.loads(answer.body), known(self.searches.federation, context))

    def _page(
        self, request: web.Request, purpose: Purpose, asked: Asked, *, status: int = 200, **more: Any
    ) -> web.Response:
        values: Mapping[str, Any] = {"found": None, "managers": (), "command": "", **more}
        language = language_of_request(request)
        return self.gate.frame.render(
            request,
            "search.html",
            status=status,
            purpose=purpose,
            asked=asked,
            groups=GROUPS,
            fields=FIELDS,
            operators=OPERATORS,
            sizes=SIZES,
            day=partial(shown_date, language=language),
            period=partial(shown_period, language=language),
            told=partial(told, language=language),
            names=names(self.searches.federation),
            **values,
        )


def known(federation: Federation, context: RequestContext) -> Known:
    return Known(
        public_base=federation.options.public_base,
        bases=federation.origins.bases(),
        managers={one.gestionnaire.id: one.gestionnaire for one in federation.managers.all()},
        today=context.clock.now().date(),
        language=context.language,
    )


def names(federation: Federation) -> Mapping[str, str]:
    """Of managers, by slug."""
    return {one.gestionnaire.id: one.gestionnaire.name for one in federation.managers.all()}


def waited(context: RequestContext) -> dict[str, Waited]:
    held = {} if context.waits is None else context.waits.by_manager
    return {slug: Waited(last - first, count) for slug, (first, last, count) in held.items()}


def told(key: str, language: str, **params: str) -> str:
    """A row of the broker's own texts, as the plan's reasons and managers' failures are."""
    return message(key, language, **params)
