"""A manager that fails on purpose: a real server on 127.0.0.1 whose faults are fields.

    async with scripted_manager(circles(25), page_size=10) as manager:
        manager.faults.hang = True              # from now on; see `Faults`
        gestionnaire = manager.gestionnaire("bre", timeout=0.3)
        ...
        assert manager.requests[0].params == [("_count", "10")]
        assert manager.max_active <= 4
        await manager.refuse()                  # connections are refused ...
        await manager.accept()                  # ... until it is back, on the same port

It speaks HTTP over raw sockets, because most faults are things that no HTTP library lets a server do. Answers
of one's own: `manager.replies["CareTeam/_search"] = Reply(...)`, or a function from `Received` to `Reply`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from registry.model import Gestionnaire, Registered
from tests.support.fhir_builders import Resource, operation_outcome, to_bytes
from tests.support.scripted_searches import CannedStore

BASE_PATH = "/fhir"
FHIR_JSON = "application/fhir+json; charset=utf-8"


@dataclass
class Faults:
    """Set any of these, at any time.

    `only` narrows them to paths (a pattern), `times` to the next so many requests.
    """

    only: str | None = None
    times: int | None = None
    # the connection
    reset: bool = False  # cut without a byte of an answer
    hang: bool = False  # the request is read and never answered
    delay: float = 0.0  # seconds before the answer
    hang_in_body: bool = False  # half of the body, then nothing
    cut: bool = False  # half of the body, then the connection is closed
    drip: float = 0.0  # seconds between two bytes of the body
    garbage: bool = False  # bytes that are no HTTP
    # framing and coding
    content_length: int | None = None  # declared, whatever the body is
    trailing: bytes = b""  # sent after the body, on the same connection
    chunked: bool = False
    bad_gzip: bool = False
    short_gzip: bool = False  # a good beginning, and then the end
    gzip_bomb: int | None = None  # bytes it unfolds to
    coding: str | None = None  # a Content-Encoding nobody asked for
    # the answer
    status: int | None = None
    retry_after: str | None = None
    redirect: str | None = None  # Location of a 302
    html: bool = False
    content_type: str | None = None
    bad_utf8: bool = False
    bom: bool = False
    wrong_type: bool = False  # a Patient where a Bundle is due
    truncated: bool = False  # JSON that stops half-way, in a whole HTTP answer
    deep: int | None = None  # levels of nesting
    huge: int | None = None  # bytes of padding in otherwise good JSON
    # the searchset
    total: int | None = None
    unsorted: bool = False
    repeat_next: bool = False  # `next` leads to the same page
    foreign_next: str | None = None
    bad_ids: bool = False  # ids outside FHIR's rule
    duplicate: bool = False  # each match twice
    # a server of little skill
    omit_full_url: bool = False
    omit_mode: bool = False
    omit_self: bool = False
    omit_total: bool = False
    id_last: bool = False
    ignore: frozenset[str] = frozenset()  # parameters that it drops in silence
    no_post_search: bool = False  # 405
    no_type_history: bool = True  # 501

    def __post_init__(self) -> None:
        # Made now and kept: making it takes longer than some managers are given.
        if self.gzip_bomb is not None:
            gzip_bomb(self.gzip_bomb)


@dataclass(frozen=True)
class Received:
    """One request as it came in. `path` is relative to the base, `headers` have lower-case names."""

    method: str
    path: str
    query: list[tuple[str, str]]
    form: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    raw_path: str

    @property
    def params(self) -> list[tuple[str, str]]:
        return [*self.query, *self.form]


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": FHIR_JSON})


def reply(resource: Resource, status: int = 200, **headers: str) -> Reply:
    return Reply(status, to_bytes(resource), {"Content-Type": FHIR_JSON, **headers})


_NO_FAULTS = Faults()


class ScriptedManager:
    """See the module. `active`/`max_active` count requests being served, `connections` those open now."""

    def __init__(
        self,
        resources: Iterable[Resource] = (),
        *,
        faults: Faults | None = None,
        page_size: int = 10,
        next_links: str = "absolute",
        compress: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.store = CannedStore(list(resources), page_size, next_links)
        self.faults = faults or Faults()
        self.compress = compress
        self.replies: dict[str, Reply | Callable[[Received], Reply]] = {}
        self.requests: list[Received] = []
        self.active = self.max_active = self.connections_made = 0
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{BASE_PATH}"

    @property
    def connections(self) -> int:
        return len(self._serving)

    def gestionnaire(self, slug: str = "bre", **changes: Any) -> Gestionnaire:
        """Its registration."""
        values = {"name": f"Gestionnaire {slug}", "region": "53", "base_url": self.base_url} | changes
        return Gestionnaire(id=slug, **values)

    async def accept(self) -> None:
        """Listen (again), on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, ssl=self._tls, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop listening and cut what is open: connections are refused until `accept`."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        serving = list(self._serving.items())
        for task, writer in serving:
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*(task for task, _ in serving), return_exceptions=True)

    # --- one connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        self.connections_made += 1
        try:
            while (received := await _read_request(reader)) is not None:
                self.requests.append(received)
                self.active += 1
                self.max_active = max(self.max_active, self.active)
                try:
                    if not await self._respond(received, reader, writer):
                        break
                finally:
                    self.active -= 1
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test ends: both are what a connection is for
        finally:
            del self._serving[task]
            writer.transport.abort()

    async def _respond(
        self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """True where the connection stays open."""
        faults = self._faults_for(received)
        if faults.reset:
            return False
        if faults.garbage:
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            await writer.drain()
            return False
        if faults.hang:
            await reader.read()
            return False
        if faults.delay:
            await asyncio.sleep(faults.delay)
        answer = self._answer(received, faults)
        return await self._write(answer, received, faults, reader, writer)

    def _faults_for(self, received: Received) -> Faults:
        faults = self.faults
        if faults.only is not None and not re.search(faults.only, received.path):
            return _NO_FAULTS
        if faults.times is not None:
            if faults.times <= 0:
                return _NO_FAULTS
            faults.times -= 1
        return faults

    async def _write(
        self,
        answer: Reply,
        received: Received,
        faults: Faults,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        body, headers = _encoded(
            answer, faults, compress=self.compress and "gzip" in received.headers.get("accept-encoding", "")
        )
        if faults.chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" if body else b"0\r\n\r\n"
        else:
            declared = len(body) if faults.content_length is None else faults.content_length
            headers["Content-Length"] = str(declared)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{head}\r\n".encode("latin-1"))
        half = body[: max(1, len(body) // 2)]
        if faults.cut:
            writer.write(half)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return False
        if faults.hang_in_body:
            writer.write(half)
            await reader.read()
            return False
        if faults.drip:
            for byte in body:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(faults.drip)
        else:
            writer.write(body)
        writer.write(faults.trailing)
        await writer.drain()
        return True

    # --- one answer

    def _answer(self, received: Received, faults: Faults) -> Reply:
        if faults.redirect is not None:
            return Reply(302, b"", {"Location": faults.redirect})
        if faults.status is not None:
            headers = {"Retry-After": faults.retry_after} if faults.retry_after else {}
            return reply(operation_outcome(), faults.status, **headers)
        if (own := self.replies.get(received.path)) is not None:
            return own(received) if callable(own) else own
        return _spoil(self._route(received, faults), faults)

    def _route(self, received: Received, faults: Faults) -> Reply:
        path, params = received.path, [p for p in received.params if p[0] not in faults.ignore]
        values = dict(params)
        if path == "metadata":
            return reply({"resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1"})
        token = values.get("_page") or values.get("_getpages")
        if received.method == "GET" and token is not None and (page := self.store.page(token)) is not None:
            return self._searchset(*page, faults)
        segments = path.split("/")
        if segments[1:] == ["_search"] and received.method == "POST":
            if faults.no_post_search:
                return reply(operation_outcome(), 405)
            return self._searchset(segments[0], params, 0, faults)
        if segments[1:] == ["_history"] and faults.no_type_history:
            return reply(operation_outcome(code="not-supported"), 501)
        if len(segments) == 1 and path and received.method == "GET":
            return self._searchset(path, params, 0, faults)
        if len(segments) == 2 and (found := self.store.read(*segments)) is not None:
            meta = found.get("meta", {})
            return reply(found, ETag=f'W/"{meta.get("versionId", "1")}"')
        return reply(operation_outcome(code="not-found"), 404)

    def _searchset(self, type_: str, params: Any, offset: int, faults: Faults) -> Reply:
        base = self.base_url
        unsorted = faults.unsorted or "_sort" in faults.ignore
        page = self.store.search(type_, params, base=base, offset=offset, unsorted=unsorted)
        links = {link["relation"]: link["url"] for link in page["link"]}
        if faults.repeat_next:
            links["next"] = self.store.link(type_, params, offset, base)
        if faults.foreign_next is not None:
            links["next"] = faults.foreign_next
        if faults.omit_self:
            links.pop("self", None)
        page["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
        if faults.total is not None:
            page["total"] = faults.total
        if faults.omit_total:
            page.pop("total", None)
        page["entry"] = [_entry(entry, faults) for entry in page.get("entry", ())]
        if faults.duplicate:
            page["entry"] = [entry for entry in page["entry"] for _ in range(2)]
        return reply(page)


def _entry(entry: Resource, faults: Faults) -> Resource:
    entry = dict(entry)
    resource = dict(entry["resource"])
    if faults.bad_ids:
        resource["id"] = f"../../{resource['id']} " + "x" * 80
    if faults.id_last:
        resource["id"] = resource.pop("id")
    entry["resource"] = resource
    if faults.omit_full_url:
        del entry["fullUrl"]
    if faults.omit_mode:
        del entry["search"]
    return entry


def _spoil(answer: Reply, faults: Faults) -> Reply:
    if faults.html:
        return Reply(200, b"<!doctype html><title>Maintenance</title>", {"Content-Type": "text/html"})
    if faults.wrong_type:
        answer.body = b'{"resourceType":"Patient","id":"p1"}'
    if faults.deep is not None:
        nested = b"[" * faults.deep + b"]" * faults.deep
        answer.body = b'{"resourceType":"Bundle","type":"searchset","entry":' + nested + b"}"
    if faults.huge is not None:
        answer.body = answer.body[:-1] + b',"x":"' + b"x" * faults.huge + b'"}'
    if faults.truncated:
        answer.body = answer.body[: len(answer.body) // 2]
    if faults.bad_utf8:
        answer.body = answer.body.replace(b'"', b'"\xff', 1)
    if faults.bom:
        answer.body = b"\xef\xbb\xbf" + answer.body
    if faults.content_type is not None:
        answer.headers["Content-Type"] = faults.content_type
    return answer


def _encoded(answer: Reply, faults: Faults, *, compress: bool) -> tuple[bytes, dict[str, str]]:
    headers, body = dict(answer.headers), answer.body
    if faults.coding is not None:
        headers["Content-Encoding"] = faults.coding
    elif compress or faults.bad_gzip or faults.short_gzip or faults.gzip_bomb is not None:
        headers["Content-Encoding"] = "gzip"
        if faults.gzip_bomb is not None:
            return gzip_bomb(faults.gzip_bomb), headers
        body = gzip.compress(body, 1)
        if faults.bad_gzip:
            body = body[:10] + b"\xff" * 40 + body[50:]
        if faults.short_gzip:
            body = body[: len(body) // 2]
    return body, headers


@functools.lru_cache(maxsize=4)
def gzip_bomb(size: int) -> bytes:
    """Gzip that unfolds to `size` bytes (whole MiB)."""
    packer = zlib.compressobj(9, wbits=31)
    block = b"0" * (1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join(parts) + packer.flush()


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    """The next request; None at the end of the connection.

    Bodies come with Content-Length, as the broker sends them.
    """
    line = await reader.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    is_form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return Received(
        method,
        path.removeprefix(BASE_PATH).strip("/"),
        parse_qsl(query, keep_blank_values=True),
        parse_qsl(body.decode(), keep_blank_values=True) if is_form else [],
        headers,
        body,
        target,
    )


@contextlib.asynccontextmanager
async def scripted_manager(
    resources: Iterable[Resource] = (), *, listening: bool = True, **options: Any
) -> AsyncIterator[ScriptedManager]:
    """A running manager; `options` as for `ScriptedManager`.

    `listening=False`: it has a port, and refuses.
    """
    manager = ScriptedManager(resources, **options)
    await manager.accept()
    if not listening:
        await manager.refuse()
    try:
        yield manager
    finally:
        await manager.refuse()


class FixedManagers:
    """The `Managers` port over a fixed list; `entries` may be changed."""

    def __init__(self, *managers: Gestionnaire) -> None:
        self.entries = {m.id: Registered(m, 1, "2026-01-01T00:00:00Z") for m in managers}

    def all(self) -> list[Registered]:
        return list(self.entries.values())

    def get(self, slug: str) -> Registered | None:
        return self.entries.get(slug)
