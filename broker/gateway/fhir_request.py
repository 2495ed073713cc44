"""What every FHIR request carries: parameters, preferences, format, language, deadline, the brokers it came through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import getrandbits
from urllib.parse import parse_qsl

from aiohttp import web

from broker.core.access.principal import Principal
from broker.core.access.touched import Touched
from broker.core.json_form import MAX_DEPTH
from broker.core.media_type import Format, negotiate, parse_content_type
from broker.core.outcome import language_of
from broker.core.preferences import parse_prefer
from broker.core.query_parser import shown
from broker.core.statement import pseudonym
from broker.errors import RequestError
from broker.federation.context import RequestContext
from broker.ports import Clock

REQUEST_ID = web.RequestKey("request_id", str)

PRINCIPAL = web.RequestKey("principal", Principal)
"""Who asks; set by the gateway's authentication before any handler."""

TOUCHED = web.RequestKey("touched", Touched)
"""What the audit is told of when the request is done."""

REASON = web.RequestKey("reason", str)
"""Key of the text that says why the answer is an error, where it was rendered before the audit could see it raised."""

MAX_BROKERS = 5
"""Brokers that a request may come through: a loop over differently named brokers ends here."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_FORM = "application/x-www-form-urlencoded"
_HOP = re.compile(rf"1\.[01] {pseudonym('')}[A-Za-z0-9]{{1,64}}")

_USUAL = 200  # characters; a longer Accept is nobody's habit and is not remembered
_negotiated = lru_cache(maxsize=128)(negotiate)


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What bounds a request. `deadline`: seconds for the whole of it. `max_parameters`: names in a query.
    `max_parameter`: characters of one, with its name. `max_nesting`: levels of elements in a body."""

    federation_id: str
    deadline: float
    max_parameters: int = 100
    max_parameter: int = 65_536
    max_includes: int = 30
    max_nesting: int = MAX_DEPTH


def request_id_of(request: web.Request) -> str:
    """The client's X-Request-Id where it is harmless in a log line, else a fresh one. That is no secret: it is drawn
    without a call of the kernel, and anew in each process that is forked."""
    given = request.headers.get("X-Request-Id", "")
    if _REQUEST_ID.fullmatch(given):
        return given
    return f"{getrandbits(64):016x}"


def principal_of(request: web.Request) -> Principal:
    """Who asks. Fails where nobody was authenticated: that is a defect, and no reason to go on."""
    return request[PRINCIPAL]


def context_of(request: web.Request, rules: RequestRules, clock: Clock) -> RequestContext:
    """The context of a request; `federation.loop` where it has been through this federation before."""
    preferences = parse_prefer(request.headers.getall("Prefer", []))
    principal = principal_of(request)
    wait = rules.deadline if preferences.wait is None else min(preferences.wait, rules.deadline)
    return RequestContext(
        request_id=request[REQUEST_ID],
        caller=principal.caller,
        language=language_of(request.headers.get("Accept-Language")),
        preferences=preferences,
        deadline=clock.monotonic() + wait,
        via=_via(request.headers.getall("Via", []), rules.federation_id),
        clock=clock,
        principal=principal,
        touched=request.setdefault(TOUCHED, Touched()),
    )


def _via(received: Sequence[str], federation_id: str) -> str:
    """The Via header to go on with (RFC 9110, section 7.6.3): brokers are named by their federation's id."""
    named = (_HOP.search(hop) for header in received for hop in header.split(","))
    hops = [hop[0] for hop in named if hop is not None]
    own = f"1.1 {pseudonym(federation_id)}"
    if own in hops or len(hops) >= MAX_BROKERS:
        raise RequestError("federation.loop")
    return ", ".join([*hops, own])


def format_of(request: web.Request) -> Format:
    """JSON or XML: `_format` overrides Accept."""
    asked = request.query.get("_format") if request.rel_url.raw_query_string else None
    accept = request.headers.get("Accept")
    if len(asked or "") + len(accept or "") > _USUAL:
        return negotiate(asked, accept)
    return _negotiated(asked, accept)


def query_pairs(request: web.Request, rules: RequestRules) -> list[tuple[str, str]]:
    """The URL's parameters, in order."""
    return _pairs(request.rel_url.raw_query_string, rules)


async def form_pairs(request: web.Request, rules: RequestRules) -> list[tuple[str, str]]:
    """The parameters of a POST search: those of the URL, then those of the form (FHIR R4, http.html#search)."""
    pairs = query_pairs(request, rules)
    body = await request.read()
    if body:
        content_type = request.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != _FORM:
            parse_content_type(content_type)  # a readable FHIR body is still no form
            raise RequestError("request.content-type")
        pairs += _pairs(body.decode("utf-8", "surrogateescape"), rules)
    return pairs


def _pairs(text: str, rules: RequestRules) -> list[tuple[str, str]]:
    if not text:
        return []
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="surrogateescape", max_num_fields=rules.max_parameters
        )
    except ValueError:
        raise RequestError("request.too-many-parameters", limit=rules.max_parameters) from None
    if len(text) > rules.max_parameter:
        for name, value in pairs:
            if len(name) + len(value) > rules.max_parameter:
                raise RequestError("limit.parameter", parameter=shown(name), limit=rules.max_parameter)
    return pairs
