"""A located search answers exactly what asking everybody answers, whatever the index knows and whatever happened before.

Managers in memory are changed at will: circles made, changed, deleted, moved, copied; persons given other identifiers. The
index holds the truth of the managers that it says to cover, and anything, old or nothing, of the others.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store, Version
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.preferences import Preferences
from broker.core.query_parser import parse_search
from broker.federation.context import RequestContext
from broker.federation.locating import LocatorGuide
from broker.federation.search import SearchService
from registry.locator_model import Coverage, CoverageState, Identifier, Sighting
from tests.support.examples import examples
from tests.support.federation import ids, link, outcomes_of
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS_TEST, care_team, patient
from tests.support.locator_world import Region, World

FRESHNESS = 30.0
PERSONS, CIRCLES, NUMBERS = 2, 3, 3

KNOWS = {f"param:Patient:{name}": True for name in ("identifier", "_id")}
REGIONS = (
    Region("bre", dialect={**KNOWS, "chaining": True}),
    Region("occ", dialect=KNOWS, sandbox=SandboxOptions(max_page=2)),  # a chain is resolved here, in steps
    Region(
        "idf", dialect={**KNOWS, "include": False, "sort": False}, sandbox=SandboxOptions(ignores_sort=True)
    ),
)
SLUGS = tuple(one.slug for one in REGIONS)

slugs = st.sampled_from(SLUGS)
circles = st.integers(0, CIRCLES - 1)
people = st.integers(0, PERSONS - 1)
some = st.frozensets(st.integers(0, NUMBERS - 1), max_size=2)

PATIENT = st.tuples(st.just("patient"), slugs, people, some)
CIRCLE = st.tuples(
    st.just("circle"), slugs, circles, people, some, st.sampled_from((None, None, None, *SLUGS))
)
COVER = st.tuples(
    st.just("cover"), slugs, st.sampled_from(("none", "crawling", "complete", "complete", "stale"))
)
OPERATION = st.one_of(
    PATIENT,
    CIRCLE,
    CIRCLE,
    COVER,
    COVER,
    st.tuples(st.just("delete"), slugs, circles),
    st.tuples(st.just("move"), slugs, slugs, circles),
    st.tuples(st.just("lose")),
    st.tuples(st.just("check")),
)


def token(system: str, prefix: str, *numbers: int) -> str:
    return ",".join(f"{system}|{prefix}{number}" for number in numbers)


def person(*numbers: int) -> tuple[str, str]:
    return "patient.identifier", token(INS_TEST, "ins", *numbers)


def circle(*numbers: int) -> tuple[str, str]:
    return "identifier", token(CIRCLE_SYSTEM, "circle", *numbers)


SEARCHES = (
    [person(0)],
    [person(1, 2)],
    [person(0), person(1)],
    [circle(0)],
    [circle(1, 2)],
    [person(0), circle(0)],
    [person(0, 1), circle(0, 2), ("_include", "CareTeam:subject"), ("_total", "accurate")],
    [person(0, 1, 2), ("_count", "1")],
    [circle(0, 1, 2), ("_count", "2"), ("_total", "accurate")],
    [person(0, 1, 2), ("_summary", "count")],
)


@dataclass(frozen=True)
class Shown:
    """An answer, but for what differs between any two: page tokens."""

    status: int
    pages: list[tuple[list[str], list[str], int | None, list[Any]]]


class Run:
    def __init__(self, world: World) -> None:
        self.world = world
        self.guide = LocatorGuide(world.locator, world.clock, FRESHNESS)
        self.plain = SearchService(world.federation)
        self.located = SearchService(world.federation, self.guide)
        self.states: dict[str, str] = {}

    async def do(self, operation: tuple[Any, ...]) -> None:
        name, *arguments = operation
        await getattr(self, "_" + name)(*arguments)
        await self.world.clock.advance(0.001)

    # --- what happens

    async def _patient(self, slug: str, number: int, values: frozenset[int]) -> None:
        held = [{"system": INS_TEST, "value": f"ins{value}"} for value in sorted(values)]
        self._put(slug, patient(f"p{number}", identifier=held))

    async def _circle(
        self, slug: str, number: int, of: int, values: frozenset[int], home: str | None
    ) -> None:
        made = care_team(f"c{number}", subject=f"Patient/p{of}")
        made["identifier"] = [{"system": CIRCLE_SYSTEM, "value": f"circle{one}"} for one in sorted(values)]
        if home is not None:
            made["meta"]["tag"] = [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}]
            made["meta"]["source"] = f"https://{home}.example/fhir/CareTeam/c{number}"
        self._put(slug, made)

    async def _delete(self, slug: str, number: int) -> None:
        if f"c{number}" in self._store(slug).live("CareTeam"):
            self._store(slug).delete("CareTeam", f"c{number}")

    async def _move(self, source: str, target: str, number: int) -> None:
        held = self._store(source).live("CareTeam").get(f"c{number}")
        if held is not None and source != target:
            self._put(target, dict(held.content))
            self._store(source).delete("CareTeam", f"c{number}")

    async def _lose(self) -> None:
        self.world.locator.lose()
        self.states.clear()

    async def _cover(self, slug: str, state: str) -> None:
        """From now on; what the index holds of a manager stays as it was unless it is covered."""
        self.states[slug] = state

    def _put(self, slug: str, resource: dict[str, Any]) -> None:
        self._store(slug).put(resource["resourceType"], resource["id"], orjson.dumps(resource))

    def _store(self, slug: str) -> Store:
        return self.world.store(slug)

    # --- the index

    async def _feed(self) -> None:
        newest = (await self.world.locator.generations())[-1].number
        now = self.world.clock.now().timestamp()
        for slug, state in self.states.items():
            if state == "complete":
                await self.world.locator.clear(slug)
                await self.world.locator.learn([sighting(slug, one, held) for one, held in self.held(slug)])
            if state in ("none", "crawling"):
                await self.world.locator.save_coverage(
                    slug, Coverage(CoverageState(state), generation=newest, fence=10**6)
                )
            else:
                self.world.locator.cover(slug, as_of=now - (0 if state == "complete" else FRESHNESS + 1))

    def held(self, slug: str) -> list[tuple[Version, list[Identifier]]]:
        """The circles of a manager, and the identifiers of their persons."""
        store = self._store(slug)
        found = []
        for one in store.live("CareTeam").values():
            subject = store.live("Patient").get(one.content["subject"]["reference"].partition("/")[2])
            found.append((one, [] if subject is None else identifiers(subject)))
        return found

    # --- what must be so

    async def _check(self) -> None:
        await self._feed()
        for pairs in SEARCHES:
            everybody = await self.shown(self.plain, pairs)
            asked_before = len(self.world.client.asked)
            located = await self.shown(self.located, pairs)
            asked = {slug for slug, _ in self.world.client.asked[asked_before:]}
            assert located == everybody, pairs
            covered = {slug for slug, state in self.states.items() if state == "complete"}
            idle = {slug for slug in covered if not self.may_hold(slug, pairs)}
            assert not asked & idle, (pairs, asked, idle)
            assert set(SLUGS) - covered <= asked, "whoever is not covered is asked"
            event(f"left out {len(idle)}, found {sum(len(page[0]) for page in located.pages) > 0}")

    def may_hold(self, slug: str, pairs: list[tuple[str, str]]) -> bool:
        """Whether a manager holds for each criterion some circle that meets it."""
        of_persons = {one for _, named in self.held(slug) for one in named}
        of_circles = {one for held, _ in self.held(slug) for one in identifiers(held)}
        known = {"patient.identifier": of_persons, "identifier": of_circles}
        return all(known[name] & parsed(value) for name, value in pairs if name in known)

    async def shown(self, service: SearchService, pairs: list[tuple[str, str]]) -> Shown:
        answer = await service.first_page(parse_search("CareTeam", pairs, strict=True), self._context())
        pages = []
        while True:
            bundle = json.loads(answer.body)
            told = sorted(json.dumps(outcome["issue"]) for outcome in outcomes_of(bundle))
            pages.append((ids(bundle), sorted(ids(bundle, "include")), bundle.get("total"), told))
            url = link(bundle, "next")
            if answer.status != 200 or url is None:
                return Shown(answer.status, pages)
            assert len(pages) < 30
            answer = await service.later_page("CareTeam", url.partition("_page=")[2], self._context())

    def _context(self) -> RequestContext:
        clock = self.world.clock
        return RequestContext("r", "me", "fr", Preferences(), clock.monotonic() + 5, "1.1 x", clock)


def identifiers(version: Version) -> list[Identifier]:
    return [(one["system"], one["value"]) for one in version.content["identifier"]]


def parsed(value: str) -> set[Identifier]:
    halves = (one.partition("|") for one in value.split(","))
    return {(system, code) for system, _, code in halves}


def sighting(slug: str, held: Version, persons: list[Identifier]) -> Sighting:
    return Sighting(
        slug, held.id, held.version_id, held.instant.timestamp(), tuple(identifiers(held)), tuple(persons)
    )


@example(begun=[], operations=[("cover", "bre", "complete"), ("check",), ("cover", "bre", "none")])
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    begun=st.lists(st.one_of(PATIENT, CIRCLE), min_size=2, max_size=8),
    operations=st.lists(OPERATION, max_size=10),
)
def test_a_located_search_is_exact(begun: list[tuple[Any, ...]], operations: list[tuple[Any, ...]]) -> None:
    async def history() -> None:
        run = Run(await World.of(*REGIONS))
        for operation in [*begun, *operations, ("check",)]:
            await run.do(operation)
        for slug in SLUGS:
            await run.do(("cover", slug, "complete"))
        await run.do(("check",))

    asyncio.run(history())
