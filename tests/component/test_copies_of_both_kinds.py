"""An actor copied by a write at a circle's home, and by the regional agent of the same manager: whoever comes first."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import change_events as events
from tests.support.agents import Region, region
from tests.support.fhir_builders import care_team
from tests.support.mirror_world import MirrorWorld, mirror_world
from tests.support.replication import Home
from tests.support.scripted_manager import scripted_manager
from tests.support.valkey import Valkey

Json = dict[str, Any]


def doctor(month: int) -> Json:
    """The practitioner of circle 0, as of a month: its version and its name say which."""
    state = {"versionId": str(month), "lastUpdated": f"2026-{month:02}-01T00:00:00Z"}
    return events.practitioner("d0", rpps="10001234560", meta=state, name=[{"family": f"MOIS {month}"}])


@dataclass
class Telling(Home):
    """A home whose events bring the doctor along as of `month`."""

    month: int = 1
    known: list[Json] = field(default_factory=list)

    def actors(self, number: int) -> list[Json]:
        others = [one for one in super().actors(number) if one["resourceType"] != "Practitioner"]
        return [*others, doctor(self.month)]


@dataclass
class Both:
    """`held`: what the doctor's own manager has; `region`: the manager that both copy to."""

    held: list[Json]
    region: Region
    home: Telling
    world: MirrorWorld

    async def written(self, month: int) -> int:
        """A write at the manager that refers to the doctor; how many copies it made."""
        self.held[:] = [doctor(month)]
        circle = care_team("x", subject="Patient/occ.p", participants=["Practitioner/bre.d0"])
        return len((await self.world.prepare(circle, "occ")).created)

    async def told(self, month: int) -> None:
        """An event that brings the doctor as of then."""
        self.home.month = month
        record = self.home.changed(0) if 0 in self.home.now else self.home.created(0)
        await self.region.publish(record)
        await self.region.settle()

    @property
    def name(self) -> str:
        """What the manager holds, of the one that it holds."""
        (only,) = self.region.box.store.live("Practitioner").values()
        return str(copy.deepcopy(only.content)["name"][0]["family"])


@asynccontextmanager
async def both_kinds(valkey: Valkey) -> AsyncIterator[Both]:
    async with (
        region(valkey) as occ,
        scripted_manager([doctor(3)]) as bre,
        mirror_world(bre=bre.base_url, occ=occ.box.base_url) as world,
    ):
        yield Both(bre.store.resources, occ, Telling(), world)


async def test_an_agent_knows_how_new_the_copy_of_a_write_is(valkey: Valkey) -> None:
    async with both_kinds(valkey) as both:
        assert await both.written(3) == 1
        assert both.name == "MOIS 3"
        await both.told(2)
        assert both.name == "MOIS 3", "the event was older than what the write had copied"
        await both.told(4)
        assert both.name == "MOIS 4", "the event was newer, though older than the instant of the copy"


async def test_a_write_uses_the_copy_of_an_agent(valkey: Valkey) -> None:
    async with both_kinds(valkey) as both:
        await both.told(3)
        assert await both.written(4) == 0
        await both.told(2)
        assert both.name == "MOIS 3"
        await both.told(4)
        assert both.name == "MOIS 4"
