"""HTTP towards managers: one exchange, bounded in time and size; foreign failures become `ManagerError`.

Managers are not trusted. What holds for each exchange:

- One deadline covers connecting, sending and reading to the last byte, so that a slow drip gains nothing.
- `max_bytes` bounds the body as it arrives and again as it unfolds: decompression goes in small steps, is
  ours rather than the library's, and stops at the bound, so that a gzip bomb costs no more than an honest
  answer of that size.
- Redirects are never followed, and nothing is sent outside the registered base (`adapters.manager_urls`).
- An exchange that ends early for whatever reason, cancellation included, closes its connection: what is left
  of that answer can never be read as the next one.
- Nothing is tried twice, with one exception of connection handling (RFC 9112, section 9.3.1): a safe request
  (GET, POST _search) whose connection was closed before any answer is sent once more, within the same
  deadline. A manager closes idle connections when it likes, and that race is no failure of a region. A write
  is never sent twice, which is why the library's own replay of PUT and DELETE is kept out.

- One answer is not taken at once: 401 to credentials that can be had anew (`adapters.manager_link`) is answered with fresh
  ones, once. It says that nothing was done, whatever the method.

How many connections a manager may take is the guard's business (`broker.federation.manager_guard`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from enum import Enum

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from adapters.checked_resolver import CheckedResolver, ForbiddenAddressError
from adapters.credentials.errors import CredentialsError, TokenAddressError
from adapters.credentials.token_endpoint import FIELD as TOKEN_URL
from adapters.gunzip import Gunzip, TooLargeError, UndecodableError
from adapters.manager_exchange import Answering, Exchanges, written
from adapters.manager_link import ForbiddenManagerError, Link, Links
from adapters.manager_urls import OutsideBaseError
from broker.core.form_text import form_text
from broker.core.hook_address import AddressRules
from broker.core.manager_failure import failed
from broker.errors import ConfigurationError, FailureKind, ManagerError, RequestError
from broker.ports import Clock, ManagerAnswer, ManagerRequest
from broker.tracing import SPAN
from registry.model import Gestionnaire

DEFAULT_MAX_BYTES = 16 * 1024 * 1024

# Framing, connection and credentials belong to this client: a caller's values are not passed on.
_OWN_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "accept-encoding",
    }
)
_CANONICAL = {"accept": "Accept", "content-type": "Content-Type"}  # a name must not be sent in two spellings
_FORM = "application/x-www-form-urlencoded"


class _RedirectError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Stage(Enum):
    """How far a request has come: what was not sent did not happen."""

    READY = 0
    TOKEN = 1  # waits for one
    SENT = 2  # or may have been


_Exchanged = tuple[int, dict[str, str], bytes]


class HttpManagerClient:
    """The `ManagerClient` port over kept connections. Made and closed inside a running event loop.

    `max_bytes` bounds one decompressed body. `keepalive` is how long (seconds) an idle connection is kept. `rules`: where
    managers and their token endpoints may be, judged by the address that a connection is really made to; None: anywhere.
    `issuer`: by what name the broker tells managers for whom it asks.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        keepalive: float = 15.0,
        user_agent: str = "cds-broker",
        environ: Mapping[str, str] = os.environ,
        rules: AddressRules | None = None,
        issuer: str = "cds-broker",
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._standing = {
            "Accept": "application/fhir+json",
            "Accept-Encoding": "gzip",
            "User-Agent": user_agent,
        }
        self._last_form: tuple[Sequence[tuple[str, str]], bytes] = ((), b"")
        self._exchanges = Exchanges(keepalive, None if rules is None else CheckedResolver(rules))
        self._links = Links(clock, environ, user_agent=user_agent, rules=rules, issuer=issuer)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        await self._links.aclose()
        await self._exchanges.aclose()

    def forget(self, slug: str) -> None:
        """Drop what was prepared for a manager that was removed."""
        self._links.forget(slug)

    async def prepare(self, manager: Gestionnaire) -> None:
        """Read the manager's secrets and certificates now.

        Raise `ConfigurationError`, for the operator to see.
        """
        await self._links.prepare(manager)

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        """See `ManagerClient.send`. Of kind credentials where our own secret or certificate cannot be read too."""
        if timeout <= 0:
            raise failed(manager, FailureKind.TIMEOUT, sent=False)
        started = self._clock.monotonic()
        stage = _Stage.READY
        # The one boundary at which foreign errors become ours. Their texts hold URLs: only their names are
        # kept.
        try:
            async with asyncio.timeout(timeout):
                link = await self._links.of(manager, started)
                authorization = link.material.authorization
                if link.tokens is not None:
                    stage = _Stage.TOKEN
                    authorization = link.tokens.current() or await link.tokens.header()
                stage = _Stage.SENT
                status, headers, body = await self._exchange(link, request, authorization)
                if status == 401 and authorization is not None:
                    stage = _Stage.TOKEN
                    fresh = await self._links.instead_of(link, authorization)
                    if fresh is not None:
                        stage = _Stage.SENT
                        _resent("credentials")
                        status, headers, body = await self._exchange(link, request, fresh)
        except _FOREIGN as error:
            raise _failure(manager, error, stage) from None
        return ManagerAnswer(status, headers, body, self._clock.monotonic() - started)

    async def _exchange(self, link: Link, request: ManagerRequest, authorization: str | None) -> _Exchanged:
        url = link.address.url(request.target, request.query)
        headers = _headers(self._standing, request)
        if authorization is not None:
            headers["Authorization"] = authorization
        if link.manager.identity is not None:
            _replace(headers, await self._links.identity(link, request))
        span = SPAN.get()
        if span is not None and span.context is not None:
            headers |= span.context.headers()
        data = request.body
        if request.form is not None:
            data = self._encoded(request.form)
            headers["Content-Type"] = _FORM
        sent = written(request.method, url, link.peer.host, headers, data)
        replay = _is_safe(request)
        while True:
            try:
                answering = await self._exchanges.send(link.peer, sent, bodiless=request.method == "HEAD")
                break
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                if not replay or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                replay = False
                _resent("connection")
        try:
            status = answering.status
            if 300 <= status < 400 and status != 304:
                raise _RedirectError(status)
            return status, _answer_headers(answering.headers), await self._body(answering)
        finally:
            answering.close()

    def _encoded(self, form: Sequence[tuple[str, str]]) -> bytes:
        """The form as a body. The managers of one search are mostly sent the very same form, one after the other."""
        known, data = self._last_form
        if form is not known:
            data = form_text(form).encode("ascii")
            self._last_form = (form, data)
        return data

    async def _body(self, response: Answering) -> bytes:
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding in ("identity", ""):
            return await self._identity(response)
        if coding in ("gzip", "x-gzip"):
            return await self._gzip(response)
        raise UndecodableError

    async def _identity(self, response: Answering) -> bytes:
        limit = self._max_bytes
        if int(response.headers.get("Content-Length", 0)) > limit:
            raise TooLargeError
        content = response.content
        chunks: list[bytes] = []
        size = 0
        while chunk := await content.readany():
            size += len(chunk)
            if size > limit:
                raise TooLargeError
            chunks.append(chunk)
        return b"".join(chunks)

    async def _gzip(self, response: Answering) -> bytes:
        inflate = Gunzip(self._max_bytes)
        content = response.content
        while chunk := await content.readany():
            inflate.feed(chunk)
            while inflate.step():  # noqa: ASYNC110
                await asyncio.sleep(0)
        return inflate.finish()


