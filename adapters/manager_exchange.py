"""One HTTP/1.1 exchange over a kept connection (RFC 9112): a request as bytes, an answer as it is parsed.

Of aiohttp its connector (pool, name resolution, TLS) and its parser in C are used, not its client session. A session
makes a request, a response, a writer and their headers anew for each exchange, and has cookies, redirects, proxies and
replays to think of: that cost more than all the broker does with an answer (`tests.benchmarks`). None of these has a
place between a broker and a manager.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_WITHOUT_BODY = frozenset({"GET", "HEAD"})


class Peer:
    """Where connections to a manager lead. `tls`: True for the default context, where the URL says https."""

    __slots__ = ("host", "key")

    def __init__(self, base: URL, tls: ssl.SSLContext | bool) -> None:
        self.key = ClientRequest("GET", base, ssl=tls)
        """What the connector knows a connection by; never sent."""
        self.host = base.host_port_subcomponent or ""


class Answering:
    """An answer whose head has come. Close it, in any case; it is kept for the next where it was read to its end."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self, connection: Connection, message: RawResponseMessage, content: aiohttp.StreamReader
    ) -> None:
        self._connection = connection
        self.status = message.code
        self.headers: Mapping[str, str] = message.headers
        self.content = content

    def close(self) -> None:
        connection = self._connection
        # An answer may come before the whole request has left: what is left of that must not go before the next.
        if connection.transport is None or connection.transport.get_write_buffer_size():
            connection.close()
        else:
            connection.release()  # which closes it where something of the answer is left


class Exchanges:
    """The connections to every manager. Made and closed inside a running event loop.

    `keepalive` is how long (seconds) an idle connection is kept. `resolver`: looks up names, once a minute at most;
    None: the system's. Raises aiohttp's `ClientError` and `HttpProcessingError`; nothing is bounded in time here, and
    nothing is sent twice.
    """

    def __init__(self, keepalive: float, resolver: AbstractResolver | None = None) -> None:
        # The guard bounds each manager; a bound here would let one hung manager starve the others.
        self._connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=keepalive, ttl_dns_cache=60, resolver=resolver
        )

    async def aclose(self) -> None:
        await self._connector.close()

    async def send(self, peer: Peer, request: bytes, *, bodiless: bool = False) -> Answering:
        """`bodiless`: the answer has no body whatever its head says (HEAD)."""
        connection = await self._connector.connect(peer.key, [], _NO_TIMEOUT)
        try:
            protocol, transport = _ends(connection)
            protocol.set_response_params(skip_payload=bodiless, read_until_eof=True, auto_decompress=False)
            transport.write(request)
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code < 200 or message.code == 101:
                    return Answering(connection, message, content)
        except BaseException:
            connection.close()
            raise


def _ends(connection: Connection) -> tuple[ResponseHandler, asyncio.Transport]:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:  # closed as soon as it was opened
        raise aiohttp.ServerDisconnectedError
    return protocol, transport


def written(method: str, url: URL, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """A request. What stands in `headers` must be printable ASCII; `url` is encoded."""
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method not in _WITHOUT_BODY:
        lines.append(f"Content-Length: {len(body or b'')}")
    head = "\r\n".join((*lines, "\r\n")).encode("ascii")
    return head + body if body else head
