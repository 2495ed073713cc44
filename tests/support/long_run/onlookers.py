"""Who looks on while the load runs: the console's stream of events, its pages, figures and states."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

import aiohttp

from tests.support.long_run.book import Book
from tests.support.long_run.site import Site

PAGES = (
    "/console",
    "/fhir/Subscription/$status",
    "/console/synchronisation",
    "/registry/gestionnaires",
    "/metrics",
    "/console/registry",
    "/fhir/metadata",
    "/registry/locator",
)
_PATIENCE = aiohttp.ClientTimeout(total=30)


@dataclass
class Onlooker:
    """`events`: of the console's stream; `streams`: how many were opened, one after the other: the broker ends old ones."""

    site: Site
    book: Book
    gate: asyncio.Event
    pause: float
    events: int = 0
    streams: int = 0

    async def follow(self) -> None:
        """The stream, again whenever it ends."""
        patience = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with aiohttp.ClientSession(timeout=patience) as http:
            while True:
                try:
                    async with http.get(f"{self.site.root}/console/events") as answer:
                        if answer.status != 200:
                            self.book.untrue(f"the console's stream: answered {answer.status}")
                        self.streams += 1
                        async for line in answer.content:
                            self.events += line.startswith(b"event:")
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.book.untrue(f"the console's stream was cut: {type(error).__name__}")
                await asyncio.sleep(0.5)

    async def visit(self) -> None:
        """One page after the other, while the gate is open."""
        async with aiohttp.ClientSession(timeout=_PATIENCE) as http:
            for page in itertools.cycle(PAGES):
                await self.gate.wait()
                begun, status = self.book.begun(), None
                try:
                    async with http.get(f"{self.site.root}{page}") as answer:
                        await answer.read()
                        status = answer.status
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.book.untrue(f"{page}: no answer ({type(error).__name__})")
                self.book.ended(f"look {page}", begun, status)
                if status not in {200, 500, 502, 503, 504, None}:
                    self.book.untrue(f"{page}: answered {status}")
                await asyncio.sleep(self.pause)
