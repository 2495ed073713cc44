"""`/health/live` and `/health/ready`: for load balancers and orchestrators. No detail that needs protection."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web


def health_routes(is_ready: Callable[[], bool]) -> Iterable[web.RouteDef]:
    """Live: the process answers. Ready: it has read the registry once."""

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "pass"})

    async def ready(_request: web.Request) -> web.Response:
        if is_ready():
            return web.json_response({"status": "pass"})
        return web.json_response({"status": "fail"}, status=503)

    yield web.get("/health/live", live)
    yield web.get("/health/ready", ready)
