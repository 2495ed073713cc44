"""A federation in memory, on virtual time, whose managers take as long as a test says: the real search and read services,
guard, breakers and hedging over them.

    world = TailWorld(clock, ["bre", "nor"])
    world.home("bre", "c1"); world.replica("nor", "77", of="bre.c1")
    world.takes["bre"] = 2.0
    asked = await world.search("identifier=…")        # asked.bundle, asked.seconds
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from broker.core.change_event import Operation
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.dialects import effective_skills
from broker.core.latency_rule import PaceRule
from broker.core.manager_failure import failed
from broker.core.preferences import parse_prefer
from broker.core.query_parser import parse_search
from broker.core.replica_marks import SEQUENCE_SYSTEM
from broker.errors import FailureKind
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.hedged_read import HedgedReads
from broker.federation.hedging import Hedging, Proof
from broker.federation.hedging_deadlines import Hurry
from broker.federation.hedging_paces import PacedManagers
from broker.federation.issues import FederatedAnswer
from broker.federation.locating import LocatorGuide
from broker.federation.manager_guard import ManagerGuard
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.federation.read import ReadAnswer
from broker.federation.search import SearchService
from broker.ports import ManagerAnswer, ManagerRequest
from registry.locator_model import Sighting
from registry.model import Gestionnaire, Registered
from registry.outbox_model import CircleChange
from tests.support.fake_locator import FakeLocator
from tests.support.fake_outbox import FakeOutbox
from tests.support.fake_stores import FakeAliasStore, FakeCursorStore
from tests.support.fake_write_log import FakeWriteLog
from tests.support.fhir_builders import CIRCLE_SYSTEM, Resource, care_team
from tests.support.scripted_searches import CannedStore
from tests.support.virtual_time import LoopClock

PUBLIC = "https://broker.example/fhir"
QUICK = 0.05
HANG = 1e9


@dataclass(frozen=True)
class AskedFor:
    """`seconds`: that it took."""

    answer: FederatedAnswer | ReadAnswer
    seconds: float
    context: RequestContext

    @property
    def json(self) -> dict[str, Any]:
        assert self.answer.status == 200, self.answer.body
        parsed: dict[str, Any] = json.loads(self.answer.body)
        return parsed


@dataclass
class TailWorld:
    """`takes`: seconds of each answer, by manager; a number, or a function called for each. `asked`: requests by manager;
    `under_way`: of those now."""

    clock: LoopClock
    slugs: list[str]
    everybody: bool = False
    hurry: bool = False
    own_time: float | None = None
    takes: dict[str, float | Callable[[], float]] = field(default_factory=dict)
    fails: dict[str, FailureKind] = field(default_factory=dict)
    stores: dict[str, CannedStore] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    under_way: Counter[str] = field(default_factory=Counter)
    aliases: FakeAliasStore = field(default_factory=FakeAliasStore)

    def __post_init__(self) -> None:
        self.stores = {slug: CannedStore([], 50) for slug in self.slugs}
        self.registered = {
            slug: Registered(
                Gestionnaire(
                    slug, f"Région {slug}", "53", f"https://{slug}.example/fhir", timeout=self.own_time
                ),
                1,
                "2026-01-01T00:00:00Z",
            )
            for slug in self.slugs
        }
        self.locator, self.outbox = FakeLocator(self.clock), FakeOutbox(self.clock)
        self.write_log = FakeWriteLog(self.clock)
        self.guard = ManagerGuard(self, self, self.clock)
        self.paced = PacedManagers(self.guard, self.guard, self.clock, rule=PaceRule(floor=0.3))
        self.federation = Federation(
            managers=self,
            client=self.paced,
            aliases=self.aliases,
            pages=PageKeeper(FakeCursorStore(), b"s" * 32, 900),
            origins=Origins(PUBLIC, self),
            options=FederationOptions(PUBLIC, "test"),
            skills_of=effective_skills,
        )
        self.guide = LocatorGuide(self.locator, self.clock, 1e9)
        self.hedging = Hedging(
            self.federation,
            self.paced,
            self.guide,
            Proof(self.outbox, self.write_log),
            everybody=self.everybody,
        )
        hurried = Hurry(self.federation, self.paced, everybody=True) if self.hurry else None
        self.searches = SearchService(self.federation, self.guide, hedging=self.hedging, hurried=hurried)
        self.reads = HedgedReads(self.federation, self.hedging)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TailWorld]:
        looking = asyncio.create_task(self.paced.run())
        try:
            yield self
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self.guard.aclose()

    # --- who holds what

    async def home(self, slug: str, circle: str, *, identifier: str = "1", number: bool = True) -> int | None:
        """A circle at its home, known to the index; with `number` it has changed through the broker."""
        await self._hold(slug, care_team(circle, identifier=identifier), identifier, replica=False)
        if not number:
            return None
        return await self.outbox.enqueue(CircleChange(slug, circle, "1", None, Operation.CREATED))

    async def replica(
        self, slug: str, circle: str, *, of: str, number: int | None, identifier: str = "1", **more: Any
    ) -> Resource:
        resource = care_team(circle, identifier=identifier, **more)
        tags = [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}]
        if number is not None:
            tags.append({"system": SEQUENCE_SYSTEM, "code": str(number)})
        resource["meta"] |= {"tag": tags, "source": f"{PUBLIC}/CareTeam/{of}"}
        await self._hold(slug, resource, identifier, replica=True)
        return resource

    async def _hold(self, slug: str, resource: Resource, identifier: str, *, replica: bool) -> None:
        store = self.stores[slug]
        store.resources = [one for one in store.resources if one["id"] != resource["id"]] + [resource]
        named = ((CIRCLE_SYSTEM, identifier),)
        await self.locator.learn([Sighting(slug, resource["id"], "1", 1000.0, named, (), replica)])
        self.locator.cover(*self.slugs)

    # --- managers, as the ports want them

    def all(self) -> tuple[Registered, ...]:
        return tuple(self.registered.values())

    def get(self, slug: str) -> Registered | None:
        return self.registered.get(slug)

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        self.asked[manager.id] += 1
        self.under_way[manager.id] += 1
        takes = self.takes.get(manager.id, QUICK)
        seconds = takes() if callable(takes) else takes
        try:
            await asyncio.sleep(min(seconds, timeout))
        finally:
            self.under_way[manager.id] -= 1
        if seconds > timeout:
            raise failed(manager, FailureKind.TIMEOUT)
        if manager.id in self.fails:
            raise failed(manager, self.fails[manager.id])
        return self._answer(manager, request)

    def _answer(self, manager: Gestionnaire, request: ManagerRequest) -> ManagerAnswer:
        store, (kind, _, rest) = self.stores[manager.id], request.target.partition("/")
        resource: Resource | None
        if (page := store.page(request.target.partition("_page=")[2])) is not None:
            kind, pairs, offset = page
            resource = store.search(kind, pairs, base=manager.base_url, offset=offset)
        elif rest in ("", "_search"):
            resource = store.search(kind, [*request.query, *(request.form or ())], base=manager.base_url)
        else:
            resource = store.read(kind, rest)
        if resource is None:
            return ManagerAnswer(404, {}, b"", 0.0)
        headers = {"etag": 'W/"1"', "content-type": "application/fhir+json"}
        return ManagerAnswer(200, headers, json.dumps(resource).encode(), 0.0)

    # --- asking

    def context(self, prefer: str = "", deadline: float = 5.0) -> RequestContext:
        preferences = parse_prefer([prefer] if prefer else [])
        wait = deadline if preferences.wait is None else min(preferences.wait, deadline)
        return RequestContext(
            "r", "me", "fr", preferences, self.clock.monotonic() + wait, "1.1 x", self.clock
        )

    async def search(self, criteria: str, prefer: str = "", *, deadline: float = 5.0) -> AskedFor:
        pairs = [tuple(one.split("=", 1)) for one in criteria.split("&")] if criteria else []
        query = parse_search("CareTeam", [(name, value) for name, value in pairs], strict=True)
        context, began = self.context(prefer, deadline), self.clock.monotonic()
        answer = await self.searches.first_page(query, context)
        return AskedFor(answer, self.clock.monotonic() - began, context)

    async def located(self, prefer: str = "", identifier: str = "1", more: str = "") -> AskedFor:
        return await self.search(f"identifier={CIRCLE_SYSTEM}|{identifier}{more}", prefer)

    async def read(
        self, public_id: str, prefer: str = "replica=allow", conditions: Mapping[str, str] | None = None
    ) -> AskedFor:
        context, began = self.context(prefer), self.clock.monotonic()
        answer = await self.reads.read("CareTeam", public_id, context, conditions=conditions)
        return AskedFor(answer, self.clock.monotonic() - began, context)

    async def used_to(self, *slugs: str, times: int = 40) -> None:
        """So much experience with these, of both kinds, at their present speed."""
        for slug in slugs:
            manager, held = self.registered[slug].gestionnaire, self.stores[slug].resources
            for _ in range(times):
                await self.paced.send(manager, ManagerRequest("POST", "CareTeam/_search", form=()), timeout=5)
                if held:
                    await self.paced.send(
                        manager, ManagerRequest("GET", f"CareTeam/{held[0]['id']}"), timeout=5
                    )
        self.asked.clear()
