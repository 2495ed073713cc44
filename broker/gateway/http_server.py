"""What goes wrong below the routes, answered as everything else is: an OperationOutcome, and nothing repeated.

By itself aiohttp answers a request that it cannot read with a text that repeats the offending line, and logs it with a
traceback. That line may hold an INS.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from broker.core.outcome import render_error, status_of
from broker.errors import BrokerError, RequestError

MAX_LINE = 65_536
"""Bytes of the request line, and of one header: a search by GET fits."""

_log = logging.getLogger("broker.gateway")

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _response(error: BrokerError) -> web.Response:
    return web.Response(
        status=status_of(error),
        body=render_error(error),
        headers={"Content-Type": "application/fhir+json; charset=utf-8", "Cache-Control": "no-store"},
    )


class _Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, HttpProcessingError) or status < 500:
            _log.info("unreadable request: %s", type(exc).__name__)
        else:
            _log.error("request failed outside its handler", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        response = _response(_error_of(status, exc))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Without texts: those of the library hold what was received."""
        _log.info("connection failed: %s", type(kw.get("exc_info")).__name__)


def _error_of(status: int, exc: BaseException | None) -> BrokerError:
    if isinstance(exc, LineTooLong):
        return RequestError("request.too-large", limit=MAX_LINE)
    return RequestError("request.malformed") if status < 500 else BrokerError("internal")


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


def _answering(handle: _Handler) -> _Handler:
    async def answered(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPException as error:
            # Before the middlewares there is one thing to go wrong: an expectation (RFC 9110, section 10.1.1).
            if error.status != 417:
                raise
            return _response(RequestError("request.expectation"))

    return answered


class HttpRunner(web.AppRunner):
    """An `AppRunner` whose connections fail as the module says."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(_answering(made.request_handler), request_factory=made.request_factory, **self._kwargs)
