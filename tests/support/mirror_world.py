"""Managers over real HTTP and a `Mirroring` before them, without a gateway or a store.

async with mirror_world(bre=box.base_url, occ=scripted.base_url) as world:
    done = await world.prepare(circle, "bre")
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker.core.copy_plan import CopyPlan
from broker.core.dialects import effective_skills
from broker.core.preferences import Preferences
from broker.errors import RefusedError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.mirroring import Mirrored, Mirroring
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.federation.read import ReadService
from registry.model import Gestionnaire, Registered, Status
from tests.support.fake_stores import FakeAliasStore, FakeCursorStore

PUBLIC = "https://broker.example/fhir"

Json = dict[str, Any]


@dataclass
class HeldManagers:
    """The `Managers` port over a mapping."""

    held: dict[str, Registered] = field(default_factory=dict)

    def all(self) -> Sequence[Registered]:
        return tuple(self.held.values())

    def get(self, slug: str) -> Registered | None:
        return self.held.get(slug)


@dataclass(frozen=True)
class MirrorWorld:
    mirroring: Mirroring
    managers: HeldManagers
    aliases: FakeAliasStore
    clock: SystemClock

    def register(self, slug: str, base_url: str, *, status: Status = Status.ACTIVE) -> None:
        declared = Gestionnaire(slug, f"Gestionnaire {slug}", "53", base_url, status=status)
        self.managers.held[slug] = Registered(declared, 1, "2026-01-01T00:00:00Z")

    def context(self, seconds: float = 5.0) -> RequestContext:
        deadline = self.clock.monotonic() + seconds
        return RequestContext("r1", "caller", "fr", Preferences(), deadline, "1.1 test", self.clock)

    async def prepare(self, resource: Json, home: str, *, seconds: float = 5.0) -> Mirrored:
        body = json.dumps(resource, ensure_ascii=False).encode()
        return await self.mirroring.prepare(body, self.managers.held[home], self.context(seconds))

    async def plan(self, wanted: Sequence[tuple[str, str]], home: str) -> CopyPlan:
        return await self.mirroring.plan(wanted, self.managers.held[home], self.context())


@asynccontextmanager
async def mirror_world(**base_urls: str) -> AsyncIterator[MirrorWorld]:
    """`base_urls`: by slug."""
    clock, managers, aliases = SystemClock(), HeldManagers(), FakeAliasStore()
    client = HttpManagerClient(clock)
    federation = Federation(
        managers=managers,
        client=client,
        aliases=aliases,
        pages=PageKeeper(FakeCursorStore(), b"s" * 32, 900),
        origins=Origins(PUBLIC, managers),
        options=FederationOptions(PUBLIC, "test"),
        skills_of=effective_skills,
    )
    world = MirrorWorld(Mirroring(federation, ReadService(federation)), managers, aliases, clock)
    for slug, base_url in base_urls.items():
        world.register(slug, base_url)
    try:
        yield world
    finally:
        await client.aclose()


def told(error: RefusedError) -> set[tuple[str, tuple[str, ...]]]:
    """(key, FHIRPaths in order) of each issue."""
    return {(issue.key, tuple(sorted(issue.expression))) for issue in error.issues}
