"""A region's manager as cheap as can be, that keeps what it is sent: bytes in a dictionary over one `asyncio.Protocol`.

It understands what an agent asks: a search by identifier (nothing is included), a create, an update.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from tests.benchmarks.canned_managers import Serving, answer
from tests.benchmarks.children import main, say, serve_commands

_VALUE = re.compile(rb'"identifier":\[\{[^]]*?"value":"([^"]+)"')
_META = re.compile(rb'"meta":\{')
_EMPTY = answer(b'{"resourceType":"Bundle","type":"searchset","total":0}')


class Region:
    """`held`: by type and identifier, its id, version and bytes."""

    def __init__(self) -> None:
        self.held: dict[tuple[bytes, bytes], tuple[int, int, bytes]] = {}
        self.requests = 0

    def reply(self, request: bytes) -> bytes:
        self.requests += 1
        head, _, body = request.partition(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        kind, _, rest = target.removeprefix(b"/fhir/").partition(b"/")
        if rest.startswith(b"_search"):
            return self._found(kind, body)
        return self._stored(kind, rest, body, created=method == b"POST")

    def _found(self, kind: bytes, body: bytes) -> bytes:
        token = dict(parse_qsl(body.decode()))["identifier"].encode()
        found = self.held.get((kind, token.partition(b"|")[2]))
        if found is None:
            return _EMPTY
        return answer(
            b'{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{"resource":%b}]}' % found[2]
        )

    def _stored(self, kind: bytes, identity: bytes, body: bytes, *, created: bool) -> bytes:
        match = _VALUE.search(body)
        value = identity if match is None else match[1]
        number, version, _ = self.held.get((kind, value), (len(self.held), 0, b""))
        version += 1
        if created:
            body = body.replace(b"{", b'{"id":"%d",' % number, 1)
        stamped = _META.sub(b'"meta":{"versionId":"%d",' % version, body, count=1)
        self.held[kind, value] = number, version, stamped
        head = b'HTTP/1.1 %b\r\nLocation: %b/%d/_history/%d\r\nETag: W/"%d"\r\nContent-Length: 0\r\n\r\n'
        return head % (b"201 Created" if created else b"200 OK", kind, number, version, version)

    def counted(self) -> dict[str, int]:
        return {"requests": self.requests, "held": len(self.held)}


async def work(argument: Any) -> None:
    del argument
    region = Region()
    server = await asyncio.get_running_loop().create_server(partial(Serving, region), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    say({"base": f"http://127.0.0.1:{port}/fhir"})
    await serve_commands({"counted": lambda _: region.counted()})


if __name__ == "__main__":
    main(work)
