"""The sandbox Gestionnaire as an aiohttp application, under `/fhir`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from aiohttp import web

from adapters.clock import SystemClock
from adapters.sandbox.exchange import Handler, guard, served
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.reading import Reading
from adapters.sandbox.store import Store
from adapters.sandbox.writing import Writing
from broker.ports import Clock


def build_app(store: Store, *, base_url: str | None = None) -> web.Application:
    """The application over a store, with the store's options.

    `base_url` is what links begin with, without a final slash; by default what the client called.
    """
    options = store.options
    app = web.Application(middlewares=[guard], client_max_size=options.max_body)
    reading, writing = Reading(store, version=version("cds-broker")), Writing(store)

    def add(method: str, path: str, handler: Handler) -> None:
        serve = served(handler, base_url.rstrip("/") if base_url else None)
        if method == "GET":
            app.router.add_get(f"/fhir{path}", serve)  # HEAD too
        else:
            app.router.add_route(method, f"/fhir{path}", serve)

    for root in ("", "/"):
        add("GET", root, reading.root)
        add("POST", root, writing.transaction)
    add("GET", "/metadata", reading.metadata)
    add("GET", "/{type}", reading.search)
    add("POST", "/{type}", writing.create)
    if not options.no_post_search:
        add("POST", "/{type}/_search", reading.search)
    if not options.no_type_history:
        add("GET", "/{type}/_history", reading.history_type)
    add("GET", "/{type}/{id}", reading.read)
    add("PUT", "/{type}/{id}", writing.update)
    if options.allow_delete:
        add("DELETE", "/{type}/{id}", writing.delete)
    add("GET", "/{type}/{id}/_history", reading.history_instance)
    add("GET", "/{type}/{id}/_history/{vid}", reading.vread)
    return app


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    base_url: str  # `http://127.0.0.1:40123/fhir`
    store: Store


@asynccontextmanager
async def running_sandbox(
    resources: Iterable[Mapping[str, Any] | bytes] = (),
    *,
    store: Store | None = None,
    options: SandboxOptions | None = None,
    clock: Clock | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    base_url: str | None = None,
) -> AsyncIterator[RunningSandbox]:
    """A sandbox served in this event loop for as long as the context lasts; port 0 takes a free one.

    `resources` are loaded as they are (`Store.load`). A given `store` brings its own options and clock.
    """
    held = store or Store(clock or SystemClock(), options)
    held.load(resources)
    runner = web.AppRunner(build_app(held, base_url=base_url), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        taken = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        yield RunningSandbox(base_url or f"http://{shown}:{taken}/fhir", held)
    finally:
        await runner.cleanup()
