"""A load generator that costs little: requests built beforehand, sent again and again over kept connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast

from tests.benchmarks.canned_managers import content_length

HOST = "127.0.0.1"
_PATIENCE = 30.0  # seconds for one request, after which the benchmark gives up


@dataclass(frozen=True, slots=True)
class Target:
    """A port of this machine and the request that is sent there; `fresh` makes another one each time."""

    port: int
    request: bytes = b""
    fresh: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One closed loop: each connection sends as soon as it is answered. `latencies` in seconds."""

    latencies: tuple[float, ...]
    seconds: float
    body: bytes  # the last one


FORM = "application/x-www-form-urlencoded"


def written(method: str, target: str, port: int, *, body: bytes = b"", content_type: str = FORM) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{port}", "Accept: application/fhir+json"]
    if body:
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def request(method: str, target: str, port: int, *, body: bytes = b"") -> Target:
    return Target(port, written(method, target, port, body=body))


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._missing = -1  # bytes still to come; negative: the head is not whole
        self._head = b""
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed before the answer"))

    async def exchange(self, sent: bytes) -> bytes:
        """The body of the answer; any status but 200 and 201 is an error."""
        self._pieces, self._missing, self._head = [], -1, b""
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(sent)
        return await self._answered

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head, self._missing = head, content_length(head)
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing == 0 and self._answered is not None and not self._answered.done():
            self._finish(self._answered)

    def _finish(self, answered: asyncio.Future[bytes]) -> None:
        if self._head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")):
            answered.set_result(b"".join(self._pieces))
        else:
            answered.set_exception(RuntimeError(f"answered {self._head[:60]!r}"))


async def closed_loop(
    target: Target, *, connections: int, requests: int, on_body: Callable[[bytes], None] | None = None
) -> Run:
    """`requests` in all over `connections`. `on_body` hears each answer, outside of what is timed. Raises where one fails
    or takes too long."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    left = requests
    body = b""

    async def one() -> None:
        nonlocal left, body
        _, connection = await loop.create_connection(_Connection, HOST, target.port)
        try:
            while left > 0:
                left -= 1
                made = target.request if target.fresh is None else target.fresh()
                sent = perf_counter()
                async with asyncio.timeout(_PATIENCE):
                    body = await connection.exchange(made)
                latencies.append(perf_counter() - sent)
                if on_body is not None:
                    on_body(body)
        finally:
            connection.transport.close()

    started = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return Run(tuple(latencies), perf_counter() - started, body)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Instants of `perf_counter`: when it was due and so sent, and when its answer was whole."""

    sent: float
    answered: float
    body: bytes


async def paced(
    port: int, requests: Sequence[bytes], *, per_second: float, connections: int = 16
) -> list[Exchange]:
    """An open loop: requests come as independent clients' do (a Poisson process, the same in each run), whatever becomes
    of those before. One that must wait for a free connection waits in its own time. Raises where one fails or takes too
    long."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(_Connection, HOST, port) for _ in range(connections)]
    free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
    done: list[Exchange] = []
    for _, connection in made:
        free.put_nowait(connection)

    async def one(request: bytes) -> None:
        sent = perf_counter()
        async with asyncio.timeout(_PATIENCE):
            connection = await free.get()
            body = await connection.exchange(request)
        done.append(Exchange(sent, perf_counter(), body))
        free.put_nowait(connection)

    dice, due = random.Random(len(requests)), perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for request in requests:
                await asyncio.sleep(max(0.0, due - perf_counter()))
                group.create_task(one(request))
                due += dice.expovariate(per_second)
    finally:
        for transport, _ in made:
            transport.close()
    return done
