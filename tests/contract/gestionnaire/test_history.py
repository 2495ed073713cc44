"""Flux 2b → 3b: history of one circle and of all circles (cds.md section 6; FHIR R4, http.html#history)."""

from __future__ import annotations

import pytest

from .client import Gestionnaire, Json, Pairs, key, refused
from .dates import interval
from .world import World


async def history(gestionnaire: Gestionnaire, target: str, params: Pairs = ()) -> Json:
    answer = await gestionnaire.get(target, params)
    assert answer.status == 200, answer.text[:300]
    bundle = answer.json
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "history")
    return bundle


def versions(bundle: Json) -> list[Json]:
    """The entries that are changes: a GET among them only tells how the asking went (`response.outcome`)."""
    return [entry for entry in bundle.get("entry", []) if entry["request"]["method"] != "GET"]


def resources(bundle: Json) -> list[Json]:
    return [entry["resource"] for entry in versions(bundle) if "resource" in entry]


def well_formed(bundle: Json) -> None:
    """Newest first; each entry tells its request and response (invariants bdl-3, bdl-4, bdl-8)."""
    lows = [interval(resource["meta"]["lastUpdated"])[0] for resource in resources(bundle)]
    assert lows == sorted(lows, reverse=True)
    for entry in bundle.get("entry", []):
        assert entry["request"]["url"]
        assert entry["response"]["status"]
        assert "search" not in entry
    for entry in versions(bundle):
        assert entry["request"]["method"] in {"POST", "PUT", "DELETE", "PATCH"}
        assert "/_history/" not in entry["fullUrl"]
        if "resource" in entry:
            assert entry["fullUrl"].endswith(f"/{key(entry['resource'])}")


async def test_the_history_of_a_circle_holds_its_present_state(
    gestionnaire: Gestionnaire, world: World
) -> None:
    circle = world.circles[0]
    bundle = await history(gestionnaire, f"{key(circle)}/_history")
    well_formed(bundle)
    assert resources(bundle)[0] == circle
    assert {resource["id"] for resource in resources(bundle)} == {circle["id"]}


async def test_every_version_is_there_and_can_be_read(gestionnaire: Gestionnaire, world: World) -> None:
    if not world.updated:
        assert not world.created
        pytest.skip("no circle found has more than one version")
    bundle = await history(gestionnaire, f"{world.updated[0]}/_history")
    well_formed(bundle)
    versions = [resource["meta"]["versionId"] for resource in resources(bundle)]
    assert len(versions) == len(set(versions)) > 1
    for resource in resources(bundle):
        answer = await gestionnaire.get(f"{key(resource)}/_history/{resource['meta']['versionId']}")
        assert answer.json == resource


async def test_the_pages_of_a_history_hold_every_version_once(
    gestionnaire: Gestionnaire, world: World
) -> None:
    target = f"{(world.updated or (key(world.circles[0]),))[0]}/_history"
    whole = await gestionnaire.pages(await history(gestionnaire, target))
    pages = await gestionnaire.pages(await history(gestionnaire, target, [("_count", "1")]))
    assert all(len(versions(page)) <= 1 for page in pages)
    assert [r for page in pages for r in resources(page)] == [r for page in whole for r in resources(page)]


async def test_the_history_of_nobody_is_not_found(gestionnaire: Gestionnaire) -> None:
    refused(await gestionnaire.get("CareTeam/nobody-has-this-id/_history"), 404)


async def test_the_history_of_all_circles_is_newest_first(gestionnaire: Gestionnaire, world: World) -> None:
    bundle = await history(gestionnaire, "CareTeam/_history", [("_count", "50")])
    well_formed(bundle)
    assert {resource["resourceType"] for resource in resources(bundle)} == {"CareTeam"}
    newest = max(interval(circle["meta"]["lastUpdated"])[0] for circle in world.circles)
    assert interval(resources(bundle)[0]["meta"]["lastUpdated"])[0] >= newest


async def test_since_leaves_out_what_is_older_and_nothing_else(
    gestionnaire: Gestionnaire, world: World
) -> None:
    instants = sorted((circle["meta"]["lastUpdated"] for circle in world.circles), key=interval)
    since = instants[len(instants) // 2]
    first = await history(gestionnaire, "CareTeam/_history", [("_since", since)])
    found = [resource for page in await gestionnaire.pages(first) for resource in resources(page)]
    low = interval(since)[0]
    assert all(interval(resource["meta"]["lastUpdated"])[0] >= low for resource in found)
    newer = {key(c) for c in world.circles if interval(c["meta"]["lastUpdated"])[0] > low}
    assert newer <= {key(resource) for resource in found}


async def test_a_page_of_all_circles_holds_what_was_asked(gestionnaire: Gestionnaire, world: World) -> None:
    instants = sorted((circle["meta"]["lastUpdated"] for circle in world.circles), key=interval)
    since = ("_since", instants[len(instants) // 2])
    first = await history(gestionnaire, "CareTeam/_history", [since, ("_count", "1")])
    pages = await gestionnaire.pages(first)
    assert all(len(versions(page)) <= 1 for page in pages)
    found = [(key(r), r["meta"]["versionId"]) for page in pages for r in resources(page)]
    assert len(found) == len(set(found))


async def test_since_in_the_future_gives_nothing(gestionnaire: Gestionnaire) -> None:
    bundle = await history(gestionnaire, "CareTeam/_history", [("_since", "2999-01-01T00:00:00Z")])
    assert versions(bundle) == []


async def test_a_malformed_since_is_refused(gestionnaire: Gestionnaire) -> None:
    refused(await gestionnaire.get("CareTeam/_history", [("_since", "hier")]), 400)
