"""Managers in memory, the index in memory, time by hand: what tests of the feeding are written with.

    world = World.of(Region("bre"), Region("occ", history=False))
    world.store("bre").put(...)
    async with world.fed():
        await world.clock.advance(30)
        assert await world.holders(person) == {"bre"}

The managers are sandboxes without HTTP: what they answer is what `adapters.sandbox` answers.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from adapters.sandbox.exchange import Answer, Call, failure
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.reading import Reading
from adapters.sandbox.store import Store
from broker.core.dialects import effective_skills
from broker.core.manager_failure import failed
from broker.core.preferences import Preferences
from broker.errors import BrokerError, FailureKind, StoreError
from broker.federation.federation import Federation
from broker.federation.locating import LocatorGuide
from broker.federation.managers import ManagersView
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.ports import Clock, ManagerAnswer, ManagerRequest
from broker.sync.keeper import LocatorKeeper
from broker.sync.options import SyncOptions
from broker.sync.service import LocatorService
from registry.locator_model import Coverage, CoverageState, Identifier
from registry.model import Gestionnaire, Registered
from registry.ports import Locator
from tests.support.fake_clock import FakeClock
from tests.support.fake_locator import FakeLocator
from tests.support.fake_stores import FakeAliasStore, FakeCursorStore

PUBLIC = "https://broker.example/fhir"
OPTIONS = SyncOptions(poll=2.0, overlap=10.0, recrawl=3600.0, lease=15.0, look=1.0, page=50)


@dataclass(frozen=True)
class Region:
    """One manager: its slug, what it can do, its largest page, and how far its clock is ahead of ours (seconds)."""

    slug: str
    dialect: Mapping[str, bool | int] = field(default_factory=dict)
    sandbox: SandboxOptions = field(default_factory=SandboxOptions)
    ahead: float = 0.0
    max_connections: int = 4

    def gestionnaire(self, **changes: Any) -> Gestionnaire:
        able = {
            "sort": True,
            "post_search": True,
            "include": True,
            "paging": True,
            "total": True,
            "history_type": True,
            **{f"param:{kind}:_lastUpdated": True for kind in ("CareTeam", "Patient")},
            **{f"param:CareTeam:{name}": True for name in ("patient", "subject", "identifier", "_id")},
        }
        values: dict[str, Any] = {
            "id": self.slug,
            "name": f"Gestionnaire {self.slug}",
            "region": "53",
            "base_url": f"https://{self.slug}.example/fhir",
            "dialect": {**able, **self.dialect},
            "max_connections": self.max_connections,
        }
        return Gestionnaire(**(values | changes))


@dataclass(frozen=True)
class Shifted:
    """A clock that is wrong by so many seconds."""

    clock: Clock
    by: float

    def now(self) -> dt.datetime:
        return self.clock.now() + dt.timedelta(seconds=self.by)

    def monotonic(self) -> float:
        return self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


Fault = Callable[[str, ManagerRequest], None]


@dataclass
class Sandboxes:
    """The `ManagerClient` over stores. `fault` may raise before an answer; `asked` is every request, in order."""

    stores: dict[str, Store]
    fault: Fault | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    _readings: dict[str, Reading] = field(default_factory=dict)

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        await asyncio.sleep(0)
        if self.fault is not None:
            self.fault(manager.id, request)
        answer = await self._answer(manager, request)
        # A change may come between the manager's answer and its arrival here.
        await asyncio.sleep(0)
        return ManagerAnswer(answer.status, {"content-type": "application/fhir+json"}, answer.body, 0.0)

    async def _answer(self, manager: Gestionnaire, request: ManagerRequest) -> Answer:
        url = urlsplit(request.target.removeprefix(manager.base_url).lstrip("/"))
        pairs = [*parse_qsl(url.query), *request.query, *(request.form or ())]
        self.asked.append((manager.id, f"{url.path}?{'&'.join('='.join(pair) for pair in pairs)}"))
        kind, _, rest = url.path.partition("/")
        fake = SimpleNamespace(
            method=request.method,
            match_info={"type": kind},
            content_type="application/x-www-form-urlencoded",
            body_exists=bool(request.form),
            headers={},
        )
        call = Call(cast("web.Request", fake), manager.base_url, tuple(pairs), Preferences())
        reading = self._readings.setdefault(manager.id, Reading(self.stores[manager.id], version="test"))
        try:
            if not kind:
                return await reading.root(call)
            if rest == "_history":
                if self.stores[manager.id].options.no_type_history:
                    return Answer(404, b"{}")
                return await reading.history_type(call)
            return await reading.search(call)
        except BrokerError as error:
            return failure(error, cast("web.Request", fake))


class Registry:
    """The registry's store, with nothing but its managers."""

    def __init__(self) -> None:
        self.managers: dict[str, Registered] = {}
        self.down = False

    async def all(self) -> list[Registered]:
        if self.down:
            raise StoreError("federation.store")
        return list(self.managers.values())


