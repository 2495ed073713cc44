"""Signing in and out (`/console/login`, `/console/callback`, `/console/logout`): OpenID Connect's code flow, as a browser
goes through it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from broker.access.sign_in import SignIn
from broker.console.frame import HEADERS, VISIT, Frame
from broker.console.gate import COOKIE as PURPOSE
from broker.console.session_cookie import BY_SESSION, SessionCookie
from broker.core.access.principal import ANONYMOUS
from broker.core.access.sign_in import CALLBACK, HOME, SIGN_IN, SIGN_OUT, SIGNED_OUT, read_returned
from broker.errors import RequestError
from broker.gateway.authentication import presented_by
from broker.gateway.fhir_request import PRINCIPAL, REASON
from broker.gateway.peer import Peers


@dataclass(frozen=True, slots=True)
class Offered:
    """What people sign in with."""

    sign_in: SignIn
    cookie: SessionCookie
    peers: Peers


@dataclass(frozen=True, slots=True)
class SignInPage:
    """`offered`: None where nobody can sign in from a browser: then there are no such pages."""

    frame: Frame
    offered: Offered | None

    def routes(self) -> Iterable[web.RouteDef]:
        # Never HEAD: whoever looks at a link before it is followed uses nothing up.
        yield web.get(SIGN_IN, self._begin, allow_head=False)
        yield web.get(CALLBACK, self._finish, allow_head=False)
        yield web.post(SIGN_OUT, self._leave)
        yield web.get(SIGNED_OUT, self._left)

    async def _begin(self, request: web.Request) -> web.Response:
        offered = self._offered()
        presented_by(request, offered.peers)
        begun = await offered.sign_in.begin(request.query.get("next", HOME))
        response = _to(begun.url)
        offered.cookie.begin(request, response, begun)
        return response

    async def _finish(self, request: web.Request) -> web.Response:
        """Behind it the address, with its code, is in no history: the browser is sent on."""
        offered = self._offered()
        presented = presented_by(request, offered.peers)
        returned = read_returned(request.rel_url.raw_query_string)
        cookie = offered.cookie
        done = await offered.sign_in.finish(returned, cookie.begun(request, returned.state), presented)
        request[PRINCIPAL] = done.principal
        before = cookie.name(request)
        if before is not None:
            await offered.sign_in.sessions.forget(before)
        response = _to(done.page)
        cookie.end(response, returned.state)
        cookie.keep(response, done.name)
        return response

    async def _leave(self, request: web.Request) -> web.Response:
        """The browser goes on to end the issuer's session by a page of its own: sent there as the answer to a form it would
        be held back, since forms lead nowhere but here (CSP `form-action`)."""
        offered = self._offered()
        name = offered.cookie.name(request)
        principal = None if name is None else await offered.sign_in.sessions.known(name)
        if name is None or principal is None:
            request[REASON] = "console.session-over"
            return self._without(offered, _to(SIGNED_OUT))
        request[PRINCIPAL], request[BY_SESSION] = principal, True
        await self.frame.form(request)
        onward = await offered.sign_in.leave(name)
        if onward is None:
            return self._without(offered, _to(SIGNED_OUT))
        return self._without(offered, self._page(request, onward))

    async def _left(self, request: web.Request) -> web.Response:
        self._offered()
        return self._page(request, None)

    def _page(self, request: web.Request, onward: str | None) -> web.Response:
        return self.frame.render(request, "signed_out.html", principal=ANONYMOUS, onward=onward)

    def _without(self, offered: Offered, response: web.Response) -> web.Response:
        """The browser keeps nothing of who was here."""
        offered.cookie.drop(response)
        for name in (PURPOSE, VISIT):
            response.del_cookie(name, path=HOME)
        return response

    def _offered(self) -> Offered:
        if self.offered is None:
            raise RequestError("request.not-found")
        return self.offered


def _to(address: str) -> web.Response:
    return web.Response(status=303, headers={**HEADERS, "Location": address})
