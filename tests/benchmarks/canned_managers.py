"""Managers as cheap as can be: prebuilt bytes over one `asyncio.Protocol`, so that they are not what is measured.

Each answers a search with its searchset and a read with its first circle. One more takes requests and never answers.

They answer at once, or as slowly as `pace` says: see `Pace`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, cast

import orjson

from broker.core.identity import Origin
from tests.benchmarks.bench_merge import bundles
from tests.benchmarks.children import main, say, serve_commands

Json = dict[str, Any]

MANAGERS = 13
FORMS = {
    1: (("status", "active"), ("_include", "CareTeam:subject")),
    10: (("status", "active"), ("_include", "CareTeam:subject"), ("_include", "CareTeam:participant")),
}
"""The search of the benchmark, by the circles of each manager: the managers can do all of it themselves."""


def searchset(origin: Origin, body: bytes, *, circles: int) -> bytes:
    """A manager's answer, newest circle first, of a Bundle of `bench_merge`.

    A single circle comes with its patient, without narratives: 2.1 KB. Ten come with three actors each: 44 KB.
    """
    bundle: Json = orjson.loads(body)
    entries = bundle["entry"]
    resources = 2 if circles == 1 else 4
    groups = [entries[start : start + resources] for start in range(0, len(entries), 4)][:circles]
    groups.sort(key=lambda group: group[0]["resource"]["meta"]["lastUpdated"], reverse=True)
    bundle["entry"] = [entry for group in groups for entry in group]
    bundle["total"] = circles
    bundle["link"][0]["url"] = f"{origin.base_url}/CareTeam?status=active&_sort=-_lastUpdated"
    return orjson.dumps(bundle)


def answer(body: bytes, content_type: bytes = b"application/fhir+json; charset=utf-8") -> bytes:
    head = b'HTTP/1.1 200 OK\r\nContent-Type: %b\r\nETag: W/"1"\r\nContent-Length: %d\r\n\r\n'
    return head % (content_type, len(body)) + body


class Manager:
    """What one manager answers."""

    def __init__(self, body: bytes) -> None:
        circle = orjson.loads(body)["entry"][0]["resource"]
        self.circle_id: str = circle["id"]
        self.searched = answer(body)
        self.read = answer(orjson.dumps(circle))
        self.size = len(body)

    def reply(self, request: bytes) -> bytes:
        """The answer to a whole request."""
        return self.searched if request.startswith(b"POST ") or b"?" in request[:200] else self.read


class Answering(Protocol):
    def reply(self, request: bytes) -> bytes: ...


class Serving(asyncio.Protocol):
    """One connection. A request is whole with its head and as many bytes as that announces."""

    def __init__(self, manager: Answering) -> None:
        self._manager = manager
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head >= 0 and len(self._received) >= head + 4 + content_length(self._received[:head]):
            self._transport.write(self._manager.reply(self._received))
            self._received = b""


def content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


@dataclass(frozen=True, slots=True)
class Pace:
    """Of a manager's answers, milliseconds: `usual`, give or take a quarter; `slow` for the `share` of them that is slow.

    `first`: how many managers are so; the others answer as usual. `every`: each n-th answer is slow, and no other.
    """

    usual: float = 0.0
    slow: float = 0.0
    share: float = 0.0
    first: int = MANAGERS
    every: int = 0


def _written(transport: asyncio.Transport, reply: bytes) -> None:
    """Where whoever asked has not left meanwhile."""
    if not transport.is_closing():
        transport.write(reply)


class Paced(Serving):
    """One connection to a manager that takes its time. `number`: the manager's."""

    _manager_answers: ClassVar[Counter[int]] = Counter()

    def __init__(self, manager: Answering, pace: Pace, dice: random.Random, number: int) -> None:
        super().__init__(manager)
        self._pace, self._dice, self._number = pace, dice, number

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head >= 0 and len(self._received) >= head + 4 + content_length(self._received[:head]):
            reply, self._received = self._manager.reply(self._received), b""
            asyncio.get_running_loop().call_later(self._seconds(), _written, transport, reply)

    def _seconds(self) -> float:
        pace, dice = self._pace, self._dice
        usual = pace.usual * dice.uniform(0.75, 1.25) / 1e3
        if self._number >= pace.first:
            return usual
        if pace.every:
            self._manager_answers[self._number] += 1
            is_slow = self._manager_answers[self._number] % pace.every == 0
        else:
            is_slow = dice.random() < pace.share
        return pace.slow / 1e3 if is_slow else usual


async def work(argument: Json) -> None:
    circles = int(argument["circles"])
    narrative = argument.get("narrative", 0 if circles == 1 else None)
    made = bundles(
        narrative=narrative, managers=int(argument.get("managers", MANAGERS)), circles=max(10, circles)
    )
    managers = [Manager(searchset(origin, body, circles=circles)) for origin, body in made]
    bases = [await _listen(factory) for factory in _factories(managers, argument.get("pace"))]
    say(
        {
            "bases": bases,
            "hung": await _listen(asyncio.Protocol),
            "bytes": sum(one.size for one in managers),
            "circle": managers[0].circle_id,
        }
    )
    await serve_commands()


def _factories(managers: list[Manager], pace: Json | None) -> list[Callable[[], asyncio.Protocol]]:
    if pace is None:
        return [partial(Serving, one) for one in managers]
    given, dice = Pace(**pace), random.Random(7)
    return [partial(Paced, one, given, dice, number) for number, one in enumerate(managers)]


async def _listen(protocol: Callable[[], asyncio.Protocol]) -> str:
    """The base address of a new server on a free port."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fhir"


if __name__ == "__main__":
    main(work)
