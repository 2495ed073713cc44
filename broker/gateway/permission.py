"""Whether who asks may do what is asked: every request against the one table (federation, section 7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.core.access.challenge import no_token
from broker.core.access.policy import POLICY, TYPE_OF_PATH, Interaction, check
from broker.core.query_parser import canonical_type
from broker.errors import AccessError, RequestError
from broker.gateway.fhir_request import PRINCIPAL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_METRICS: Final = "metrics"


def interaction_of(request: web.Request) -> Interaction | None:
    """What a request asks for; None where no route takes it, or the table does not know the one that does."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return POLICY.get((method, resource.canonical))


def is_public(request: web.Request, *, open_metrics: bool = False) -> bool:
    """Whether what is asked for takes no credentials."""
    interaction = interaction_of(request)
    if interaction is None:
        return False
    return interaction.need.is_public or (open_metrics and interaction.code == _METRICS)


def permitted(*, open_metrics: bool = False) -> Middleware:
    """The middleware. It goes within whatever sets `PRINCIPAL`. `open_metrics`: they are shown to anybody."""

    @web.middleware
    async def judged(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.http_exception is not None:  # no route takes it: that is the answer
            return await handler(request)
        interaction = interaction_of(request)
        if interaction is None:
            raise AccessError("access.undeclared")
        if is_public(request, open_metrics=open_metrics):
            return await handler(request)
        need = interaction.need
        principal = request.get(PRINCIPAL)
        if principal is None:
            raise no_token()
        resource_type = _type_of(request) if any(one.on == TYPE_OF_PATH for one in need.rights) else ""
        check(principal, need, resource_type)
        return await handler(request)

    return judged


def _type_of(request: web.Request) -> str:
    resource_type = canonical_type(request.match_info["type"])
    if resource_type is None:
        raise RequestError("request.not-found")
    return resource_type
