"""Every access leaves its trace before it is answered: reads, searches, writes, refusals, administration.

Stands outside of all that refuses, so that refusals are traced too, and inside of what renders errors. Where the
trail cannot be written nothing is begun (503); a read that was done meanwhile is not handed out; a write that was
done is answered truly, for it did happen, and its trace is kept until it can be written. A client that leaves is
traced as well: a search with what it had touched by then, a write when it has come to its end, which it does without
its client.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from broker.audit.trail import Trail
from broker.core.access.principal import ANONYMOUS
from broker.core.access.touched import Touched
from broker.core.audit.access import DEFECT, LEFT, Access
from broker.core.audit.audited import Audited, audited_as, refused_as
from broker.core.outcome import status_of
from broker.core.query_parser import canonical_type
from broker.core.query_values import is_id
from broker.errors import AccessError, AuditError, BrokerError
from broker.gateway.fhir_request import PRINCIPAL, REASON, REQUEST_ID, TOUCHED
from broker.ports import Clock
from broker.tracing import stage

_SUBSCRIPTION = "Subscription"
_TOKEN = re.compile(rb"(access_token=|csrf=)[^&\s]*", re.IGNORECASE)
_NAMES = (b"token=", b"csrf=")
"""A credential in a place where none belongs (RFC 6750, section 2.3): refused, and not kept. Nor is what proves a form
of the console to be its own."""


@dataclass(frozen=True, slots=True)
class Auditing:
    """`deny`: whether what cannot be traced is refused. `address_of`: whose address counts as the client's."""

    trail: Trail
    clock: Clock
    deny: bool = True
    address_of: Callable[[web.Request], str] = lambda request: request.remote or ""
    _late: set[asyncio.Task[web.StreamResponse]] = field(default_factory=set)

    def middleware(self) -> Middleware:
        @web.middleware
        async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
            what = audited_as(request.method, _route(request))
            if what is None:
                return await self._untraced(request, handler)
            self.trail.admit()
            if not what.changes:
                return await self._traced(request, handler, what)
            task = asyncio.create_task(self._traced(request, handler, what))
            self._late.add(task)
            task.add_done_callback(self._ended)
            return await asyncio.shield(task)

        return audited

    async def aclose(self, patience: float) -> None:
        """Wait for writes whose client has left."""
        if self._late:
            await asyncio.wait(self._late, timeout=patience)
        for task in [*self._late]:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _untraced(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What leaves no trace but where who asks is refused."""
        try:
            return await handler(request)
        except AccessError as error:
            await self._refused(request, refused_as(request.method, _route(request)), error)
            raise

    async def _traced(self, request: web.Request, handler: Handler, what: Audited) -> web.StreamResponse:
        """Raises what the handler raises, and `AuditError` in its place where there is no trace of a read."""
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            self.trail.tell(await self._access(request, what, LEFT, None))
            raise
        except BrokerError as error:
            await self._refused(request, what, error)
            raise
        except web.HTTPException as error:
            await self._record(request, what, error.status, None)
            raise
        except Exception:
            await self._record(request, what, 500, DEFECT)
            raise
        await self._record(request, what, response.status, None)
        return response

    async def _refused(self, request: web.Request, what: Audited, error: BrokerError) -> None:
        proven = error.proven if isinstance(error, AccessError) else None
        await self._record(request, what, status_of(error), error.key, proven)

    async def _record(
        self, request: web.Request, what: Audited, status: int, reason: str | None, proven: str | None = None
    ) -> None:
        """`proven`: who it is that is not let in."""
        access = await self._access(request, what, status, reason)
        if access.client is None:
            access = msgspec.structs.replace(access, client=proven)
        with stage("audit"):
            written = await self.trail.record(access)
        if not written and self.deny and not what.changes:
            raise AuditError("audit.unavailable")

    async def _access(self, request: web.Request, what: Audited, status: int, reason: str | None) -> Access:
        principal = request.get(PRINCIPAL)
        if principal is ANONYMOUS:
            principal = None
        touched = request.get(TOUCHED) or Touched()
        if status >= 400 and not touched.resources:
            _name(touched, request)
        return Access(
            at=self.clock.now(),
            interaction=what,
            request_id=request[REQUEST_ID],
            status=status,
            client=None if principal is None else principal.client,
            user=None if principal is None else principal.user,
            address=self.address_of(request) or None,
            persons=tuple(touched.persons),
            resources=tuple(touched.resources),
            managers=tuple(touched.managers),
            purposes=() if principal is None else principal.purposes,
            query=await _query(request) if what.queried else b"",
            reason=reason or touched.reason or request.get(REASON),
            risk_accepted=touched.risk_accepted,
        )

    def _ended(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited was told


def _route(request: web.Request) -> str:
    """The canonical path of the route; the path itself where no route took it."""
    resource = request.match_info.route.resource
    return request.path if resource is None else resource.canonical


def _name(touched: Touched, request: web.Request) -> None:
    """The resource that was asked for by name, where that was refused before anybody looked at it."""
    parts = request.path.split("/")[1:4]
    if len(parts) < 3 or parts[0] != "fhir" or request.match_info.get("id") != parts[2]:
        return
    resource_type = parts[1] if parts[1] == _SUBSCRIPTION else canonical_type(parts[1])
    if resource_type is not None and is_id(parts[2]):
        touched.name(resource_type, parts[2])


async def _query(request: web.Request) -> bytes:
    """Method and target as they came, without a token where one was put there; behind an empty line the form, where
    it was read by then."""
    asked = _without_token(f"{request.method} {request.raw_path}".encode("utf-8", "surrogateescape"))
    # At its end: what was read is kept by the request, and what nobody read is not waited for.
    if request.method == "GET" or not request.body_exists or not request.content.at_eof():
        return asked
    return b"%b\n\n%b" % (asked, _without_token(await request.read()))


def _without_token(text: bytes) -> bytes:
    """Hardly ever is there one: looking for its name first costs a twentieth of the expression."""
    folded = text.lower()
    return _TOKEN.sub(rb"\1", text) if any(name in folded for name in _NAMES) else text
