"""`/fhir/.well-known/smart-configuration`: where clients get tokens, and what scopes count here (SMART App Launch 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import orjson
from aiohttp import web

from broker.core.access.described import Recognised, smart_configuration
from broker.errors import RequestError

PATH = "/fhir/.well-known/smart-configuration"


def smart_routes(recognised: Callable[[], Recognised]) -> Iterable[web.AbstractRouteDef]:
    """404 where no tokens are taken. Always JSON, whatever is accepted: the document is no FHIR."""

    async def configuration(_request: web.Request) -> web.Response:
        found = smart_configuration(recognised())
        if found is None:
            raise RequestError("request.not-found")
        return web.Response(
            body=orjson.dumps(found), content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    yield web.get(PATH, configuration)
