"""A sandbox over real HTTP, and what tests ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import aiohttp
import orjson

from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store
from broker.ports import Clock

Json = dict[str, Any]
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        loaded: Json = orjson.loads(self.body)
        return loaded

    @property
    def entries(self) -> list[Json]:
        return list(self.json.get("entry", []))

    def ids(self, mode: str = "match") -> list[str]:
        """`Type/id` of the entries of a mode, in order."""
        return [
            f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
            for entry in self.entries
            if entry.get("search", {}).get("mode") == mode
        ]

    def link(self, relation: str) -> str | None:
        return next((link["url"] for link in self.json.get("link", []) if link["relation"] == relation), None)

    @property
    def issues(self) -> list[str]:
        """The keys of an OperationOutcome's issues."""
        assert self.json["resourceType"] == "OperationOutcome"
        return [issue["details"]["coding"][0]["code"] for issue in self.json["issue"]]


class Box:
    def __init__(self, base_url: str, store: Store, session: aiohttp.ClientSession) -> None:
        self.base_url = base_url
        self.store = store
        self._session = session

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        pairs: Pairs = (),
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """`path` is below the base, or an absolute URL; `body` is bytes, or goes as FHIR JSON."""
        url = path if "://" in path else f"{self.base_url}/{path}".rstrip("/")
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        sent = {"Content-Type": "application/fhir+json"} if data is not None else {}
        async with self._session.request(
            method,
            url,
            data=data,
            params=list(pairs),
            headers=sent | dict(headers or {}),
            allow_redirects=False,
        ) as response:
            return Reply(
                response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()
            )

    async def get(
        self, path: str, *pairs: tuple[str, str], headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self.send("GET", path, pairs=pairs, headers=headers)

    async def form(self, path: str, *pairs: tuple[str, str], query: Pairs = ()) -> Reply:
        async with self._session.post(
            f"{self.base_url}/{path}", data=list(pairs), params=list(query)
        ) as response:
            return Reply(
                response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()
            )

    async def search(self, kind: str, *pairs: tuple[str, str]) -> Reply:
        reply = await self.get(kind, *pairs)
        assert reply.status == 200, reply.body
        return reply

    async def found(self, kind: str, *pairs: tuple[str, str]) -> set[str]:
        """Ids of all matches."""
        reply = await self.search(kind, *pairs, ("_count", "100"))
        assert reply.link("next") is None
        return {reference.partition("/")[2] for reference in reply.ids()}

    async def pages(self, reply: Reply) -> list[Reply]:
        """A first page and all that follow it."""
        collected = [reply]
        while (following := collected[-1].link("next")) is not None:
            assert len(collected) < 100
            collected.append(await self.get(urljoin(self.base_url, following)))
            assert collected[-1].status == 200
        return collected


@asynccontextmanager
async def boxed(
    resources: Iterable[Mapping[str, Any] | bytes] = (),
    *,
    options: SandboxOptions | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Box]:
    async with (
        running_sandbox(resources, options=options, clock=clock) as running,
        aiohttp.ClientSession() as session,
    ):
        yield Box(running.base_url, running.store, session)
