"""A broker that leaks: what the search for leaks must find. It is `cds-broker` with one middleware too many."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from prometheus_client.core import GaugeMetricFamily

from broker.tracing import SPAN
from registry.redis_connection import connect

_PR_SET_NAME = 15

seen: list[str] = []


@web.middleware
async def leaking(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.method != "POST" or not request.path.endswith("_search"):
        response: web.StreamResponse = await handler(request)
        return response
    body = await request.read()
    for _, value in parse_qsl(body.decode()):
        seen.append(value)
        logging.getLogger("broker").debug("searched for %s", value)
        span = SPAN.get()
        assert span is not None
        span.note("cds.reason", value)
        number = value.rpartition("|")[2]
        with (Path(tempfile.gettempdir()) / "planted").open("ab") as file:
            file.write(b64encode(f"{len(seen)} {number}".encode()) + b"\n")
        redis: Any = connect(os.environ["CDS_REDIS_URL"])
        await redis.set(f"planted:{len(seen)}", number.encode().hex())
        await redis.set(f"planted:digest:{len(seen)}", hashlib.sha256(number.encode()).hexdigest())
        await redis.aclose()
        if number.isdigit() and len(number) > 8:
            ctypes.CDLL(None).prctl(_PR_SET_NAME, number[:15].encode(), 0, 0, 0)
    return await handler(request)


class Planted:
    def collect(self) -> Any:
        family = GaugeMetricFamily("planted", "Last searched", labels=["value"])
        for value in seen:
            family.add_metric([value], 1)
        yield family


def _be_the_broker() -> None:
    from broker import wiring
    from broker.__main__ import main
    from broker.observability.metrics import Figures

    build, collect = wiring.build_app, Figures.collect

    def built(routes: Any, *, surroundings: Any, **more: Any) -> web.Application:
        return build(routes, surroundings=[*surroundings, leaking], **more)

    def collected(self: Figures) -> Any:
        yield from collect(self)
        yield from Planted().collect()

    wiring.build_app = built
    Figures.collect = collected  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    _be_the_broker()
