"""What goes wrong below the routes, answered as everything else is: an OperationOutcome, and nothing repeated.

By itself aiohttp answers a request that it cannot read with a text that repeats the offending line, and logs it with a
traceback. That line may hold an INS. Nor does it bound how slowly a request comes or its answer goes
(`broker.gateway.connection_bounds`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import (
    _ErrInfo,  # what the library itself queues in place of a request that it cannot read
)

from broker.core.outcome import render_error, status_of
from broker.errors import BrokerError, RequestError
from broker.gateway.connection_bounds import Census, ConnectionBounds, Owed

_log = logging.getLogger("broker.gateway")

_LOOK_EVERY: Final = 0.5  # seconds between two looks at all connections
_LOOKED_AT: Final = 256  # connections before others have their turn
_CODINGS: Final = frozenset({"gzip", "deflate", "identity", ""})
_TOO_MANY_HEADERS: Final = "Too many headers received"

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _response(error: BrokerError) -> web.Response:
    headers = {"Content-Type": "application/fhir+json; charset=utf-8", "Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return web.Response(status=status_of(error), body=render_error(error), headers=headers)


def _bytes_of(error: BrokerError) -> bytes:
    """The answer as it goes over the wire, where there is no request that it belongs to."""
    response = _response(error)
    body = response.body if isinstance(response.body, bytes) else b""
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


class _RefusedError(HttpProcessingError):
    """What this module makes of a request before it is one."""

    def __init__(self, error: BrokerError) -> None:
        super().__init__(code=status_of(error))
        self.error = error


class _Connection(web.RequestHandler):
    """One connection of a client.

    `_heard`: bytes of a head that is not whole. `_since`: when it began (loop time), or the connection did; None where a
    request came whole and no other has begun. `_body`: what is still coming, and since when.
    """

    __slots__ = (
        "_address",
        "_body",
        "_body_since",
        "_bounds",
        "_census",
        "_heard",
        "_owed",
        "_since",
        "_wire",
    )

    def __init__(self, manager: web.Server, *, census: Census, **options: Any) -> None:
        super().__init__(manager, **options)
        self._census = census
        self._bounds = census.bounds
        self._address: str | None = None
        self._heard = 0
        self._since: float | None = None
        self._body: StreamReader | None = None
        self._body_since = 0.0
        self._owed = Owed()
        self._wire: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        error = self._census.enter(address)
        if error is not None:  # nothing is set up for it
            wire.write(_bytes_of(error))
            wire.close()
            return
        self._address, self._wire, self._since = address, wire, self._loop.time()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._address is None:
            return
        super().connection_lost(exc)
        self._wire = self._body = None
        self._census.leave(self._address)
        self._address = None

    def data_received(self, data: bytes) -> None:
        if self._address is None:
            return
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._begun(len(data))
        elif data and (self._body is None or self._body.is_eof()):
            if self._since is None:
                self._since = self._loop.time()
            self._heard += len(data)
            if self._heard > self._bounds.head:
                self._refuse(self._bounds.too_many())

    def look(self, now: float) -> bool:
        """End what has been coming, or waiting to go, for too long; whether there was such. `now`: loop time."""
        wire, bounds = self._wire, self._bounds
        if wire is None:
            return False
        if self._owed.stalls(wire.get_write_buffer_size(), now, bounds.answer_seconds):
            _log.info("connection cut: its answer was not taken")
            wire.abort()
            return True
        if self._request_in_progress or self._messages:
            if self._since is not None:
                self._since = now  # nobody waits for the next request while this one is being done
        elif self._since is not None and now - self._since >= bounds.head_seconds and not self._close:
            if self._heard:
                self._refuse(bounds.slow_head())
            else:
                self.force_close()
            return True
        body = self._body
        if body is not None and now - self._body_since >= bounds.body_seconds:
            self._body = None
            if not body.is_eof() and body.exception() is None:
                self._close = True  # nothing more is read
                body.set_exception(bounds.slow_body())
                return True
        return False

    @property
    def is_leaving(self) -> bool:
        """Whether it is closed behind the answer that is being made."""
        return self._close

    def _begun(self, size: int) -> None:
        """Requests came whole, the last of them perhaps with a body to come. `size`: bytes of what came last."""
        message, payload = self._messages[-1]
        if self._heard + size > self._bounds.head and not isinstance(message, _ErrInfo):
            head = len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
            if head > self._bounds.head:
                self._messages.pop()
                self._refuse(self._bounds.too_many())
                return
        self._heard, self._since = 0, None
        self._body = None if payload.is_eof() else payload
        self._body_since = self._loop.time()

    def _refuse(self, error: BrokerError) -> None:
        """Answer, behind what is being answered, and close."""
        if self._close:
            return
        waiter = self._waiter
        if (
            waiter is not None and not waiter.done() and self._wire is not None
        ):  # nothing is being done for it
            _log.info("refused: %s", error.key)
            self._wire.write(_bytes_of(error))
            self.force_close()
            return
        self._messages.append((_ErrInfo(status_of(error), _RefusedError(error), ""), EMPTY_PAYLOAD))
        self._request_count += 1
        self._heard, self._since, self._close = 0, None, True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, _RefusedError):
            _log.info("refused: %s", exc.error.key)
        elif isinstance(exc, HttpProcessingError) or status < 500:
            _log.info("unreadable request: %s", type(exc).__name__)
        else:
            _log.error("request failed outside its handler", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        response = _response(self._error_of(status, exc))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Without texts: those of the library hold what was received."""
        _log.info("connection failed: %s", type(kw.get("exc_info")).__name__)

    def _error_of(self, status: int, exc: BaseException | None) -> BrokerError:
        if isinstance(exc, _RefusedError):
            return exc.error
        if isinstance(exc, ContentEncodingError):
            return RequestError("request.content-encoding")
        if isinstance(exc, LineTooLong):
            return self._bounds.too_long(exc)
        if isinstance(exc, BadHttpMessage) and exc.message == _TOO_MANY_HEADERS:
            return self._bounds.too_many()
        return RequestError("request.malformed") if status < 500 else BrokerError("internal")


