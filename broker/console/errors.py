"""Errors under `/console`: a page for browsers, a problem document for anything else."""

from __future__ import annotations

import logging
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from broker.console.frame import HEADERS, Frame, language_of_request, request_id
from broker.console.navigation import is_navigation, takes_html
from broker.core.access.sign_in import CALLBACK, SIGN_IN, page_of
from broker.core.messages import MESSAGES, text
from broker.core.outcome import status_of
from broker.errors import BrokerError, RequestError
from broker.gateway.fhir_request import REASON
from broker.gateway.permission import is_public
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
    """Every refusal to a browser comes through here."""
    request[REASON] = error.key
    led = _sign_in(request, error) if frame.sign_in else None
    if led is not None:
        return led
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
        again=frame.sign_in and (status == 401 or request.path == CALLBACK),
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


def _sign_in(request: web.Request, error: BrokerError) -> web.Response | None:
    """To where people sign in, for whoever goes to a page and shows nothing of who they are; what they do show and is
    refused, another sign-in would not mend. What a page asks for by itself, and a form, is answered 401."""
    unknown = status_of(error) == 401 and "Authorization" not in request.headers
    if not unknown or request.method == "POST" or not is_navigation(request) or is_public(request):
        return None
    wanted = quote(page_of(request.path), safe="/")
    return web.Response(status=302, headers={**HEADERS, "Location": f"{SIGN_IN}?next={wanted}"})
