"""Subscriptions over HTTP: FHIR R4's interactions, and the operations of Subscriptions R5 Backport 1.1.

`$status` tells the state of subscriptions, `$events` sends again what was sent to an endpoint. Header values and the signing
secret are never shown, but for a secret that the broker drew: the answer to the creation tells it, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import web

from broker.core.media_type import parse_content_type
from broker.core.outcome import outcome
from broker.core.preferences import Return
from broker.core.query_values import is_id
from broker.core.subscription import Subscription
from broker.core.subscription_form import to_fhir, with_secret
from broker.core.subscription_notification import status_searchset
from broker.core.subscription_search import read_search
from broker.core.validators import is_unchanged, validators
from broker.core.write_body import read_resource_body
from broker.errors import Issue, RequestError
from broker.federation.context import RequestContext
from broker.gateway.fhir_answer import fhir_response
from broker.gateway.fhir_request import RequestRules, context_of, form_pairs, format_of, query_pairs
from broker.ports import Clock
from broker.sync.subscriptions import SubscriptionService

_TYPE = "Subscription"
_PATH = f"/fhir/{_TYPE}"
_LONGEST_NUMBER = 15  # digits

_NAMES = {"etag": "ETag", "last-modified": "Last-Modified"}

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SubscriptionRoutes:
    """`public_base`: the broker's own address. These routes go before those of the reads: `$status` is no id there."""

    subscriptions: SubscriptionService
    public_base: str
    rules: RequestRules
    clock: Clock
    default_count: int = 50
    max_count: int = 200

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.post(f"{_PATH}/_search", self.search_by_form)
        yield web.get(f"{_PATH}/$status", self.statuses)
        yield web.post(_PATH, self.create)
        yield web.get(_PATH, self.search)
        yield web.get(f"{_PATH}/{{id}}", self.read)
        yield web.put(f"{_PATH}/{{id}}", self.update)
        yield web.delete(f"{_PATH}/{{id}}", self.delete)
        yield web.get(f"{_PATH}/{{id}}/$status", self.status)
        yield web.get(f"{_PATH}/{{id}}/$events", self.events)

    async def create(self, request: web.Request) -> web.Response:
        context = self._context(request)
        made, secret = await self.subscriptions.create(await _body(request, self.rules.max_nesting), context)
        location = f"{self.public_base}/{_TYPE}/{made.id}/_history/{made.version}"
        return await self._written(request, context, made, secret, 201, {"Location": location})

    async def read(self, request: web.Request) -> web.Response:
        format_of(request)
        found = await self.subscriptions.read(_id(request), self._context(request))
        stated = validators(str(found.version), found.last_updated)
        headers = _validators(found)
        if is_unchanged({name.lower(): value for name, value in request.headers.items()}, stated):
            return web.Response(status=304, headers=headers)
        return await fhir_response(orjson.dumps(to_fhir(found)), format_of(request), headers=headers)

    async def update(self, request: web.Request) -> web.Response:
        context = self._context(request)
        made, secret = await self.subscriptions.update(
            _id(request),
            await _body(request, self.rules.max_nesting),
            context,
            if_match=request.headers.get("If-Match"),
        )
        return await self._written(request, context, made, secret, 200, {})

    async def delete(self, request: web.Request) -> web.Response:
        context = self._context(request)
        await self.subscriptions.delete(_id(request), context, if_match=request.headers.get("If-Match"))
        return web.Response(status=204)

    async def search(self, request: web.Request) -> web.Response:
        return await self._search(request, query_pairs(request, self.rules))

    async def search_by_form(self, request: web.Request) -> web.Response:
        return await self._search(request, await form_pairs(request, self.rules))

    async def _search(self, request: web.Request, pairs: Pairs) -> web.Response:
        form = format_of(request)
        context = self._context(request)
        tests, used = read_search(pairs, strict=context.preferences.strict)
        stated = dict(pairs)
        count = min(_number(stated, "_count", self.default_count), self.max_count)
        offset = _number(stated, "_offset", 0)
        found = await self.subscriptions.search(tests, context)
        page = found[offset : offset + count]
        links = [("self", [*used, ("_count", str(count)), *([("_offset", str(offset))] if offset else [])])]
        if count and offset + count < len(found):
            links.append(("next", [*used, ("_count", str(count)), ("_offset", str(offset + count))]))
        bundle = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "link": [
                {"relation": name, "url": f"{self.public_base}/{_TYPE}?{urlencode(parameters)}"}
                for name, parameters in links
            ],
        }
        if page:
            bundle["entry"] = [
                {
                    "fullUrl": f"{self.public_base}/{_TYPE}/{one.id}",
                    "resource": to_fhir(one),
                    "search": {"mode": "match"},
                }
                for one in page
            ]
        return await fhir_response(orjson.dumps(bundle), form, headers=_applied(context, "handling"))

    async def status(self, request: web.Request) -> web.Response:
        form = format_of(request)
        found = await self.subscriptions.read(_id(request), self._context(request))
        return await fhir_response(await self._statuses([found]), form)

    async def statuses(self, request: web.Request) -> web.Response:
        """Of those named by `id`, or of all; of those in a `status`, or in any."""
        form = format_of(request)
        context = self._context(request)
        ids, tests = set[str](), []
        for name, value in query_pairs(request, self.rules):
            if name == "id":
                ids |= set(value.split(","))
            elif name == "status":
                tests += read_search([(name, value)], strict=True)[0]
            elif context.preferences.strict and name not in ("_format", "_pretty"):
                read_search([(name, value)], strict=True)
        found = await self.subscriptions.search(tests, context)
        return await fhir_response(
            await self._statuses([one for one in found if not ids or one.id in ids]), form
        )

    async def _statuses(self, subscriptions: Sequence[Subscription]) -> bytes:
        numbers = await self.subscriptions.numbers(subscriptions)
        return status_searchset(numbers, self.public_base, at=self.subscriptions.now())

    async def events(self, request: web.Request) -> web.Response:
        """The kept ones from `eventsSinceNumber` to `eventsUntilNumber`, both included; a hundred at most in one answer."""
        form = format_of(request)
        context = self._context(request)
        stated = dict(query_pairs(request, self.rules))
        since = _number(stated, "eventsSinceNumber", 0)
        until = _number(stated, "eventsUntilNumber", -1)
        body = await self.subscriptions.events(
            _id(request), context, since=since, until=None if until < 0 else until
        )
        return await fhir_response(body, form)

    def _context(self, request: web.Request) -> RequestContext:
        return context_of(request, self.rules, self.clock)

    async def _written(
        self,
        request: web.Request,
        context: RequestContext,
        made: Subscription,
        secret: str | None,
        status: int,
        headers: Mapping[str, str],
    ) -> web.Response:
        """What was stored, as `Prefer: return` asks for it; in full where there is a secret that is told this once."""
        form = format_of(request)
        headers = {**_validators(made), **headers, **(_applied(context, "return") if secret is None else {})}
        wanted = context.preferences.return_ if secret is None else None
        if wanted is Return.MINIMAL:
            return web.Response(status=status, headers=headers)
        if wanted is Return.OPERATION_OUTCOME:
            told = outcome([Issue("write.stored")], language=context.language)
            return await fhir_response(orjson.dumps(told), form, status=status, headers=headers)
        resource = to_fhir(made)
        if secret is not None:
            with_secret(resource, secret)
        return await fhir_response(orjson.dumps(resource), form, status=status, headers=headers)


async def _body(request: web.Request, max_nesting: int) -> dict[str, Any]:
    format_of(request)  # an answer that cannot be given is refused before anything is done
    stated = parse_content_type(request.headers.get("Content-Type"))
    _, content = read_resource_body(await request.read(), stated, _TYPE, max_nesting)
    return content


def _id(request: web.Request) -> str:
    name = request.match_info["id"]
    if not is_id(name):
        raise RequestError("request.not-found")
    return name


def _validators(found: Subscription) -> dict[str, str]:
    stated = validators(str(found.version), found.last_updated)
    return {_NAMES[name]: value for name, value in stated.items()}


def _number(stated: Mapping[str, str], name: str, default: int) -> int:
    value = stated.get(name, "")
    if not value:
        return default
    if not (value.isascii() and value.isdigit()) or len(value) > _LONGEST_NUMBER:
        raise RequestError("request.bad-value", parameter=name, expected="0, 1, 2…")
    return int(value)


def _applied(context: RequestContext, *honoured: str) -> dict[str, str]:
    applied = context.preferences.applied(honoured)
    return {"Preference-Applied": applied} if applied else {}
