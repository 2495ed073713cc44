"""Who asks, as tests say it: principals by name, in place of tokens and certificates.

monkeypatch.setattr(wiring, "authenticated", callers.authenticated)
async with federation(valkey, ...) as broker:
    await broker.get("CareTeam", **callers.header(Principal("region", scopes=...)))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.core.access.principal import ANONYMOUS, LOCAL, Permission, Principal, Role, Scopes
from broker.gateway.fhir_request import PRINCIPAL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADER = "X-Test-Principal"


@dataclass
class Callers:
    """A middleware that takes a request's principal by the name in a header. Without the header it is `otherwise`."""

    otherwise: Principal = LOCAL
    known: dict[str, Principal] = field(default_factory=dict)

    def authenticated(self, *_: Any, **__: Any) -> Middleware:
        @web.middleware
        async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
            name = request.headers.get(HEADER)
            request[PRINCIPAL] = self.otherwise if name is None else self.known[name]
            return await handler(request)

        return named

    def header(self, principal: Principal) -> dict[str, str]:
        name = f"p{len(self.known)}"
        self.known[name] = principal
        return {HEADER: name}


as_local: Middleware = Callers(LOCAL).authenticated()
"""Everybody may do everything."""

NOBODY = ANONYMOUS


def scopes(*granted: str) -> Scopes:
    """`scopes("CareTeam.rs", "*.cruds", "registry.read")`: letters on a type, or a role."""
    fhir: dict[str, frozenset[Permission]] = {}
    roles = set()
    for one in granted:
        if one in tuple(Role):
            roles.add(Role(one))
            continue
        kind, _, letters = one.partition(".")
        fhir[kind] = fhir.get(kind, frozenset()) | frozenset(map(Permission, letters))
    return Scopes(fhir, frozenset(roles))
