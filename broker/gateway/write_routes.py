"""The writing interactions: flux 1a, 1b, 4a, 4b (one resource) and 1c, 4c (transactions)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from broker.aside import aside
from broker.core.condition import read_condition
from broker.core.media_type import Format, parse_content_type
from broker.core.profile_check import check_resource
from broker.core.query_parser import canonical_type
from broker.core.write_body import read_resource_body, refusal
from broker.errors import Issue, RequestError
from broker.federation.context import RequestContext
from broker.federation.writing.create import CreateService
from broker.federation.writing.detached import Detached
from broker.federation.writing.idempotency import Idempotency
from broker.federation.writing.records import Asked, Replay, WriteAnswer
from broker.federation.writing.transact import TransactionService
from broker.federation.writing.update import UpdateService
from broker.gateway.fhir_answer import fhir_response
from broker.gateway.fhir_request import RequestRules, context_of, format_of
from broker.ports import Clock

_NAMES = {
    "etag": "ETag",
    "last-modified": "Last-Modified",
    "location": "Location",
    "content-location": "Content-Location",
    "warning": "Warning",
}

_IN_ADDRESS = frozenset({"_format", "_pretty", "_summary", "_elements"})
"""What may stand in the address of a write (FHIR R4, http.html#parameters)."""

Work = Callable[[Asked, RequestContext], Awaitable[WriteAnswer]]


@dataclass(frozen=True, slots=True)
class WriteRoutes:
    """`rules.deadline`: seconds for a whole write."""

    creates: CreateService
    updates: UpdateService
    transactions: TransactionService
    idempotency: Idempotency
    detached: Detached
    rules: RequestRules
    clock: Clock

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.post("/fhir", self.transact)
        yield web.post("/fhir/", self.transact)
        # What is no type or no id is left to what is offered there: 405, with what is allowed.
        yield web.post(r"/fhir/{type:(?!metadata$)[^{}/]+}", self.create)
        yield web.put(r"/fhir/{type}/{id:[A-Za-z0-9\-.]+}", self.update)

    async def create(self, request: web.Request) -> web.Response:
        resource_type = _type_of(request)
        if_none_exist = request.headers.get("If-None-Exist")
        if if_none_exist is not None:
            read_condition(resource_type, if_none_exist)
        return await self._written(request, resource_type, self.creates.create)

    async def update(self, request: web.Request) -> web.Response:
        public_id = request.match_info["id"]

        def work(asked: Asked, context: RequestContext) -> Awaitable[WriteAnswer]:
            return self.updates.update(public_id, asked, context)

        return await self._written(request, _type_of(request), work)

    async def transact(self, request: web.Request) -> web.Response:
        return await self._written(request, None, self.transactions.transact)

    async def _written(self, request: web.Request, resource_type: str | None, work: Work) -> web.Response:
        """`resource_type`: None for a transaction, whose entries are checked one by one."""
        _no_criteria(request)
        form = format_of(request)
        context = context_of(request, self.rules, self.clock)
        stated = parse_content_type(request.headers.get("Content-Type"))
        received = await request.read()
        body, content, warnings = await aside(len(received), self._checked, received, stated, resource_type)
        asked = Asked(
            resource_type or "Bundle",
            body,
            content,
            stated_home=request.headers.get("X-Gestionnaire"),
            if_match=request.headers.get("If-Match"),
            if_none_exist=request.headers.get("If-None-Exist") if request.method == "POST" else None,
            warnings=warnings,
        )
        answer = await self.detached.run(self._once(request, received, asked, context, work))
        return await self._answered(answer, form, context)

    async def _once(
        self, request: web.Request, received: bytes, asked: Asked, context: RequestContext, work: Work
    ) -> WriteAnswer:
        async def done(replay: Replay | None) -> WriteAnswer:
            return await work(replace(asked, replay=replay), context)

        key = request.headers.get("Idempotency-Key")
        fingerprint = b"" if key is None else _fingerprint(request, received)
        return await self.idempotency.once(key, fingerprint, context, done)

    def _checked(
        self, received: bytes, stated: Format, resource_type: str | None
    ) -> tuple[bytes, dict[str, Any], tuple[Issue, ...]]:
        """A body as JSON, as a tree, and what must be said of it. Raises `RequestError` with all that is wrong."""
        body, content = read_resource_body(received, stated, resource_type, self.rules.max_nesting)
        if resource_type is None:
            return body, content, ()
        issues = check_resource(content)
        refused = refusal(issues)
        if refused is not None:
            raise refused
        return body, content, tuple(issues)

    async def _answered(self, answer: WriteAnswer, form: Format, context: RequestContext) -> web.Response:
        headers = {_NAMES[name]: value for name, value in answer.headers.items() if name in _NAMES}
        applied = context.preferences.applied(("return", "uniqueness", "wait"))
        if applied:
            headers["Preference-Applied"] = applied
        if not answer.body:
            return web.Response(status=answer.status, headers=headers)
        return await fhir_response(answer.body, form, status=answer.status, headers=headers)


def _no_criteria(request: web.Request) -> None:
    """Some clients put the condition of a creation there: to leave it out would make what they did not want made."""
    name = next((one for one in request.query if one not in _IN_ADDRESS), None)
    if name is not None:
        raise RequestError("request.criteria-in-address", parameter=name[:64])


def _type_of(request: web.Request) -> str:
    resource_type = canonical_type(request.match_info["type"])
    if resource_type is None:
        raise RequestError("request.not-found")
    return resource_type


_FINGERPRINTED = ("Content-Type", "If-Match", "If-None-Exist", "X-Gestionnaire", "Prefer")


def _fingerprint(request: web.Request, body: bytes) -> bytes:
    """What makes two requests the same: what is asked, where, under what conditions, and with what body."""
    said = [request.method, request.path, *(request.headers.get(name, "") for name in _FINGERPRINTED)]
    return hashlib.sha256("\n".join(said).encode("utf-8", "surrogateescape")).digest() + body
