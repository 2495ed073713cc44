"""What the broker is measured against: a bare aiohttp server that asks the same managers and puts bytes in a row.

Nothing is parsed, checked, bounded or named; a manager that fails makes it fail. It runs on the broker's event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientSession, TCPConnector, web

from tests.benchmarks.canned_managers import FORMS
from tests.benchmarks.children import main, say, serve_commands

JSON = {"Content-Type": "application/fhir+json; charset=utf-8"}
_FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


class BareFanOut:
    def __init__(self, session: ClientSession, bases: list[str], form: bytes) -> None:
        self._session = session
        self._bases = bases
        self._form = form

    async def search(self, request: web.Request) -> web.Response:
        await request.read()
        bodies = await asyncio.gather(*(self._searched(f"{base}/CareTeam/_search") for base in self._bases))
        return web.Response(body=b"".join(bodies), headers=JSON)

    async def _searched(self, url: str) -> bytes:
        async with self._session.post(url, data=self._form, headers=_FORM_TYPE) as response:
            return await response.read()

    async def read(self, request: web.Request) -> web.Response:
        """A read, passed on to the first manager as it is."""
        async with self._session.get(f"{self._bases[0]}/CareTeam/{request.match_info['id']}") as response:
            return web.Response(body=await response.read(), headers=JSON)


async def work(argument: Any) -> None:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        fan_out = BareFanOut(session, argument["bases"], urlencode(FORMS[argument["circles"]]).encode())
        app = web.Application()
        app.add_routes(
            [
                web.post("/fhir/CareTeam/_search", fan_out.search),
                web.get("/fhir/CareTeam/{id}", fan_out.read),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        say({"port": runner.addresses[0][1]})
        await serve_commands()
        await runner.cleanup()


if __name__ == "__main__":
    main(work)
