"""Every request a span, where tracing is on. Nothing that a client wrote is in it but a harmless X-Request-Id, and the ids
of a trace of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import istr

from broker.core.trace_context import TraceContext, received
from broker.current_request import LEFT
from broker.gateway.fhir_request import REASON, REQUEST_ID
from broker.tracing import NOTHING, SPAN, Kind, Passed, Span, Tracer, Within

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_QUIET: Final = ("/health/", "/metrics")
_TRACEPARENT, _TRACESTATE = istr("traceparent"), istr("tracestate")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def trace_of(request: web.Request) -> TraceContext | None:
    """The one that the client says this request is a part of."""
    headers = request.headers
    if _TRACEPARENT not in headers:
        return None
    return received(headers.getall(_TRACEPARENT), headers.getall(_TRACESTATE, []))


def passed_on(request: web.Request) -> Span:
    """To be entered: where nothing is traced here, a client's trace goes on to managers as it came."""
    if _TRACEPARENT not in request.headers or SPAN.get() is not None:
        return NOTHING
    theirs = trace_of(request)
    return NOTHING if theirs is None else Passed(theirs)


def traced(tracer: Tracer, *, continues: bool) -> Middleware:
    """Stands outside of all that answers, and of what tells of it. What machines ask every few seconds is left out.

    `continues`: a client's trace goes on here, and its flag decides whether it is recorded. Else this is the front gate of
    which W3C Trace Context says that it begins anew: nobody from outside decides what is recorded, or under which id; a link
    leads to the client's.
    """

    @web.middleware
    async def tracing(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        if route.startswith(_QUIET):
            return await handler(request)
        method = request.method if request.method in _METHODS else "_OTHER"
        name = f"{'HTTP' if method == '_OTHER' else method} {route}".rstrip()
        theirs = trace_of(request)
        parent, links = (theirs, ()) if continues or theirs is None else (None, (theirs,))
        span = tracer.begin(name, Kind.SERVER, parent=parent, links=links)
        span.note("http.request.method", method)
        if route:
            span.note("http.route", route)
        with Within(span):
            return await _answered(request, handler, span)

    return tracing


async def _answered(request: web.Request, handler: Handler, span: Span) -> web.StreamResponse:
    status = 500
    try:
        response = await handler(request)
        status = response.status
    except asyncio.CancelledError:
        status = LEFT
        raise
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        _note(request, status, span)
        span.end()
    return response


def _note(request: web.Request, status: int, span: Span) -> None:
    span.note("http.response.status_code", status)
    request_id, reason = request.get(REQUEST_ID), request.get(REASON)
    if request_id is not None:
        span.note("cds.request_id", request_id)
    if reason is not None:
        span.note("cds.reason", reason)
    if status >= 500:
        span.failed(str(status))