def _resent(why: str) -> None:
    span = SPAN.get()
    if span is not None:
        span.note("cds.resent", why)


_FOREIGN = (
    OutsideBaseError,
    _RedirectError,
    TooLargeError,
    UndecodableError,
    HttpProcessingError,
    ConfigurationError,
    CredentialsError,
    ForbiddenManagerError,
    aiohttp.ClientError,
    OSError,  # TimeoutError too
    UnicodeError,
)


def _failure(manager: Gestionnaire, error: Exception, stage: _Stage) -> ManagerError:
    match error:
        case TimeoutError() if stage is _Stage.TOKEN:
            return failed(manager, FailureKind.CREDENTIALS, sent=False, detail=f"{TOKEN_URL}: timeout")
        case TimeoutError():
            return failed(manager, FailureKind.TIMEOUT, sent=stage is _Stage.SENT)
        case OutsideBaseError():
            return failed(manager, FailureKind.REDIRECT, sent=False, detail="outside-base")
        case _RedirectError():
            return failed(manager, FailureKind.REDIRECT, status=error.status)
        case TooLargeError():
            return failed(manager, FailureKind.TOO_LARGE)
        case UndecodableError():
            return failed(manager, FailureKind.INVALID, detail="content-encoding")
        case HttpProcessingError():
            return failed(manager, FailureKind.INVALID, detail=type(error).__name__)
        case _:
            return _not_sent(manager, error) or _unreachable(manager, error)


def _not_sent(manager: Gestionnaire, error: Exception) -> ManagerError | None:
    """What kept a request from being sent at all: what the registration says, or what it leads to."""
    match error:
        case ConfigurationError():
            detail = f"{error.params.get('field')}: {error.params.get('reason')}"
            return failed(manager, FailureKind.CREDENTIALS, sent=False, detail=detail)
        case TokenAddressError():
            return failed(manager, FailureKind.ADDRESS, sent=False, detail=error.field)
        case CredentialsError():
            return failed(manager, FailureKind.CREDENTIALS, sent=False, detail=error.detail)
        case ForbiddenManagerError():
            return failed(manager, FailureKind.ADDRESS, sent=False, detail="base_url")
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ForbiddenAddressError):
            return failed(manager, FailureKind.ADDRESS, sent=False, detail="base_url")
        case _:
            return None


def _unreachable(manager: Gestionnaire, error: Exception) -> ManagerError:
    sent = not isinstance(error, (aiohttp.ClientConnectorError, UnicodeError))
    return failed(manager, FailureKind.UNREACHABLE, sent=sent, detail=type(error).__name__)


def _is_safe(request: ManagerRequest) -> bool:
    return request.method == "GET" or (
        request.method == "POST" and request.form is not None and request.target.endswith("_search")
    )


def _headers(standing: Mapping[str, str], request: ManagerRequest) -> dict[str, str]:
    """A caller's header replaces a default, never what belongs to this client."""
    headers = dict(standing)
    for name, value in request.headers.items():
        # No CR, LF or other control character can split the request, whatever the library checks.
        if not (value.isascii() and value.isprintable() and name.isascii() and name.isprintable()):
            raise RequestError("request.bad-value", parameter="header", expected="printable ASCII")
        lower = name.lower()
        if lower not in _OWN_HEADERS:
            headers[_CANONICAL.get(lower, name)] = value
    return headers


def _replace(headers: dict[str, str], named: tuple[str, str] | None) -> None:
    if named is not None:
        name, value = named
        for spelling in [one for one in headers if one.lower() == name.lower()]:
            del headers[spelling]
        headers[name] = value


def _answer_headers(received: Mapping[str, str]) -> dict[str, str]:
    headers = {name.lower(): value for name, value in received.items()}
    # They spoke of the body in transit.
    headers.pop("content-encoding", None)
    headers.pop("content-length", None)
    return headers
