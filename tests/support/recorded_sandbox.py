"""A sandbox over real HTTP that remembers what it was asked, and fails when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.sandbox.app import build_app
from adapters.sandbox.store import Store
from registry.model import Gestionnaire

Asked = tuple[str, dict[str, str]]
"""The path below the base, and the parameters of address and form."""


@dataclass
class RecordedSandbox:
    """`status`: what it answers in place of the truth, where that gives one."""

    store: Store
    asked: list[Asked] = field(default_factory=list)
    status: Callable[[Asked], int | None] = lambda _: None
    base_url: str = ""

    def gestionnaire(self, slug: str = "bre", **changes: object) -> Gestionnaire:
        """Its registration, as a manager that can do everything."""
        values = {"name": f"Gestionnaire {slug}", "region": "53", "dialect": "gestionnaire"} | changes
        return Gestionnaire(id=slug, base_url=self.base_url, **values)  # type: ignore[arg-type]

    def pages(self) -> list[str | None]:
        """The places from which pages of circles were asked for, in the order in which a crawl and a feed ask."""
        return [
            given.get("_lastUpdated")
            for path, given in self.asked
            if path == "/CareTeam/_search" and given.get("_sort") == "_lastUpdated" and "_include" in given
        ]

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        form = await request.post() if request.content_type.endswith("form-urlencoded") else {}
        asked = (
            request.path.removeprefix("/fhir"),
            dict(request.query) | {name: str(value) for name, value in form.items()},
        )
        self.asked.append(asked)
        status = self.status(asked)
        return await handler(request) if status is None else web.Response(status=status)


@asynccontextmanager
async def recorded_sandbox(store: Store) -> AsyncIterator[RecordedSandbox]:
    recorded = RecordedSandbox(store)
    app = build_app(store)
    app.middlewares.append(recorded._record)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        recorded.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/fhir"
        yield recorded
    finally:
        await runner.cleanup()
