"""The index as operators see it: how much of each manager it holds, how fresh, why no more; and what they can ask of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from broker.core.messages import MESSAGES, text
from broker.errors import RequestError
from broker.federation.locating import LocatorGuide
from broker.ports import Clock, Managers
from registry.locator_model import Coverage, CoverageState, Generation
from registry.model import REGIONS, Gestionnaire, Registered, Status
from registry.ports import Locator

_NOTICED_WITHIN = 5.0  # seconds in which a leader takes a wish for a new crawl up
_LOOK = 0.2


class LocatorProblem(msgspec.Struct, frozen=True):
    """Why the index stays behind a manager: a key of the table of messages, and its texts."""

    key: str
    fr: str
    en: str


class ManagerInLocator(msgspec.Struct, frozen=True):
    """One manager's part of the index.

    `fresh`: the manager is left out of searches where the index knows nothing there. `as_of`: up to when every change
    is in the index; `age` is that in seconds before now. `circles`: seen by the crawl so far; `total`: that the manager
    says it holds. `since`, `patients_since`: by the manager's own clock, from where its feeds are read next. `filling`:
    of the generation that is being filled, where another one still answers.
    """

    id: str
    name: str
    region: str
    status: Status
    state: CoverageState
    fresh: bool
    as_of: str | None = None
    age: float | None = None
    started: str | None = None
    circles: int = 0
    total: int | None = None
    since: str | None = None
    patients_since: str | None = None
    fence: int = 0
    problem: LocatorProblem | None = None
    filling: CoverageState | None = None
    filling_circles: int = 0


class GenerationInLocator(msgspec.Struct, frozen=True):
    """The index as built with one secret. `complete` of `managers` active ones are whole in it."""

    number: int
    key_id: str
    laid_out_for: int
    ours: bool
    dropping: bool
    complete: int
    managers: int


class LocatorStatus(msgspec.Struct, frozen=True):
    """`circles`: that crawls have counted. `rotating`: a generation is being filled while another still answers."""

    freshness: float
    circles: int
    rotating: bool
    managers: tuple[ManagerInLocator, ...]
    generations: tuple[GenerationInLocator, ...]


@dataclass(frozen=True, slots=True)
class LocatorService:
    """Raises `StoreError` where the index does not answer."""

    locator: Locator
    managers: Managers
    guide: LocatorGuide
    clock: Clock

    async def status(self) -> LocatorStatus:
        generations = await self.locator.generations()
        coverage = await self.locator.coverage()
        filling = _filling(generations)
        lines = tuple(
            self._line(one, coverage.get(one.gestionnaire.id, Coverage()), filling)
            for one in self.managers.all()
        )
        return LocatorStatus(
            freshness=self.guide.freshness,
            circles=sum(line.circles for line in lines),
            rotating=filling is not None,
            managers=lines,
            generations=tuple(self._generation(one) for one in generations),
        )

    async def of(self, slug: str) -> ManagerInLocator:
        """`registry.unknown` where there is no such manager."""
        registered = self._registered(slug)
        coverage = await self.locator.coverage()
        filling = _filling(await self.locator.generations())
        return self._line(registered, coverage.get(slug, Coverage()), filling)

    async def crawl(self, slug: str) -> ManagerInLocator:
        """Begin anew with one manager. Until that is done it is asked by every search.

        `registry.unknown`; `registry.suspended` for one that is not asked at all.
        """
        if self._registered(slug).gestionnaire.status is not Status.ACTIVE:
            raise RequestError("registry.suspended", slug=slug)
        # A leader in the middle of a crawl may write over the wish at the instant it is made: it is made again.
        end = self.clock.monotonic() + _NOTICED_WITHIN
        before: dict[int, float | None] = {}
        while await self._wish(slug, before) and self.clock.monotonic() < end:
            await self.clock.sleep(_LOOK)
        return await self.of(slug)

    async def _wish(self, slug: str, before: dict[int, float | None]) -> bool:
        """Say that nothing is known of a manager; False where that is what is said already, or its crawl has begun.

        `before`: by generation, when the crawl began that is to be made again.
        """
        wished = False
        for one in await self.locator.generations():
            coverage = (await self.locator.coverage(one.number)).get(slug)
            if not one.ours or one.dropping or coverage is None or coverage.state is CoverageState.NONE:
                continue
            if before.setdefault(one.number, coverage.started) != coverage.started:
                continue
            wished = True
            await self.locator.save_coverage(slug, replace(coverage, state=CoverageState.NONE, as_of=None))
        return wished

    async def rotate_key(self) -> LocatorStatus:
        """Fill the index anew under the present secret, while what there is goes on answering; one at a time."""
        if _filling(await self.locator.generations()) is None:
            await self.locator.start_generation()
        return await self.status()

    def _registered(self, slug: str) -> Registered:
        registered = self.managers.get(slug)
        if registered is None:
            raise RequestError("registry.unknown", slug=slug)
        return registered

    def _line(
        self, registered: Registered, coverage: Coverage, filling: Generation | None
    ) -> ManagerInLocator:
        manager = registered.gestionnaire
        other = None if filling is None else filling.coverage.get(manager.id, Coverage())
        age = None if coverage.as_of is None else self.clock.now().timestamp() - coverage.as_of
        return ManagerInLocator(
            id=manager.id,
            name=manager.name,
            region=manager.region,
            status=manager.status,
            state=coverage.state,
            fresh=self.guide.is_fresh(coverage) and manager.status is Status.ACTIVE,
            as_of=_written(coverage.as_of),
            age=None if age is None else round(max(0.0, age), 1),
            started=_written(coverage.started),
            circles=coverage.circles,
            total=coverage.total,
            since=coverage.since,
            patients_since=coverage.patients_since,
            fence=coverage.fence,
            problem=None if coverage.problem is None else _problem(coverage.problem, manager),
            filling=None if other is None else other.state,
            filling_circles=0 if other is None else other.circles,
        )

    def _generation(self, one: Generation) -> GenerationInLocator:
        active = [m.gestionnaire.id for m in self.managers.all() if m.gestionnaire.status is Status.ACTIVE]
        complete = sum(one.coverage.get(slug, Coverage()).state is CoverageState.COMPLETE for slug in active)
        return GenerationInLocator(
            one.number, one.key_id, one.circles, one.ours, one.dropping, complete, len(active)
        )


def _filling(generations: Sequence[Generation]) -> Generation | None:
    """The generation that is being filled while another one answers."""
    ours = [one for one in generations if one.ours and not one.dropping]
    return ours[-1] if len(ours) > 1 else None


def _written(instant: float | None) -> str | None:
    if instant is None:
        return None
    return (
        dt.datetime.fromtimestamp(instant, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _problem(key: str, manager: Gestionnaire) -> LocatorProblem:
    row = key if key in MESSAGES else "internal"
    told = {
        "slug": manager.id,
        "name": manager.name,
        "region": REGIONS.get(manager.region, manager.region),
        "parameter": "_history",
        "limit": "?",
    }
    return LocatorProblem(key, text(row, "fr", **told), text(row, "en", **told))
