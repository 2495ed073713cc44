"""One HTTP exchange: what a handler is given, what it gives back, and how that becomes a response."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime

from aiohttp import web

from adapters.sandbox.store import Version
from adapters.sandbox.transaction import TransactionFailedError
from broker.core import fhir_xml
from broker.core.media_type import Format, negotiate, parse_content_type
from broker.core.outcome import language_of, render_error, render_outcome, status_of
from broker.core.preferences import Preferences, parse_prefer
from broker.errors import BrokerError, RequestError

_log = logging.getLogger(__name__)

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, read as far as all handlers need it. `pairs` are the URL's and the form's parameters."""

    request: web.Request
    base: str
    pairs: tuple[tuple[str, str], ...]
    prefer: Preferences

    def parameter(self, name: str) -> str | None:
        return next((value for key, value in self.pairs if key == name), None)

    async def resource(self) -> bytes:
        """The body as FHIR JSON. Raises request.content-type, request.bad-resource."""
        stated = parse_content_type(self.request.headers.get("Content-Type"))
        body = await self.request.read()
        return fhir_xml.to_json(body) if stated is Format.XML else body


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is FHIR JSON; it is turned into XML on its way out where the client wants that."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer]]


def version_headers(version: Version) -> dict[str, str]:
    return {"ETag": version.etag, "Last-Modified": http_date(version.instant)}


def http_date(instant: dt.datetime) -> str:
    return format_datetime(instant.astimezone(dt.UTC).replace(microsecond=0), usegmt=True)


def served(handler: Handler, base_url: str | None) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The aiohttp handler around one of ours: negotiation before, rendering and errors after."""

    async def serve(request: web.Request) -> web.Response:
        chosen = Format.JSON
        try:
            form = await _form(request)
            pairs = (*request.query.items(), *form)
            asked = next((value for name, value in pairs if name == "_format"), None)
            chosen = negotiate(asked, ", ".join(request.headers.getall("Accept", [])))
            base = base_url or f"{request.scheme}://{request.host}/fhir"
            prefer = parse_prefer(request.headers.getall("Prefer", []))
            return rendered(await handler(Call(request, base, pairs, prefer)), chosen)
        except (BrokerError, TransactionFailedError) as error:
            return rendered(failure(error, request), chosen)

    return serve


def failure(error: BrokerError | TransactionFailedError, request: web.Request) -> Answer:
    language = language_of(request.headers.get("Accept-Language"))
    if isinstance(error, TransactionFailedError):
        return Answer(500, render_outcome(error.issues, language=language))
    return Answer(status_of(error), render_error(error, language=language))


def rendered(answer: Answer, chosen: Format) -> web.Response:
    response = web.Response(status=answer.status, headers=answer.headers)
    if answer.body:
        response.body = _xml(answer.body) if chosen is Format.XML else answer.body
        response.headers["Content-Type"] = chosen.content_type
    return response


def _xml(body: bytes) -> bytes:
    """Raises request.format: content that is kept as it came may be such that XML cannot carry it."""
    try:
        return fhir_xml.to_xml(body)
    except RequestError:
        raise RequestError("request.format") from None


@web.middleware
async def guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Says as OperationOutcome what aiohttp would say as text, and echoes X-Request-Id."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = rendered(failure(_translated(error), request), Format.JSON)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    except Exception:  # noqa: BLE001 - the one boundary where a defect becomes a 500 that tells nothing
        _log.exception("sandbox: internal error on %s", request.method)
        response = rendered(failure(BrokerError("internal"), request), Format.JSON)
    if "X-Request-Id" in request.headers:
        response.headers["X-Request-Id"] = request.headers["X-Request-Id"]
    return response


def _translated(error: web.HTTPException) -> BrokerError:
    match error.status:
        case 405:
            return RequestError("request.method")
        case 413:
            limit = getattr(error, "max_size", 0)
            return RequestError("request.too-large", limit=limit)
        case 404:
            return RequestError("request.not-found")
        case _:
            return BrokerError("internal")


async def _form(request: web.Request) -> tuple[tuple[str, str], ...]:
    """The parameters of a form body; none for any other body. Raises request.content-type for no UTF-8."""
    if request.content_type != FORM:
        return ()
    try:
        form = await request.post()
    except (LookupError, UnicodeDecodeError):
        raise RequestError("request.content-type") from None
    return tuple((name, value) for name, value in form.items() if isinstance(value, str))
