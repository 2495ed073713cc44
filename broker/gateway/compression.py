"""Answers in gzip where the client asks for it (RFC 9110, section 12.5.3), and in nothing else.

aiohttp's own choice is made by looking for `deflate` and `gzip` anywhere in the header: it would send `deflate`, of
which clients disagree what it is, and gzip to who refuses it with `q=0`.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from broker.core.media_type import weighted

COMPRESSED_FROM = 1024
"""Bytes. Less does not gain what it costs."""


@web.middleware
async def compressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        response.headers["Vary"] = "Accept-Encoding"
        if len(response.body) > COMPRESSED_FROM and takes_gzip(request.headers.get("Accept-Encoding", "")):
            response.enable_compression(web.ContentCoding.gzip)
    return response


def takes_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip, or everything, with a quality above 0; a coding named counts before `*`."""
    if not accept_encoding:
        return False
    qualities = {item.value: item.quality for item in weighted(accept_encoding)}
    return next((qualities[name] > 0 for name in ("gzip", "x-gzip", "*") if name in qualities), False)
