"""Order and pages: every match once, never more on a page than asked (FHIR R4, search.html#count, #sort)."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from .client import Gestionnaire, Json, included, keys, link, matches, right_total, target_of
from .dates import interval
from .world import World


def instants(circles: list[Json]) -> list[str]:
    return [circle["meta"]["lastUpdated"] for circle in circles]


@pytest.mark.parametrize("sort", ["_lastUpdated", "-_lastUpdated"])
async def test_sorting_by_last_update(gestionnaire: Gestionnaire, world: World, sort: str) -> None:
    circles = await gestionnaire.search_all("CareTeam", [*world.scope(), ("_sort", sort)])
    lows = [interval(instant)[0] for instant in instants(circles)]
    assert lows == sorted(lows, reverse=sort.startswith("-"))
    assert set(keys(circles)) == set(keys(world.circles))


@pytest.mark.parametrize("sort", ["start", "-start"])
async def test_a_sort_is_done_or_left_out_of_the_self_link(
    gestionnaire: Gestionnaire, world: World, sort: str
) -> None:
    params = [*world.scope(), ("_sort", sort)]
    address = link(await gestionnaire.search("CareTeam", params), "self")
    assert address is not None
    circles = await gestionnaire.search_all("CareTeam", params)
    days = [circle["period"]["start"][:10] for circle in circles]
    used = dict(parse_qsl(urlsplit(address).query)).get("_sort")
    assert used is None or days == sorted(days, reverse=sort.startswith("-"))
    assert len(circles) == len(world.circles)


@pytest.mark.parametrize("post", [False, True], ids=["GET", "POST"])
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_following_next_yields_every_match_once(
    gestionnaire: Gestionnaire, world: World, count: int, *, post: bool
) -> None:
    params = [*world.scope(), ("_sort", "-_lastUpdated")]
    whole = await gestionnaire.search_all("CareTeam", params)
    first = await gestionnaire.search("CareTeam", [*params, ("_count", str(count))], post=post)
    assert link(first, "previous") is None
    pages = await gestionnaire.pages(first)
    assert all(len(matches(page)) <= count for page in pages)
    assert all(right_total(page, len(whole)) for page in pages)
    found = [circle for page in pages for circle in matches(page)]
    assert sorted(keys(found)) == sorted(keys(whole))
    assert instants(found) == instants(whole)
    assert len(whole) == len(world.circles)


async def test_includes_come_on_the_page_of_their_match(gestionnaire: Gestionnaire, world: World) -> None:
    params = [*world.scope(), ("_include", "CareTeam:subject"), ("_count", "1")]
    pages = await gestionnaire.pages(await gestionnaire.search("CareTeam", params))
    for page in pages:
        subjects = {target_of(circle["subject"]["reference"]) for circle in matches(page)}
        assert set(keys(included(page))) == subjects & world.actors.keys()
    assert sum(len(matches(page)) for page in pages) == len(world.circles)


async def test_a_page_large_enough_is_the_only_one(gestionnaire: Gestionnaire, world: World) -> None:
    params = [*world.scope(), ("_count", str(len(world.circles)))]
    pages = await gestionnaire.pages(await gestionnaire.search("CareTeam", params), most=3)
    found = [circle for page in pages for circle in matches(page)]
    assert sorted(keys(found)) == sorted(keys(world.circles))


async def test_the_same_search_has_the_same_order(gestionnaire: Gestionnaire, world: World) -> None:
    runs = [keys(await gestionnaire.search_all("CareTeam", world.scope())) for _ in range(2)]
    assert runs[0] == runs[1]
