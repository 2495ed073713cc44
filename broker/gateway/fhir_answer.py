"""FHIR answers: JSON or XML, errors as OperationOutcomes in two languages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from broker.aside import LARGE, aside
from broker.core.fhir_xml import to_xml
from broker.core.media_type import Format
from broker.core.outcome import language_of, render_error, status_of
from broker.errors import BrokerError, RequestError
from broker.gateway.fhir_request import REQUEST_ID, format_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

INTERMEDIARY = {"X-Intermediary": "cds-broker"}
"""Said on every answer whose content the broker changes (FHIR R4, http.html#custom)."""

_log = logging.getLogger("broker.gateway")

_HTTP_ERRORS = {400: "request.malformed", 404: "request.not-found", 405: "request.method"}


async def fhir_response(
    body: bytes, form: Format, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A FHIR resource (JSON bytes) as an answer in the client's format.

    Raises `RequestError` request.no-xml: what a manager holds is relayed as it is, and XML cannot say everything.
    """
    if form is Format.XML:
        try:
            body = await aside(len(body), to_xml, body)
        except RequestError:
            raise RequestError("request.no-xml") from None
    return web.Response(
        body=body,
        status=status,
        headers={
            "Content-Type": form.content_type,
            "Cache-Control": "no-store",
            **INTERMEDIARY,
            **(headers or {}),
        },
        zlib_executor_size=LARGE,
    )


async def error_response(request: web.Request, error: BrokerError) -> web.Response:
    """The OperationOutcome of an error, in the client's format (JSON where that is the error)."""
    try:
        form = format_of(request)
    except RequestError:
        form = Format.JSON
    body = render_error(error, language=language_of(request.headers.get("Accept-Language")))
    headers = {"Retry-After": "5"} if status_of(error) == 503 else {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.location is not None:
        headers["Location"] = error.location
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    return await fhir_response(body, form, status=status_of(error), headers=headers)


@web.middleware
async def fhir_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Under `/fhir`, whatever is raised becomes an OperationOutcome. Never a traceback."""
    if not f"{request.path}/".startswith("/fhir/"):
        return await handler(request)
    try:
        return await handler(request)
    except BrokerError as error:
        return await error_response(request, error)
    except web.RequestPayloadError:  # a body that is not what its coding or framing says
        return await error_response(request, RequestError("request.malformed"))
    except web.HTTPException as error:
        if error.status == 413:
            return await error_response(
                request, RequestError("request.too-large", limit=request.client_max_size)
            )
        if error.status < 400:
            raise
        response = await error_response(
            request, RequestError(_HTTP_ERRORS.get(error.status, "request.not-found"))
        )
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:  # noqa: BLE001 - the boundary to the client: it gets an outcome, the operator the traceback
        _log.exception("request %s failed", request[REQUEST_ID])
        return await error_response(request, BrokerError("internal"))
