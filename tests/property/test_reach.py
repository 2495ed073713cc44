"""What a client does not reach it cannot see: its answers are the same whatever is held there, and whatever the index knows.

Not less than that: neither ids nor counts, totals, links, replicas' homes or conflicts may tell two such federations apart.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from broker.core.access.principal import EVERYTHING, Principal
from broker.core.identified import Located
from broker.core.preferences import Preferences
from broker.core.query_parser import parse_search
from broker.core.routing import plan_search
from broker.federation.context import RequestContext
from broker.federation.search import SearchService
from registry.model import Gestionnaire, Registered, Skills
from tests.property.test_search_service import SLUGS, FakeManagers, Region, federations, service_over
from tests.support.examples import examples
from tests.support.fake_clock import FakeClock
from tests.support.federation import ids, link, outcome_codes

REFUSED = "manager.not-authorised"

_TOKEN = re.compile(r"_page=[^\"&]+")

principals = st.builds(
    lambda slugs: Principal("c", scopes=EVERYTHING, managers=slugs),
    st.frozensets(st.sampled_from(SLUGS)),
)
queries = st.sampled_from(
    [
        (),
        (("_total", "accurate"),),
        (("_summary", "count"),),
        (("_sort", "_lastUpdated"),),
        (("identifier", "https://cds.example/cercles|circle-1"),),
    ]
)


async def walk(
    service: SearchService, clock: FakeClock, principal: Principal, pairs: tuple[tuple[str, str], ...]
) -> list[tuple[int, dict[str, Any]]]:
    """Every page: status and body."""

    def context() -> RequestContext:
        deadline = clock.monotonic() + 5
        return RequestContext("r", "me", "fr", Preferences(), deadline, "1.1 x", clock, principal)

    asked = context()
    answer = await service.first_page(parse_search("CareTeam", pairs, strict=True), asked)
    pages = []
    while True:
        assert asked.touched.managers <= (principal.managers or frozenset())
        body = json.loads(answer.body)
        pages.append((answer.status, body))
        url = link(body, "next") if answer.status == 200 else None
        if url is None:
            return pages
        asked = context()
        answer = await service.later_page("CareTeam", url.partition("_page=")[2], asked)


def run(
    regions: dict[str, Region], principal: Principal, pairs: tuple[tuple[str, str], ...]
) -> tuple[list[tuple[int, dict[str, Any]]], FakeManagers]:
    clock, managers = FakeClock(auto=True), FakeManagers(regions)
    return asyncio.run(walk(service_over(managers, clock), clock, principal, pairs)), managers


def without_tokens(pages: list[tuple[int, dict[str, Any]]]) -> str:
    return _TOKEN.sub("_page=…", json.dumps(pages))


@settings(max_examples=examples(80), deadline=None)
@given(federations(failures=True), federations(failures=True), principals, st.integers(1, 5), queries)
def test_what_is_held_out_of_reach_changes_nothing(
    regions: dict[str, Region],
    others: dict[str, Region],
    principal: Principal,
    size: int,
    asked: tuple[tuple[str, str], ...],
) -> None:
    pairs = (*asked, ("_count", str(size)))
    elsewhere = {
        slug: region if principal.managers and slug in principal.managers else others.get(slug, _empty(slug))
        for slug, region in regions.items()
    }
    pages, managers = run(regions, principal, pairs)
    again, _ = run(elsewhere, principal, pairs)
    assert without_tokens(pages) == without_tokens(again)
    reached = regions.keys() & (principal.managers or frozenset())
    assert managers.answered.keys() <= reached, "nobody else was asked"
    event(f"reaches {len(reached)} of {len(regions)}")
    for status, body in pages:
        named = {slug for code, slug in outcome_codes(body) if code == REFUSED}
        assert named == regions.keys() - reached, "always named, on every page"
        if status == 200:
            assert {one.partition(".")[0] for one in ids(body)} <= reached
        if not reached:
            assert status == 403


def _empty(slug: str) -> Region:
    return Region(slug, (), 1, sorts=True, fails_on=None)


locations = st.builds(
    lambda covered, holders: Located(covered, [("identifier", holders)]),
    st.frozensets(st.sampled_from(SLUGS)),
    st.frozensets(st.sampled_from(SLUGS)),
)
searches = st.sampled_from(
    [
        [("identifier", "urn:s|1")],
        [("identifier", "urn:s|1"), ("patient", "Patient/bre.1")],
        [("identifier", "urn:s|1"), ("_id", "occ.1,idf.2")],
        [("patient.identifier", "urn:s|1"), ("_include", "CareTeam:subject")],
    ]
)


@given(locations, locations, principals, searches)
def test_what_the_index_knows_of_those_out_of_reach_shows_in_no_plan(
    known: Located, known_too: Located, principal: Principal, pairs: list[tuple[str, str]]
) -> None:
    """Two indexes that say the same of the managers in reach, and anything of the others."""
    reached = principal.managers or frozenset()
    mixed = Located(
        (known.covered & reached) | (known_too.covered - reached),
        [("identifier", (known.holders[0][1] & reached) | (known_too.holders[0][1] - reached))],
    )
    query = parse_search("CareTeam", pairs, strict=True)
    managers = [
        Registered(
            Gestionnaire(slug, f"Région {slug}", "53", f"https://{slug}.example/fhir"),
            1,
            "2026-01-01T00:00:00Z",
        )
        for slug in SLUGS
    ]
    plans = [
        plan_search(
            query,
            managers,
            public_base="https://broker.example/fhir",
            aliases={},
            skills_of=lambda _: Skills(),
            located=located,
            principal=principal,
        )
        for located in (known, mixed, None)
    ]
    assert plans[0] == plans[1]
    assert plans[0].refused == plans[2].refused
    told = {one.manager.id for one in (*plans[0].asks, *plans[0].unable)}
    assert told <= reached
