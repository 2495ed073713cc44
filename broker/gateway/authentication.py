"""Who asks, found out before anything is done for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.access.authenticator import Authenticator, OpenAccess, Presented
from broker.core.access.challenge import refused
from broker.core.access.principal import ANONYMOUS, LOCAL, Principal
from broker.errors import AccessError
from broker.gateway.fhir_request import PRINCIPAL
from broker.gateway.peer import Peers
from broker.gateway.permission import is_public

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SignedIn(Protocol):
    """People who signed in, known by what their browser holds."""

    async def principal(self, request: web.Request, presented: Presented) -> Principal | None:
        """None where the request comes with nothing of the kind, or to where nothing of the kind counts. Raises as an
        authenticator does."""
        ...


def authenticated(
    authenticator: Authenticator,
    peers: Peers,
    *,
    open_metrics: bool = False,
    signed_in: SignedIn | None = None,
) -> Middleware:
    """Sets `request[PRINCIPAL]`, or raises `AccessError`, `StoreError`: middlewares around it make an answer of that.

    What the table of interactions opens to anybody takes no credentials, and looks at none. An `Authorization` header goes
    before what a browser holds.
    """
    if isinstance(authenticator, OpenAccess):
        return _all_local

    @web.middleware
    async def authenticating(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_public(request, open_metrics=open_metrics):
            request[PRINCIPAL] = ANONYMOUS
        else:
            presented = presented_by(request, peers)
            known = None
            if signed_in is not None and presented.authorization is None:
                known = await signed_in.principal(request, presented)
            request[PRINCIPAL] = await authenticator.principal(presented) if known is None else known
        return await handler(request)

    return authenticating


@web.middleware
async def _all_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[PRINCIPAL] = LOCAL
    return await handler(request)


def presented_by(request: web.Request, peers: Peers) -> Presented:
    """Raises `AccessError` where it came in a way in which none is to come."""
    if not peers.is_secure(request):
        raise AccessError("access.insecure")
    headers = request.headers.getall("Authorization", [])
    if len(headers) > 1 or _token_in(request.rel_url.raw_query_string):
        raise refused("access.several", error="invalid_request")
    return Presented(headers[0] if headers else None, peers.certificate(request), peers.address(request))


def _token_in(query: str) -> bool:
    """Whether a token came in the address, where logs and histories would keep it (RFC 6750, section 2.3)."""
    if "token" not in query and "%" not in query:
        return False
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace")
    except ValueError:
        return False
    return any(name == "access_token" for name, _ in pairs)
