"""The whole search, over any distribution of circles, copies, page sizes and failures: complete, or said so."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.dialects import effective_skills
from broker.core.manager_failure import failed
from broker.core.preferences import Preferences
from broker.core.query_parser import parse_search
from broker.errors import FailureKind
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.issues import FederatedAnswer
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.federation.search import SearchService
from broker.ports import ManagerAnswer, ManagerRequest
from registry.model import Gestionnaire, Registered
from tests.support.examples import examples
from tests.support.fake_clock import FakeClock
from tests.support.fake_stores import FakeAliasStore, FakeCursorStore
from tests.support.federation import ids, link, outcome_codes
from tests.support.fhir_builders import care_team

PUBLIC = "https://broker.example/fhir"
SLUGS = ("bre", "occ", "idf", "cor")


@dataclass(frozen=True)
class Circle:
    """A circle as one manager holds it. `identity`: its business identifier; `home`: the slug it is a replica of."""

    id: str
    minute: int
    identity: str
    home: str | None = None


@dataclass(frozen=True)
class Region:
    slug: str
    circles: tuple[Circle, ...]
    page: int
    sorts: bool
    fails_on: int | None  # the number of its answer (from 0) at which it fails, and every later one

    def resources(self) -> list[dict[str, Any]]:
        held = list(self.circles)
        if self.sorts:
            held.sort(key=lambda circle: -circle.minute)
        return [self._resource(circle) for circle in held]

    def _resource(self, circle: Circle) -> dict[str, Any]:
        resource = care_team(
            circle.id,
            last_updated=f"2026-01-01T00:{circle.minute:02d}:00Z",
            identifier=circle.identity,
            subject=f"Patient/{circle.identity}",
        )
        if circle.home is not None:
            resource["meta"]["tag"] = [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}]
            resource["meta"]["source"] = f"https://{circle.home}.example/fhir/CareTeam/home"
        return resource


@dataclass
class FakeManagers:
    """The client and the registry's view in one: regions answered from memory."""

    regions: dict[str, Region]
    failing: bool = True
    answered: dict[str, int] = field(default_factory=dict)
    registered: tuple[Registered, ...] = ()

    def __post_init__(self) -> None:
        self.registered = tuple(
            Registered(
                Gestionnaire(slug, f"Région {slug}", "53", f"https://{slug}.example/fhir"),
                1,
                "2026-01-01T00:00:00Z",
            )
            for slug in sorted(self.regions)
        )

    def all(self) -> tuple[Registered, ...]:
        return self.registered

    def get(self, slug: str) -> Registered | None:
        return next((one for one in self.registered if one.gestionnaire.id == slug), None)

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        await asyncio.sleep(0)
        region = self.regions[manager.id]
        number = self.answered.get(manager.id, 0)
        self.answered[manager.id] = number + 1
        if self.failing and region.fails_on is not None and number >= region.fails_on:
            raise failed(manager, FailureKind.TIMEOUT)
        start = int(request.target.partition("?from=")[2] or 0)
        resources = region.resources()
        part = resources[start : start + region.page]
        bundle: dict[str, Any] = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(resources),
            "entry": [{"resource": one, "search": {"mode": "match"}} for one in part],
        }
        if start + region.page < len(resources):
            url = f"{manager.base_url}/CareTeam?from={start + region.page}"
            bundle["link"] = [{"relation": "next", "url": url}]
        return ManagerAnswer(200, {}, json.dumps(bundle).encode(), 0.0)


def service_over(managers: FakeManagers, clock: FakeClock) -> SearchService:
    return SearchService(
        Federation(
            managers=managers,
            client=managers,
            aliases=FakeAliasStore(),
            pages=PageKeeper(FakeCursorStore(), b"s" * 32, 900),
            origins=Origins(PUBLIC, managers),
            options=FederationOptions(PUBLIC, "test"),
            skills_of=effective_skills,
        )
    )


async def walk(service: SearchService, clock: FakeClock, size: int) -> tuple[list[dict[str, Any]], int]:
    """Every page in turn, and the status of the last answer: a page that nobody answers is refused."""

    def context() -> RequestContext:
        return RequestContext("r", "me", "fr", Preferences(), clock.monotonic() + 5, "1.1 x", clock)

    query = parse_search("CareTeam", [("_count", str(size))], strict=True)
    answer: FederatedAnswer = await service.first_page(query, context())
    pages: list[dict[str, Any]] = []
    while True:
        if answer.status != 200:
            return pages, answer.status
        pages.append(json.loads(answer.body))
        url = link(pages[-1], "next")
        if url is None:
            return pages, 200
        assert len(pages) < 100
        answer = await service.later_page("CareTeam", url.partition("_page=")[2], context())


