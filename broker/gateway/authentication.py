"""Who asks, found out before anything is done for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.access.authenticator import Authenticator, OpenAccess, Presented
from broker.core.access.challenge import refused
from broker.core.access.principal import ANONYMOUS, LOCAL
from broker.errors import AccessError
from broker.gateway.fhir_request import PRINCIPAL
from broker.gateway.peer import Peers
from broker.gateway.permission import is_public

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def authenticated(authenticator: Authenticator, peers: Peers, *, open_metrics: bool = False) -> Middleware:
    """Sets `request[PRINCIPAL]`, or raises `AccessError`, `StoreError`: middlewares around it make an answer of that.

    What the table of interactions opens to anybody takes no credentials, and looks at none.
    """
    if isinstance(authenticator, OpenAccess):
        return _all_local

    @web.middleware
    async def authenticating(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_public(request, open_metrics=open_metrics):
            request[PRINCIPAL] = ANONYMOUS
        else:
            request[PRINCIPAL] = await authenticator.principal(_presented(request, peers))
        return await handler(request)

    return authenticating


@web.middleware
async def _all_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[PRINCIPAL] = LOCAL
    return await handler(request)


def _presented(request: web.Request, peers: Peers) -> Presented:
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
