"""The address that is listened on, and the TLS that new connections are taken with."""

from __future__ import annotations

import asyncio
import socket
import ssl

from aiohttp import web


class _Site(web.BaseSite):
    """A `SockSite` that does not wait a minute for a handshake."""

    def __init__(
        self,
        runner: web.BaseRunner,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        handshake_seconds: float,
    ) -> None:
        super().__init__(runner, ssl_context=context, backlog=1024)
        self._sock = sock
        self._timeout = None if context is None else handshake_seconds

    @property
    def name(self) -> str:
        return "listening"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        if server is None:
            raise RuntimeError("the runner is not set up")
        self._server = await asyncio.get_running_loop().create_server(
            server,
            sock=self._sock,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=self._timeout,
        )


class Listening:
    """`bound`: kept by whoever made it. Made and used inside a running event loop."""

    def __init__(
        self, runner: web.BaseRunner, bound: socket.socket, *, handshake_seconds: float = 10.0
    ) -> None:
        self._runner = runner
        self._bound = bound
        self._handshake_seconds = handshake_seconds
        self._site: _Site | None = None

    async def take(self, context: ssl.SSLContext | None) -> None:
        """Take new connections with this TLS from now on, None for none. Those that are open, or in their handshake, go on.

        The new site listens on a descriptor of its own of the one socket before the old one stops: nobody who connects
        meanwhile is refused, they wait in the same queue.
        """
        before = self._site
        site = _Site(self._runner, self._bound.dup(), context, self._handshake_seconds)
        await site.start()
        self._site = site
        if before is not None:
            await before.stop()