class _Server(web.Server):
    def __init__(self, handler: _Handler, *, bounds: ConnectionBounds, **options: Any) -> None:
        super().__init__(handler, **options)
        self.census = Census(bounds)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, census=self.census, loop=self._loop, **self._kwargs)

    async def watch(self) -> None:
        """Look at every connection again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            for place, connection in enumerate(self.connections):
                ended = cast("_Connection", connection).look(loop.time())
                if ended or place % _LOOKED_AT == _LOOKED_AT - 1:
                    await asyncio.sleep(0)  # who is well does not wait for all of these


def _is_decoded(request: web.BaseRequest) -> bool:
    given = request.headers.getall("Content-Encoding")
    return len(given) == 1 and given[0].strip().lower() in _CODINGS


def _answering(handle: _Handler) -> _Handler:
    async def answered(request: web.BaseRequest) -> web.StreamResponse:
        # An expectation (RFC 9110, section 10.1.1) that the library does not know it would repeat, and fails where it is
        # no UTF-8; a coding (section 8.4) that it does not know it would take for none.
        expected = request.headers.get("Expect")
        if expected and expected.lower() != "100-continue" and request.version >= HttpVersion11:
            return _response(RequestError("request.expectation"))
        if "Content-Encoding" in request.headers and request.body_exists and not _is_decoded(request):
            return _response(RequestError("request.content-encoding"))
        response = await handle(request)
        if cast("_Connection", request.protocol).is_leaving and not response.prepared:
            response.force_close()
        return response

    return answered


class HttpRunner(web.AppRunner):
    """An `AppRunner` whose connections fail as the module says, and cost no more than `bounds`. `watch` is to be run."""

    def __init__(self, app: web.Application, *, bounds: ConnectionBounds, **options: Any) -> None:
        given: dict[str, Any] = {**options, **bounds.of_the_parser}
        super().__init__(app, keepalive_timeout=bounds.idle_seconds, **given)
        self._bounds = bounds
        self._watched: _Server | None = None

    async def watch(self) -> None:
        """End slow senders and slow readers, until cancelled. Not before `setup`."""
        if self._watched is None:
            raise RuntimeError("not set up")
        await self._watched.watch()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        self._watched = _Server(
            _answering(made.request_handler),
            bounds=self._bounds,
            request_factory=made.request_factory,
            **self._kwargs,
        )
        return self._watched