@dataclass
class World:
    clock: FakeClock
    locator: FakeLocator
    registry: Registry
    view: ManagersView
    client: Sandboxes
    federation: Federation
    options: SyncOptions = OPTIONS
    nodes: int = 0

    @classmethod
    async def of(cls, *regions: Region, options: SyncOptions = OPTIONS) -> World:
        clock = FakeClock()
        registry = Registry()
        view = ManagersView(cast("Any", registry), clock)
        client = Sandboxes({one.slug: Store(Shifted(clock, one.ahead), one.sandbox) for one in regions})
        federation = Federation(
            managers=view,
            client=client,
            aliases=FakeAliasStore(),
            pages=PageKeeper(FakeCursorStore(), b"s" * 32, 900),
            origins=Origins(PUBLIC, view),
            options=FederationOptions(PUBLIC, "test"),
            skills_of=effective_skills,
        )
        world = cls(clock, FakeLocator(clock), registry, view, client, federation, options)
        await world.register(*(one.gestionnaire() for one in regions))
        return world

    async def register(self, *managers: Gestionnaire) -> None:
        for manager in managers:
            self.registry.managers[manager.id] = Registered(manager, 1, "2026-01-01T00:00:00Z")
        await self.view.refresh()

    async def remove(self, slug: str) -> None:
        del self.registry.managers[slug]
        await self.view.refresh()

    def store(self, slug: str) -> Store:
        return self.client.stores[slug]

    def keeper(self, locator: Locator | None = None) -> LocatorKeeper:
        self.nodes += 1
        return LocatorKeeper(
            self.view,
            self.federation,
            locator or self.locator,
            self.clock,
            node=f"node{self.nodes}",
            via="1.1 cds-broker-test",
            options=self.options,
        )

    def service(self) -> LocatorService:
        return LocatorService(
            self.locator, self.view, LocatorGuide(self.locator, self.clock, 30.0), self.clock
        )

    @asynccontextmanager
    async def fed(self) -> AsyncIterator[LocatorKeeper]:
        """A node that feeds the index while the context lasts."""
        keeper = self.keeper()
        task = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            while not task.done():
                task.cancel()
                await self.clock.advance(1.0)
            await asyncio.gather(task, return_exceptions=True)

    async def coverage(self, slug: str) -> Coverage:
        return (await self.locator.coverage()).get(slug, Coverage())

    async def caught_up(self, *slugs: str, seconds: float = 300.0) -> None:
        """Let time pass until every manager is followed, as of a moment after this one."""
        start = self.clock.now().timestamp()
        end = self.clock.monotonic() + seconds
        while not await self._has(slugs or tuple(self.registry.managers), start):
            assert self.clock.monotonic() < end, await self.locator.coverage()
            await self.clock.advance(1.0)

    async def _has(self, slugs: Iterable[str], start: float) -> bool:
        found = [await self.coverage(slug) for slug in slugs]
        return all(
            one.state is CoverageState.COMPLETE and one.as_of is not None and one.as_of > start
            for one in found
        )

    async def holders(self, person: Identifier) -> frozenset[str]:
        return (await self.locator.holders([person], [])).persons[person]

    async def holders_of_circle(self, circle: Identifier) -> frozenset[str]:
        return (await self.locator.holders([], [circle])).circles[circle]


def broken(kind: FailureKind = FailureKind.UNREACHABLE, *, only: str | None = None) -> Fault:
    """A fault: this manager (or all) fails so."""

    def fault(slug: str, request: ManagerRequest) -> None:
        if only in (None, slug):
            raise failed(Gestionnaire(slug, slug, "53", f"https://{slug}.example/fhir"), kind)

    return fault
