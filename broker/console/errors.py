"""Errors under `/console`: a page for browsers, a problem document for anything else."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from broker.console.frame import Frame, language_of_request, request_id
from broker.core.media_type import weighted
from broker.core.messages import MESSAGES, text
from broker.core.outcome import status_of
from broker.errors import BrokerError, RequestError
from broker.gateway.fhir_request import REASON
from broker.gateway.problem import problem_response

_log = logging.getLogger("broker.console")
_ROOT = "/console"
_HTTP = {404: "request.not-found", 405: "request.method", 413: "request.too-large"}


def console_errors(frame: Frame) -> Middleware:
    """Among the application's surroundings, outside of whoever refuses."""

    @web.middleware
    async def rendered(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != _ROOT and not request.path.startswith(_ROOT + "/"):
            return await handler(request)
        try:
            return await handler(request)
        except BrokerError as error:
            return error_page(frame, request, error)
        except web.HTTPException as error:
            if error.status not in _HTTP:
                raise
            told = {"limit": request.client_max_size} if error.status == 413 else {}
            answer = error_page(frame, request, RequestError(_HTTP[error.status], **told))
            if isinstance(error, web.HTTPMethodNotAllowed):
                answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            return answer
        except Exception:  # noqa: BLE001 - the boundary to the client: it gets a page and never a traceback
            _log.exception("console request failed")
            return error_page(frame, request, BrokerError("internal"))

    return rendered


def error_page(frame: Frame, request: web.Request, error: BrokerError) -> web.Response:
    """Every refusal to a browser comes through here: where a 401 could lead to signing in, once there is such a thing."""
    request[REASON] = error.key
    if not takes_html(request):
        return problem_response(error)
    status = status_of(error)
    page = frame.render(
        request,
        "error.html",
        status=status,
        code=status,
        said=said(request, error),
        number=request_id(request),
    )
    if error.challenge is not None:
        page.headers["WWW-Authenticate"] = error.challenge
    if error.retry_after is not None:
        page.headers["Retry-After"] = str(error.retry_after)
    return page


def said(request: web.Request, error: BrokerError) -> str:
    """An error in the language of who asks."""
    key = error.key if error.key in MESSAGES else "internal"
    return text(key, language_of_request(request), **error.params)


def takes_html(request: web.Request) -> bool:
    """As browsers say; whoever takes anything gets the document that machines read."""
    accepted = weighted(request.headers.get("Accept", ""))
    return any(item.value == "text/html" and item.quality > 0 for item in accepted)
