"""A federation in which there is something to see: made-up people, one region that hangs, one that is slow, one suspended,
changes that nobody fetches, an event that could not be applied, a person with two circles.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from broker.commands.demo_federation import Demo, DemoManager, running_demo
from broker.commands.demo_people import circle, patient
from broker.commands.demo_sync import subscription, working_agent

MANAGERS = 16
HANGS, SLOW, SUSPENDED, UNAPPLIED, LATE = "cor", "r11", "r27", "cercle-7", "occ"
"""By slug: who does not answer, who answers slowly, who is not asked; a circle of the first manager that the second one
cannot take; who has no agent."""

SHOWN = "cercle-6"
"""The first manager's circle that changed several times."""

_DELAY = 1.3
_PATIENCE = 120.0
_SURNAMES = ("Moreau", "Schmitt", "Léger", "Dupont", "Guérin")


@dataclass(frozen=True, slots=True)
class Scene:
    demo: Demo
    http: aiohttp.ClientSession

    @property
    def home(self) -> DemoManager:
        return self.demo.managers[0]

    async def send(
        self, method: str, url: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """To the broker where `url` is a path. The answer's JSON."""
        whole = url if "//" in url else self.demo.url + url
        kind = "application/fhir+json" if "/fhir" in whole else "application/json"
        given = {"Content-Type": kind, **(headers or {})}
        async with self.http.request(method, whole, json=body, headers=given) as answer:
            assert answer.status < 400, (method, url, answer.status, await answer.text())
            return await answer.json(content_type=None)

    async def accesses(self) -> None:
        """Of several kinds, for a trail: reads, a history, a search by a person's INS, a stale update, a check."""
        circle = f"/fhir/CareTeam/{self.home.slug}.cercle-4"
        held = await self.send("GET", circle)
        await self.send("GET", f"{circle}/_history")
        person = await self.send("GET", f"/fhir/{held['subject']['reference']}")
        ins = person["identifier"][0]
        criterion = {"patient.identifier": f"{ins['system']}|{ins['value']}"}
        async with self.http.post(f"{self.demo.base_url}/CareTeam/_search", data=criterion) as answer:
            assert answer.status == 200
        stale = {"Content-Type": "application/fhir+json", "If-Match": 'W/"9"'}
        async with self.http.put(self.demo.url + circle, json=held, headers=stale) as answer:
            assert answer.status == 412
        await self.send("POST", f"/registry/gestionnaires/{self.home.slug}/check")

    async def traffic(self, seconds: float) -> None:
        """Searches as clients make them, for curves to be drawn of."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for number in itertools.count():
            if loop.time() > end:
                return
            query = {"patient.family": _SURNAMES[number % len(_SURNAMES)], "_count": str(2 + number % 5 * 4)}
            with suppress(TimeoutError):
                async with self.http.get(f"{self.demo.base_url}/CareTeam", params=query) as answer:
                    await answer.read()
            await asyncio.sleep(1.0 + number % 3)


@asynccontextmanager
async def scene(port: int) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        demo = await stack.enter_async_context(
            running_demo(MANAGERS, port=port, tell=lambda _fr, _en: None, deadline=2.0)
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        await stack.enter_async_context(working_agent(demo.settings, demo.redis_url, demo.managers[1]))
        made = Scene(demo, http)
        await _in_step(made)
        await _versions(made)
        by_slug = {one.slug: one for one in demo.managers}
        await made.send("POST", f"/registry/gestionnaires/{SUSPENDED}/suspend")
        address = await stack.enter_async_context(_slowed(by_slug[SLOW].base_url))
        declared = (await made.send("GET", f"/registry/gestionnaires/{SLOW}"))["gestionnaire"]
        await made.send(
            "PUT", f"/registry/gestionnaires/{SLOW}", declared | {"base_url": address, "timeout": 4}
        )
        by_slug[HANGS].hang()
        stack.callback(by_slug[HANGS].go_on)
        yield made


async def _in_step(made: Scene) -> None:
    """Two regions subscribe: one takes all but one circle, the other takes nothing, for want of an agent."""
    first = await made.send("GET", f"{made.home.base_url}/CareTeam/{UNAPPLIED}")
    there = made.demo.managers[1].base_url
    person = await made.send("POST", f"{there}/Patient", patient("14000"))
    other = circle(f"Patient/{person['id']}") | {
        "identifier": first["identifier"],
        "name": "Cercle saisi deux fois",
    }
    await made.send("POST", f"{there}/CareTeam", other)
    await made.send("POST", "/fhir/Subscription", subscription(made.demo))
    late = subscription(made.demo)
    late["channel"] = late["channel"] | {"endpoint": f"kafka:{LATE}"}
    await made.send("POST", "/fhir/Subscription", late)

    async def settled() -> bool:
        told = {
            one["id"]: one for one in (await made.send("GET", "/registry/synchronisation"))["subscribers"]
        }
        first, second = told[made.demo.managers[1].slug], told[LATE]
        return first["dead_letters"] == 1 and first["backlog_events"] == 0 and bool(second["backlog_events"])

    async with asyncio.timeout(_PATIENCE):
        while not await settled():  # noqa: ASYNC110  # it is asked for over HTTP
            await asyncio.sleep(0.5)


async def _versions(made: Scene) -> None:
    """A circle is given another name, a member's stay an end, and it is suspended."""
    url = f"/fhir/CareTeam/{made.home.slug}.{SHOWN}"
    now = await made.send("GET", url)
    now["name"] += " (domicile)"
    now = await made.send("PUT", url, now)
    now["participant"][-1]["period"]["end"] = "2026-10-31"
    now = await made.send("PUT", url, now)
    now["status"] = "suspended"
    await made.send("PUT", url, now)


@asynccontextmanager
async def _slowed(base_url: str) -> AsyncIterator[str]:
    """The address of a relay before a manager that keeps each piece that a client sends back for a while."""
    there = urlsplit(base_url)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pass_on(reader, far_writer, _DELAY))
                tasks.create_task(_pass_on(far_reader, writer, 0.0))
        except* OSError:
            pass  # either side left
        finally:
            writer.close()
            far_writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{there.path}"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    while piece := await reader.read(65_536):
        await asyncio.sleep(delay)
        writer.write(piece)
        await writer.drain()
    writer.close()
