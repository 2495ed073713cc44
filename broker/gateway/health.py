"""`/health/live`, `/health/ready` and `/metrics`: for load balancers, orchestrators and Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from aiohttp import web


def health_routes(
    is_ready: Callable[[], bool], warnings: Callable[[], Sequence[str]] = tuple
) -> Iterable[web.RouteDef]:
    """Live: the process answers. Ready: it has read the registry once. `warnings`: codes of what is wrong although it
    serves."""

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "pass"})

    async def ready(_request: web.Request) -> web.Response:
        if not is_ready():
            return web.json_response({"status": "fail"}, status=503)
        found = list(warnings())
        return web.json_response({"status": "warn", "notes": found} if found else {"status": "pass"})

    yield web.get("/health/live", live)
    yield web.get("/health/ready", ready)


def metrics_route(page: Callable[[], Awaitable[bytes]]) -> web.RouteDef:
    """`page` renders Prometheus' text format."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=await page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    return web.get("/metrics", metrics)
