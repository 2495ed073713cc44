"""A TCP proxy before a manager that harms chosen requests, and remembers what went through.

It passes bytes on as they are, and knows just enough of HTTP/1.1 to see where a request and an answer end. What it
does to a request is chosen by `faults`: the first text found in the request's bytes names the fault, once.

    proxy.faults["circle-17"] = Fault.CUT_UNANSWERED
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit


class Fault(StrEnum):
    """`…_AFTER`: the manager has received the request, and did what it asks. `…_INSTEAD`: it never hears of it."""

    CUT_UNANSWERED = "cut after the manager answered, before a byte of the answer"
    CUT_IN_ANSWER = "cut in the middle of the answer"
    CUT_AT_ONCE = "cut as soon as the request is passed on"
    HELD_BACK = "cut, and passed on only some time later"
    LATE = "answered only some time later"
    LOST = "cut, and never passed on"
    GATEWAY_AFTER = "502 of the proxy's own, after"
    GATEWAY_INSTEAD = "502 of the proxy's own, instead"
    TIMEOUT_AFTER = "504 of the proxy's own, after"
    TIMEOUT_INSTEAD = "504 of the proxy's own, instead"
    ERROR_AFTER = "500 without OperationOutcome, after"
    ERROR_INSTEAD = "500 without OperationOutcome, instead"

    @property
    def status(self) -> int | None:
        """Of the answer that the proxy makes up."""
        name = self.name.partition("_")[0]
        return {"GATEWAY": 502, "TIMEOUT": 504, "ERROR": 500}.get(name)

    @property
    def reaches(self) -> bool:
        """Whether the manager receives the request."""
        return self is not Fault.LOST and not self.name.endswith("_INSTEAD")


class Stage(StrEnum):
    """What a watcher is told of, in this order."""

    CAME = "came"  # the whole request is here, the manager has none of it
    PASSED = "passed on"  # the manager has it all
    ANSWERED = "answered"  # the manager's whole answer is here, the client has none of it
    GIVEN = "given"  # the client's kernel has the answer


@dataclass
class Seen:
    """One request, as it came. `reached`: the manager has received it; `status` is the manager's."""

    method: str
    target: str
    raw: bytes
    fault: Fault | None = None
    reached: bool = False
    status: int | None = None

    @property
    def writes(self) -> bool:
        return self.method in ("POST", "PUT") and "_search" not in self.target


def unwatched(_stage: Stage, _seen: Seen) -> None:
    return None


@dataclass
class FaultyProxy:
    """`hold` is how long (seconds) LATE and HELD_BACK wait, the latter at most until `release`.

    `watch` hears of each request's stages as they come.
    """

    upstream: str
    hold: float = 0.3
    faults: dict[str, Fault] = field(default_factory=dict)
    watch: Callable[[Stage, Seen], None] = unwatched
    seen: list[Seen] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _server: asyncio.Server | None = None
    _serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)
    _later: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{urlsplit(self.upstream).path}"

    def writes(self, mark: str) -> list[Seen]:
        """The writes with `mark` in them that reached the manager."""
        return [one for one in self.seen if one.writes and one.reached and mark.encode() in one.raw]

    async def quiet(self) -> None:
        """Wait until nothing that was held back is still on its way to the manager."""
        while self._later:
            await asyncio.wait(self._later)

    async def accept(self) -> None:
        """Listen (again), on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cut what is open; connections are refused until `accept`."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        serving = list(self._serving.items())
        for task, writer in serving:
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*(task for task, _ in serving), return_exceptions=True)

    async def aclose(self) -> None:
        await self.refuse()
        later = list(self._later)
        for task in later:
            task.cancel()
        await asyncio.gather(*later, return_exceptions=True)

    # --- one connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            while (request := await _message(reader)) is not None:
                seen = _seen(request)
                seen.fault = self._fault_for(request) if seen.writes else None
                self.seen.append(seen)
                self.watch(Stage.CAME, seen)
                if not await self._handle(seen, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side went away, or the test ends: both are what a proxy is for
        finally:
            del self._serving[task]
            writer.transport.abort()

    def _fault_for(self, request: bytes) -> Fault | None:
        mark = next((one for one in self.faults if one.encode() in request), None)
        return None if mark is None else self.faults.pop(mark)

    async def _handle(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        """True where the connection stays open."""
        match seen.fault:
            case Fault.LOST:
                return False
            case Fault.HELD_BACK | Fault.CUT_AT_ONCE as fault:
                hold = self.hold if fault is Fault.HELD_BACK else 0.0
                writer.transport.abort()
                later = asyncio.create_task(self._pass_on_later(seen, hold))
                self._later.add(later)
                later.add_done_callback(self._later.discard)
                return False
            case fault if fault is not None and not fault.reaches:
                answer = b""
            case _:
                answer = await self._passed_on(seen)
        if seen.fault is Fault.LATE:
            await asyncio.sleep(self.hold)
        return await self._answer(seen, answer, writer)

    async def _answer(self, seen: Seen, answer: bytes, writer: asyncio.StreamWriter) -> bool:
        if seen.fault is Fault.CUT_UNANSWERED:
            return False
        if seen.fault is Fault.CUT_IN_ANSWER:
            writer.write(answer[: (answer.index(b"\r\n\r\n") + 4 + len(answer)) // 2])
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return False
        if (status := seen.fault.status if seen.fault else None) is not None:
            body = b"<html><title>Proxy</title></html>"
            head = (
                f"HTTP/1.1 {status} Proxy\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            answer = head.encode() + body
        writer.write(answer)
        await writer.drain()
        self.watch(Stage.GIVEN, seen)
        return True

    async def _pass_on_later(self, seen: Seen, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.release.wait()
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._passed_on(seen)

    async def _passed_on(self, seen: Seen) -> bytes:
        """The manager's answer, over a connection of this request's own."""
        address = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(seen.raw)
            await writer.drain()
            seen.reached = True
            self.watch(Stage.PASSED, seen)
            answer = await _message(reader, bodiless=seen.method == "HEAD")
            if answer is None:
                raise ConnectionResetError("the manager closed the connection")
            seen.status = int(answer.split(b" ", 2)[1])
            self.watch(Stage.ANSWERED, seen)
            return answer
        finally:
            writer.transport.abort()


def _seen(request: bytes) -> Seen:
    method, target, _ = request.partition(b"\r\n")[0].decode("latin-1").split(" ")
    return Seen(method, target, request)


async def _message(reader: asyncio.StreamReader, *, bodiless: bool = False) -> bytes | None:
    """One whole request or answer; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    if bodiless:
        return head
    if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
        return head + await _chunks(reader)
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return head + await reader.readexactly(int(length[1]) if length else 0)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    read = b""
    while True:
        line = await reader.readline()
        size = int(line.partition(b";")[0], 16)
        read += line + await reader.readexactly(size + 2)
        if size == 0:
            return read


@asynccontextmanager
async def faulty_proxy(upstream: str, *, hold: float = 0.3) -> AsyncIterator[FaultyProxy]:
    """A proxy before the manager at `upstream` (its base address)."""
    proxy = FaultyProxy(upstream, hold)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.aclose()
