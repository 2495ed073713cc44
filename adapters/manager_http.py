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

How many connections a manager may take is the guard's business (`broker.federation.manager_guard`).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from adapters.credentials import authorization, has_rotating_secret, tls_context
from adapters.gunzip import Gunzip, TooLargeError, UndecodableError
from adapters.manager_exchange import Answering, Exchanges, Peer, written
from adapters.manager_urls import ManagerAddress, OutsideBaseError
from broker.core.form_text import form_text
from broker.core.manager_failure import failed
from broker.errors import ConfigurationError, FailureKind, RequestError
from broker.ports import Clock, ManagerAnswer, ManagerRequest
from registry.model import Gestionnaire

DEFAULT_MAX_BYTES = 16 * 1024 * 1024
_SECRET_LIFE = 30.0  # seconds after which a secret in a file is read again

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


@dataclass(frozen=True, slots=True)
class _Link:
    """What can be prepared once per manager."""

    manager: Gestionnaire
    address: ManagerAddress
    peer: Peer
    headers: Mapping[str, str]
    tls: ssl.SSLContext | bool
    good_until: float | None  # monotonic instant at which secrets are read again


class HttpManagerClient:
    """The `ManagerClient` port over kept connections. Made and closed inside a running event loop.

    `max_bytes` bounds one decompressed body. `keepalive` is how long (seconds) an idle connection is kept.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        keepalive: float = 15.0,
        user_agent: str = "cds-broker",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._environ = environ
        self._user_agent = user_agent
        self._links: dict[str, _Link] = {}
        self._last_form: tuple[Sequence[tuple[str, str]], bytes] = ((), b"")
        self._exchanges = Exchanges(keepalive)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        await self._exchanges.aclose()

    def forget(self, slug: str) -> None:
        """Drop what was prepared for a manager that was removed."""
        self._links.pop(slug, None)

    async def prepare(self, manager: Gestionnaire) -> None:
        """Read the manager's secrets and certificates now.

        Raise `ConfigurationError`, for the operator to see.
        """
        await self._prepare(manager, None)

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        """See `ManagerClient.send`.

        Also of kind refused, with nothing sent, where our own secret is missing.
        """
        if timeout <= 0:
            raise failed(manager, FailureKind.TIMEOUT, sent=False)
        started = self._clock.monotonic()
        # The one boundary at which foreign errors become ours. Their texts hold URLs: only their names are
        # kept.
        try:
            async with asyncio.timeout(timeout):
                link = await self._link(manager, started)
                status, headers, body = await self._exchange(link, request)
        except TimeoutError:
            raise failed(manager, FailureKind.TIMEOUT) from None
        except OutsideBaseError:
            raise failed(manager, FailureKind.REDIRECT, sent=False, detail="outside-base") from None
        except _RedirectError as error:
            raise failed(manager, FailureKind.REDIRECT, status=error.status) from None
        except TooLargeError:
            raise failed(manager, FailureKind.TOO_LARGE) from None
        except UndecodableError:
            raise failed(manager, FailureKind.INVALID, detail="content-encoding") from None
        except HttpProcessingError as error:
            raise failed(manager, FailureKind.INVALID, detail=type(error).__name__) from None
        except ConfigurationError as error:
            tls = error.params.get("field") in ("tls_ca", "auth.cert_file")
            kind = FailureKind.UNREACHABLE if tls else FailureKind.REFUSED
            raise failed(manager, kind, sent=False, detail=str(error.params.get("field", ""))) from None
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            sent = not isinstance(error, (aiohttp.ClientConnectorError, UnicodeError))
            raise failed(manager, FailureKind.UNREACHABLE, sent=sent, detail=type(error).__name__) from None
        return ManagerAnswer(status, headers, body, self._clock.monotonic() - started)

    async def _exchange(self, link: _Link, request: ManagerRequest) -> tuple[int, dict[str, str], bytes]:
        url = link.address.url(request.target, request.query)
        headers = _headers(link, request)
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

    async def _link(self, manager: Gestionnaire, now: float) -> _Link:
        link = self._links.get(manager.id)
        if link is not None and (link.manager is manager or link.manager == manager):
            if link.good_until is None or now < link.good_until:
                return link
            return await self._prepare(manager, link)
        return await self._prepare(manager, None)

    async def _prepare(self, manager: Gestionnaire, known: _Link | None) -> _Link:
        try:
            address = known.address if known else ManagerAddress(manager.base_url)
        except ValueError:
            raise ConfigurationError("registry.invalid", field="base_url", reason="not usable") from None
        value, context = await asyncio.to_thread(self._read_files, manager, known)
        peer = known.peer if known else Peer(URL(manager.base_url), context)
        headers = {"Accept": "application/fhir+json", "Accept-Encoding": "gzip"}
        headers["User-Agent"] = self._user_agent
        if value is not None:
            headers["Authorization"] = value
        rotates = has_rotating_secret(manager.auth)
        good_until = self._clock.monotonic() + _SECRET_LIFE if rotates else None
        link = _Link(manager, address, peer, headers, context, good_until)
        self._links[manager.id] = link
        return link

    def _read_files(
        self, manager: Gestionnaire, known: _Link | None
    ) -> tuple[str | None, ssl.SSLContext | bool]:
        value = authorization(manager.auth, self._environ)
        # The context of a known link is kept: a new one would part with its open connections.
        return value, known.tls if known else tls_context(manager) or True


def _is_safe(request: ManagerRequest) -> bool:
    return request.method == "GET" or (
        request.method == "POST" and request.form is not None and request.target.endswith("_search")
    )


def _headers(link: _Link, request: ManagerRequest) -> dict[str, str]:
    """A caller's header replaces a default, never what belongs to this client."""
    headers = dict(link.headers)
    for name, value in request.headers.items():
        # No CR, LF or other control character can split the request, whatever the library checks.
        if not (value.isascii() and value.isprintable() and name.isascii() and name.isprintable()):
            raise RequestError("request.bad-value", parameter="header", expected="printable ASCII")
        lower = name.lower()
        if lower not in _OWN_HEADERS:
            headers[_CANONICAL.get(lower, name)] = value
    return headers


def _answer_headers(received: Mapping[str, str]) -> dict[str, str]:
    headers = {name.lower(): value for name, value in received.items()}
    # They spoke of the body in transit.
    headers.pop("content-encoding", None)
    headers.pop("content-length", None)
    return headers
