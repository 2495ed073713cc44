"""What a located search, a read and a write are measured against: a bare aiohttp proxy of one manager.

Nothing is parsed, checked, bounded or named. With `redis` it reads two keys first, in one round trip, and makes nothing
of them. It runs on the broker's event loop.
"""

from __future__ import annotations

from typing import Any

from aiohttp import ClientSession, TCPConnector, web

from registry.redis_connection import connect
from tests.benchmarks.bare_fan_out import JSON
from tests.benchmarks.children import main, say, serve_commands


async def work(argument: Any) -> None:
    base = argument["base"]
    redis: Any = connect(argument["redis"]) if "redis" in argument else None
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def passed_on(request: web.Request) -> web.Response:
            body = await request.read()
            if redis is not None:
                await redis.mget("bare-1", "bare-2")
            headers = {"Content-Type": request.headers["Content-Type"]}
            async with session.post(f"{base}/CareTeam/_search", data=body, headers=headers) as response:
                return web.Response(body=await response.read(), headers=JSON)

        app = web.Application(client_max_size=64 * 2**20)

        async def written(request: web.Request) -> web.Response:
            """A read or a write: the same request to the same path, and the manager's own answer."""
            body = await request.read()
            headers = {"Content-Type": "application/fhir+json"} if body else {}
            url = base + request.path.removeprefix("/fhir")
            async with session.request(request.method, url, data=body or None, headers=headers) as response:
                return web.Response(body=await response.read(), status=response.status, headers=JSON)

        app.add_routes(
            [
                web.post("/fhir/CareTeam/_search", passed_on),
                web.post("/fhir", written),
                web.post("/fhir/CareTeam", written),
                web.route("*", "/fhir/CareTeam/{id}", written),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        say({"port": runner.addresses[0][1]})
        await serve_commands()
        await runner.cleanup()
        if redis is not None:
            await redis.aclose()


if __name__ == "__main__":
    main(work)
