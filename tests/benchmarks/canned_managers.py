"""Managers as cheap as can be: prebuilt bytes over one `asyncio.Protocol`, so that they are not what is measured.

Each answers a search with its searchset and a read with its first circle. One of them can be made to hang.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tests.benchmarks.bench_merge import bundles
from tests.benchmarks.children import main, say, serve_commands

Json = dict[str, Any]

MANAGERS = 13
FORM = (
    ("status", "active"),
    ("_include", "CareTeam:subject"),
    ("_include", "CareTeam:participant"),
)
"""The search of the benchmark: its managers can do all of it themselves."""

_SMALL_NARRATIVE = 0


def searchset(number: int, base: str, *, circles: int) -> bytes:
    """The answer of manager `number`: its newest circles first, four resources each.

    Ten circles are 44 KB, as in `bench_merge`; a single one has no narratives and comes to some 2.5 KB.
    """
    origin, body = bundles(narrative=None if circles > 1 else _SMALL_NARRATIVE)[number]
    bundle: Json = orjson.loads(body.replace(origin.base_url.encode(), base.encode()))
    entries = bundle["entry"]
    groups = [entries[start : start + 4] for start in range(0, len(entries), 4)][:circles]
    groups.sort(key=lambda group: group[0]["resource"]["meta"]["lastUpdated"], reverse=True)
    bundle["entry"] = [entry for group in groups for entry in group]
    bundle["total"] = circles
    bundle["link"][0]["url"] = f"{base}/CareTeam?status=active&_sort=-_lastUpdated"
    return orjson.dumps(bundle)


def answer(body: bytes, content_type: bytes = b"application/fhir+json; charset=utf-8") -> bytes:
    head = b'HTTP/1.1 200 OK\r\nContent-Type: %b\r\nETag: W/"1"\r\nContent-Length: %d\r\n\r\n'
    return head % (content_type, len(body)) + body


class Manager:
    """What one manager answers, and whether it does."""

    def __init__(self, number: int, base: str, *, circles: int) -> None:
        body = searchset(number, base, circles=circles)
        circle = orjson.loads(body)["entry"][0]["resource"]
        self.circle_id: str = circle["id"]
        self.searched = answer(body)
        self.read = answer(orjson.dumps(circle))
        self.size = len(body)
        self.hangs = False

    def reply(self, request: bytes) -> bytes:
        """The answer to a whole request; empty where the manager hangs."""
        if self.hangs:
            return b""
        return self.searched if request.startswith(b"POST ") or b"?" in request[:200] else self.read


class Serving(asyncio.Protocol):
    """One connection. A request is whole with its head and as many bytes as that announces."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head >= 0 and len(self._received) >= head + 4 + content_length(self._received[:head]):
            self._transport.write(self._manager.reply(self._received))
            self._received = b""


def content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def work(argument: Json) -> None:
    loop = asyncio.get_running_loop()
    managers: list[Manager] = []
    ports: list[int] = []
    for number in range(MANAGERS):
        server = await loop.create_server(lambda n=number: Serving(managers[n]), "127.0.0.1", 0)  # type: ignore[misc]
        ports.append(server.sockets[0].getsockname()[1])
        managers.append(
            Manager(number, f"http://127.0.0.1:{ports[-1]}/fhir", circles=int(argument["circles"]))
        )

    def hang(number: str) -> None:
        managers[int(number)].hangs = True

    say({"ports": ports, "bytes": sum(one.size for one in managers), "circle": managers[0].circle_id})
    await serve_commands({"hang": hang})


if __name__ == "__main__":
    main(work)
