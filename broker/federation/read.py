"""Flux 2b → 3b: one resource by its public id, its versions one by one, and a circle's history (federation, section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker.core.bundle import read_resource
from broker.core.elements import keep_elements
from broker.core.identity import Origin, is_alias, split_public_id
from broker.core.manager_failure import failed
from broker.core.rewriting import outward_url
from broker.core.validators import is_unchanged, validators
from broker.errors import BrokerError, FailureKind, RequestError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.manager_calls import ManagerCalls
from broker.ports import ManagerAnswer
from registry.model import Status

_CONDITIONS = ("if-none-match", "if-modified-since")
HEEDED = (*_CONDITIONS, "cache-control", "pragma")
"""Headers of a read that count, in lower case: its conditions, which its manager is told, and what asks for the home's own
word."""

_RELAYED = ("etag", "last-modified")


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What a read is answered with: 200 with a resource, 304, or 404/410 with the manager's own outcome, or ours."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Located:
    """A manager and its own id for a public id."""

    calls: ManagerCalls
    origin: Origin
    local_id: str


@dataclass(frozen=True, slots=True)
class ReadService:
    federation: Federation

    async def locate(self, public_id: str, context: RequestContext) -> Located:
        """Where a public id leads. `request.not-found`; `access.manager` out of the client's reach, whether anything is
        there or not; `manager.suspended` as an error."""
        parts = split_public_id(public_id)
        registered = self.federation.managers.get(parts[0]) if parts else None
        if parts is None or registered is None:
            raise RequestError("request.not-found")
        manager = registered.gestionnaire
        context.check_reach(manager)
        local_id = parts[1]
        if is_alias(public_id):
            resolved = await self.federation.aliases.resolve(public_id)
            if resolved is None:
                raise RequestError("request.not-found")
            local_id = resolved
        if manager.status is Status.SUSPENDED:
            raise BrokerError("manager.suspended", slug=manager.id, name=manager.name, region=manager.region)
        calls = self.federation.calls(registered)
        return Located(calls, self.federation.origins.of(manager), local_id)

    async def read(
        self,
        resource_type: str,
        public_id: str,
        context: RequestContext,
        *,
        version: str | None = None,
        conditions: Mapping[str, str] | None = None,
        elements: frozenset[str] | None = None,
    ) -> ReadAnswer:
        """Read or vread. `conditions`: those of `HEEDED` that the client sent."""
        if split_public_id(public_id) is not None:
            context.touched.name(resource_type, public_id)
        where = await self.locate(public_id, context)
        context.touched.managers.add(where.calls.manager.id)
        target = f"{resource_type}/{where.local_id}" + (f"/_history/{version}" if version else "")
        headers = {name: value for name, value in (conditions or {}).items() if name in _CONDITIONS}
        answer = await where.calls.get(target, context, headers=headers)
        if answer.status == 304 and not headers:  # there is nothing that it could be unchanged from
            raise failed(where.calls.manager, FailureKind.INVALID, status=304)
        rendered = await self._rendered(answer, resource_type, where, elements, context)
        if rendered.status == 200 and is_unchanged(headers, rendered.headers):
            return ReadAnswer(304, b"", rendered.headers)  # the manager did not look at the conditions
        return rendered

    async def _rendered(
        self,
        answer: ManagerAnswer,
        resource_type: str,
        where: Located,
        elements: frozenset[str] | None,
        context: RequestContext,
    ) -> ReadAnswer:
        aliases: dict[str, str] = {}
        kept = {name: answer.headers[name] for name in _RELAYED if name in answer.headers}
        if answer.status == 304:
            return ReadAnswer(304, b"", kept)
        if answer.status in (404, 410):
            raise RequestError("request.not-found" if answer.status == 404 else "request.deleted")
        if answer.status != 200:
            raise failed(where.calls.manager, FailureKind.REJECTED, status=answer.status)
        known = self.federation.origins.all()
        entry = read_resource(answer.body, where.origin, resource_type, aliases, known)
        if entry.local_id != where.local_id:
            raise failed(where.calls.manager, FailureKind.INVALID, detail="another id")
        context.touched.show(entry.type, entry.public_id, entry.raw)
        kept = validators(entry.version_id, entry.last_updated) | kept
        body = entry.raw
        if elements is not None:
            body = keep_elements(body, elements)
        location = answer.headers.get("content-location")
        if location and (public := outward_url(location, where.origin, aliases)):
            kept["content-location"] = public
        await self.federation.remember(aliases)
        return ReadAnswer(200, body, kept)
