"""`/console/circle/{id}`: one circle, where it is held, its versions and what changed between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import orjson
from aiohttp import web

from broker.console.circle_view import Holdings, Version, holdings, references, versions
from broker.console.gate import Gate
from broker.console.purpose import Purpose
from broker.console.resource_words import items, part, words
from broker.console.search import known
from broker.console.search import names as manager_names
from broker.console.search_form import INCLUDES
from broker.console.search_view import Circle, Results, included_in, issues, results
from broker.console.shown_dates import shown_date, shown_period
from broker.core.access.policy import may_see
from broker.core.identity import split_public_id
from broker.core.query_parser import parse_search
from broker.core.query_values import escape
from broker.errors import BrokerError, RequestError
from broker.federation.context import RequestContext
from broker.federation.history import HistoryService
from broker.federation.issues import FederatedAnswer
from broker.federation.locate import LocateService
from broker.federation.search import SearchService

PATH: Final = "/console/circle/{id}"
_SIZE: Final = 20
_GONE: Final = 50  # former members of a type that are looked up


@dataclass(frozen=True, slots=True)
class CirclePage:
    """`locate`: None where this broker has no index."""

    gate: Gate
    searches: SearchService
    histories: HistoryService
    locate: LocateService | None = None

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get(PATH, self._show), web.post(PATH, self._later)]

    async def _show(self, request: web.Request) -> web.Response:
        return await self._page(request, self.gate.admitted(request), None)

    async def _later(self, request: web.Request) -> web.Response:
        purpose = self.gate.admitted(request)
        form = await self.gate.frame.form(request)
        return await self._page(request, purpose, form.get("page"))

    async def _page(self, request: web.Request, purpose: Purpose, token: str | None) -> web.Response:
        identifier = request.match_info["id"]
        if split_public_id(identifier) is None:
            raise RequestError("request.not-found")
        context = self.gate.context(request)
        history = await self._history(identifier, token, context)
        bundle = orjson.loads(history.body)
        now, names = await self._now(identifier, context)
        names = {**await self._gone(bundle, names, context), **names}
        listed = versions(bundle, names, context.language) if history.status == 200 else []
        return self.gate.frame.render(
            request,
            "circle.html",
            status=history.status,
            purpose=purpose,
            identifier=identifier,
            manager=identifier.partition(".")[0],
            circle=now,
            versions=listed,
            issues=_issues(bundle),
            holdings=await self._held(now, listed, context),
            managers=manager_names(self.searches.federation),
            next=_token(bundle, "next"),
            first=_token(bundle, "first") if token else None,
            day=partial(shown_date, language=context.language),
            period=partial(shown_period, language=context.language),
        )

    async def _history(self, identifier: str, token: str | None, context: RequestContext) -> FederatedAnswer:
        if token:
            return await self.histories.later_page(f"CareTeam/{identifier}", token, context)
        return await self.histories.of_circle(identifier, (), _SIZE, context)

    async def _now(self, identifier: str, context: RequestContext) -> tuple[Circle | None, Mapping[str, str]]:
        """The circle as it is, and the names of those in it; neither where it was deleted or cannot be had now."""
        query = parse_search("CareTeam", [("_id", identifier), *INCLUDES], strict=True)
        answer = await self.searches.first_page(query, context)
        bundle = orjson.loads(answer.body)
        found: Results = results(bundle, known(self.searches.federation, context))
        circle = next((one for one in found.circles if one.id == identifier), None)
        return circle, included_in(bundle).names()

    async def _gone(
        self, bundle: Mapping[str, Any], names: Mapping[str, str], context: RequestContext
    ) -> Mapping[str, str]:
        """Names of members of earlier versions who are in the circle no more, as far as the client may see them."""
        found: dict[str, str] = {}
        for kind, ids in references(bundle).items():
            wanted = [one for one in ids if f"{kind}/{one}" not in names][:_GONE]
            if not wanted or not may_see(context.principal.scopes, kind):
                continue
            pairs = [("_id", ",".join(wanted)), ("_count", str(_GONE))]
            pairs += [("_include", "PractitionerRole:practitioner")] if kind == "PractitionerRole" else []
            answer = await self.searches.first_page(parse_search(kind, pairs, strict=True), context)
            found |= included_in(orjson.loads(answer.body)).names()
        return found

    async def _held(
        self, now: Circle | None, listed: Sequence[Version], context: RequestContext
    ) -> Holdings | None:
        """None where there is no index, or nothing to look it up by."""
        pairs = [
            ("identifier", f"{escape(system)}|{escape(value)}")
            for system, value in _identifiers(now, listed)
            if system and value
        ][:1]
        if self.locate is None or not pairs:
            return None
        query = parse_search("CareTeam", pairs, strict=True)
        try:
            return holdings(orjson.loads(await self.locate.locate(query, context)))
        except BrokerError:  # what the index knows is no condition for showing what the manager said
            return None


def _identifiers(now: Circle | None, listed: Sequence[Version]) -> Sequence[tuple[str, str]]:
    if now is not None:
        return now.identifiers
    last = next((one.resource for one in listed if one.resource is not None), {})
    return [(words(one.get("system")), words(one.get("value"))) for one in items(last.get("identifier"))]


def _issues(bundle: Mapping[str, Any]) -> list[Any]:
    if bundle.get("resourceType") == "OperationOutcome":
        return [*issues(bundle)]
    told = [part(one, "response", "outcome") for one in items(bundle.get("entry"))]
    return [issue for one in told if isinstance(one, dict) for issue in issues(one)]


def _token(bundle: Mapping[str, Any], relation: str) -> str | None:
    links = items(bundle.get("link"))
    url = next((words(one.get("url")) for one in links if one.get("relation") == relation), "")
    return next(iter(parse_qs(urlsplit(url).query).get("_page", [])), None)