@st.composite
def federations(draw: st.DrawFn, *, failures: bool) -> dict[str, Region]:
    slugs = draw(st.lists(st.sampled_from(SLUGS), unique=True, min_size=1))
    held: dict[str, list[Circle]] = {slug: [] for slug in slugs}
    for number in range(draw(st.integers(0, 18))):
        home = draw(st.sampled_from(slugs))
        minute = draw(st.integers(0, 6))
        held[home].append(Circle(f"c{number}", minute, f"circle-{number}"))
        for slug in slugs:
            if slug != home and draw(st.integers(0, 4)) == 0:
                marked = home if draw(st.booleans()) else None
                held[slug].append(Circle(f"r{number}", draw(st.integers(0, 6)), f"circle-{number}", marked))
    return {
        slug: Region(
            slug,
            tuple(draw(st.permutations(circles))),
            draw(st.integers(1, 6)),
            draw(st.booleans()),
            draw(st.sampled_from([None, None, 0, 1, 2])) if failures else None,
        )
        for slug, circles in held.items()
    }


def identities(regions: dict[str, Region]) -> dict[str, str]:
    return {f"{slug}.{circle.id}": circle.identity for slug, one in regions.items() for circle in one.circles}


@settings(max_examples=examples(80), deadline=None)
@given(federations(failures=False), st.integers(1, 7))
def test_each_circle_once_in_order_and_totals_true(regions: dict[str, Region], size: int) -> None:
    clock = FakeClock(auto=True)
    pages, status = asyncio.run(walk(service_over(FakeManagers(regions), clock), clock, size))
    assert status == 200
    given_out = [one for page in pages for one in ids(page)]
    shown = [identities(regions)[one] for one in given_out]
    assert sorted(shown) == sorted(set(identities(regions).values())), "each circle once, none missing"
    assert all(len(ids(page)) <= size for page in pages)
    minutes = {f"{s}.{c.id}": c.minute for s, region in regions.items() for c in region.circles}
    named = {slug for page in pages for _, slug in outcome_codes(page)}
    order = [(-minutes[one], one) for one in given_out if one.partition(".")[0] not in named]
    assert order == sorted(order)
    # A region that does not sort, and shows it only on a late page, is named; nobody else is.
    assert all(not regions[slug].sorts for slug in named if slug is not None)
    assert {code for page in pages for code, _ in outcome_codes(page)} <= {"manager.unsorted"}
    replicas = {f"{s}.{c.id}" for s, region in regions.items() for c in region.circles if c.home}
    assert not replicas & set(given_out), "a replica yields to its home"
    assert all(page.get("total") in (None, len(given_out)) for page in pages)


@settings(max_examples=examples(80), deadline=None)
@given(federations(failures=True), st.integers(1, 7))
def test_complete_or_said_so(regions: dict[str, Region], size: int) -> None:
    clock = FakeClock(auto=True)
    pages, status = asyncio.run(walk(service_over(FakeManagers(regions), clock), clock, size))
    failing = {slug for slug, region in regions.items() if region.fails_on is not None}
    if status != 200:
        assert status == 504
        assert failing == set(regions), "refused only where nobody answered; the same link may be tried again"
        return
    given_out = [one for page in pages for one in ids(page)]
    assert len(given_out) == len(set(given_out))
    named = {slug for page in pages for code, slug in outcome_codes(page) if code == "manager.timeout"}
    assert named <= failing
    # Whoever is not named gave everything: its own circles are all there, or another's copy of them is.
    shown = {identities(regions)[one] for one in given_out}
    for slug, region in regions.items():
        if slug not in named:
            assert {circle.identity for circle in region.circles if circle.home is None} <= shown
    for earlier, later in pairwise(pages):
        before = {slug for code, slug in outcome_codes(earlier) if code == "manager.timeout"}
        after = {slug for code, slug in outcome_codes(later) if code == "manager.timeout"}
        assert before <= after, "once named, named on every later page"
    assert all("total" not in page for page in pages if outcome_codes(page))
