"""Taking a worker out of service without anybody noticing: it says that it is not ready, and goes on answering.

Whoever spreads the load (haproxy, nginx, a Kubernetes service) sees `/health/ready` fail and sends new requests elsewhere;
each answer meanwhile closes its connection, so that no client keeps one to a worker that is about to go. Only then is the
address given up and what still runs finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Draining:
    """`begun`: for good, once it is set. What keeps a connection open for long may wait for it."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        self.begun.set()

    @property
    def is_begun(self) -> bool:
        return self.begun.is_set()

    def middleware(self) -> Middleware:
        """Answers close their connection (RFC 9112, section 9.6) from then on."""

        @web.middleware
        async def closing(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            if self.begun.is_set() and not response.prepared:
                response.force_close()
            return response

        return closing
