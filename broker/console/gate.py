"""The gate before personal data: a purpose is stated, then every access carries it (`/console/purpose`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from broker.console.frame import Frame, language_of_request
from broker.console.purpose import CODES, SECONDS, Purpose, stated
from broker.console.search_form import Fault
from broker.federation.context import RequestContext, Waits
from broker.gateway.fhir_request import PRINCIPAL, REASON, RequestRules, context_of

PATH: Final = "/console/purpose"
COOKIE: Final = "cds_purpose"
_USE: Final = "purpose"
_HOME: Final = "/console/search"
_BACK = re.compile(r"/console/(?:search|audit|circle/[A-Za-z0-9\-.]{1,64})")


@dataclass(frozen=True, slots=True)
class Gate:
    frame: Frame
    rules: RequestRules

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get(PATH, self._ask), web.post(PATH, self._take)]

    def admitted(self, request: web.Request) -> Purpose:
        """The purpose that was stated; from here on it goes with the request, to the trail and to managers.

        Raises a redirection to where it is asked for.
        """
        purpose = self._held(request)
        if purpose is None:
            request[REASON] = "console.purpose"
            raise web.HTTPSeeOther(f"{PATH}?next={quote(request.path, safe='/')}")
        principal = request[PRINCIPAL]
        request[PRINCIPAL] = replace(principal, purposes=(*principal.purposes, *purpose.codes()))
        return purpose

    def context(self, request: web.Request) -> RequestContext:
        """Of a request that was admitted, in the language of the page."""
        context = context_of(request, self.rules, self.frame.clock)
        return replace(context, language=language_of_request(request), waits=Waits())

    def _held(self, request: web.Request) -> Purpose | None:
        sealed = request.cookies.get(COOKIE)
        if sealed is None:
            return None
        content = self.frame.signer.open(_USE, sealed, request[PRINCIPAL].caller)
        return None if content is None else msgspec.json.decode(content, type=Purpose)

    async def _ask(self, request: web.Request) -> web.Response:
        return self._page(request, request.query.get("next", _HOME), {}, None)

    async def _take(self, request: web.Request) -> web.Response:
        form = await self.frame.form(request)
        purpose = stated(form.get("code", ""), form.get("reference", ""))
        if isinstance(purpose, str):
            return self._page(
                request, form.get("next", _HOME), form, Fault(purpose.rpartition(".")[2], purpose)
            )
        response = self.frame.done(request, _ours(form.get("next", _HOME)))
        sealed = self.frame.signer.seal(
            _USE, msgspec.json.encode(purpose), request[PRINCIPAL].caller, seconds=SECONDS
        )
        self.frame.keep(request, response, COOKIE, sealed, seconds=SECONDS)
        return response

    def _page(self, request: web.Request, back: str, values: object, fault: Fault | None) -> web.Response:
        status = 200 if fault is None else 422
        return self.frame.render(
            request, "purpose.html", status=status, codes=CODES, next=_ours(back), values=values, fault=fault
        )


def _ours(back: str) -> str:
    return back if _BACK.fullmatch(back) else _HOME
