"""Flux 3a: the shape of a searchset, and what result parameters do to it (cds.md sections 3 and 6)."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from .client import Gestionnaire, Json, entries, included, key, keys, link, matches, refused, right_total
from .world import World

SUBSETTED = ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "SUBSETTED")
INCLUDE = ("_include", "CareTeam:subject")


async def test_matches_are_marked_and_everything_else_is_not_a_match(
    gestionnaire: Gestionnaire, world: World
) -> None:
    bundle = await gestionnaire.search("CareTeam", [*world.scope(), INCLUDE])
    assert set(keys(matches(bundle))) <= set(keys(world.circles))
    assert matches(bundle)
    for entry in entries(bundle):
        assert entry["search"]["mode"] in {"match", "include", "outcome"}
        assert "request" not in entry
        assert "response" not in entry
        mode = {"CareTeam": "match", "OperationOutcome": "outcome"}.get(entry["resource"]["resourceType"])
        assert entry["search"]["mode"] == (mode or "include")


async def test_every_full_url_is_absolute_its_own_and_ends_with_the_id(
    gestionnaire: Gestionnaire, world: World
) -> None:
    bundle = await gestionnaire.search("CareTeam", [*world.scope(), INCLUDE])
    urls = [entry["fullUrl"] for entry in entries(bundle) if entry["search"]["mode"] != "outcome"]
    assert len(urls) == len(set(urls))
    for entry in entries(bundle):
        if entry["search"]["mode"] != "outcome":
            assert "://" in entry["fullUrl"]
            assert "/_history/" not in entry["fullUrl"]
            assert entry["fullUrl"].endswith(f"/{key(entry['resource'])}")


async def test_a_total_counts_matches_only(gestionnaire: Gestionnaire, world: World) -> None:
    for extra in ([], [INCLUDE], [("_count", "1")], [INCLUDE, ("_count", "1")]):
        bundle = await gestionnaire.search("CareTeam", [*world.scope(), *extra])
        assert right_total(bundle, len(world.circles)), extra


async def test_an_accurate_total_is_given_where_it_is_asked_for(
    gestionnaire: Gestionnaire, world: World
) -> None:
    for extra in ([], [INCLUDE], [("_count", "1")]):
        params = [*world.scope(), ("_total", "accurate"), *extra]
        bundle = await gestionnaire.search("CareTeam", params)
        assert bundle["total"] == len(world.circles), extra


async def test_the_self_link_carries_what_was_used(gestionnaire: Gestionnaire, world: World) -> None:
    status = world.circles[0]["status"]
    params = [*world.scope(), ("status", status), ("une-inconnue", "1"), INCLUDE]
    for post in (False, True):
        address = link(await gestionnaire.search("CareTeam", params, post=post), "self")
        assert address is not None
        used = parse_qsl(urlsplit(address).query, keep_blank_values=True)
        assert ("status", status) in used
        assert INCLUDE in used
        assert "une-inconnue" not in dict(used)
        assert urlsplit(address).path.rstrip("/").endswith("/CareTeam")


async def test_an_unknown_parameter_is_ignored(gestionnaire: Gestionnaire, world: World) -> None:
    plain = await gestionnaire.search_all("CareTeam", world.scope())
    odd = await gestionnaire.search_all("CareTeam", [*world.scope(), ("une-inconnue", "1")])
    assert keys(odd) == keys(plain)


async def test_an_unknown_parameter_is_refused_under_strict_handling(gestionnaire: Gestionnaire) -> None:
    answer = await gestionnaire.get("CareTeam", [("une-inconnue", "1")], Prefer="handling=strict")
    refused(answer, 400)


async def test_known_parameters_pass_strict_handling(gestionnaire: Gestionnaire, world: World) -> None:
    params = [*world.scope(), ("start", "ge1900-01-01"), ("_count", "1"), INCLUDE]
    assert (await gestionnaire.get("CareTeam", params, Prefer="handling=strict")).status == 200


async def test_no_match_is_no_failure(gestionnaire: Gestionnaire) -> None:
    params = [("identifier", "https://cercle-de-soins.example/contract|nobody")]
    bundle = await gestionnaire.search("CareTeam", params)
    assert right_total(bundle, 0)
    assert not matches(bundle)
    assert link(bundle, "self") is not None
    assert link(bundle, "next") is None


@pytest.mark.parametrize(
    "param",
    [
        ("start", "hier"),
        ("start", "2024-13-45"),
        ("date", "zz2024"),
        ("_lastUpdated", "2024-02-30T99:00:00Z"),
        ("patient.birthdate", "jadis"),
        ("_count", "beaucoup"),
        ("_count", "-1"),
        ("status:nonsense", "active"),
        ("start:exact", "2024-01-01"),
    ],
    ids="=".join,
)
async def test_what_is_malformed_is_refused(gestionnaire: Gestionnaire, param: tuple[str, str]) -> None:
    refused(await gestionnaire.get("CareTeam", [param]), 400)


@pytest.mark.parametrize("count", [("_count", "0"), ("_summary", "count")], ids="=".join)
async def test_counting_gives_the_total_and_no_resource(
    gestionnaire: Gestionnaire, world: World, count: tuple[str, str]
) -> None:
    bundle = await gestionnaire.search("CareTeam", [*world.scope(), count])
    assert bundle["total"] == len(world.circles)
    assert not [entry for entry in entries(bundle) if entry["resource"]["resourceType"] != "OperationOutcome"]
    assert link(bundle, "next") is None


async def test_post_answers_what_get_answers(gestionnaire: Gestionnaire, world: World) -> None:
    params = [*world.scope(), ("_sort", "-_lastUpdated"), INCLUDE]
    got, posted = [await gestionnaire.search("CareTeam", params, post=post) for post in (False, True)]
    assert got.get("total") == posted.get("total")
    assert [entry["fullUrl"] for entry in entries(got)] == [entry["fullUrl"] for entry in entries(posted)]
    assert [entry["resource"] for entry in entries(got)] == [entry["resource"] for entry in entries(posted)]


async def test_elements_keeps_what_was_asked_and_marks_the_rest_as_missing(
    gestionnaire: Gestionnaire, world: World
) -> None:
    params = [*world.scope(), ("_elements", "identifier,status"), INCLUDE]
    bundle = await gestionnaire.search("CareTeam", params)
    whole = {key(circle): circle for circle in world.circles}
    for circle in matches(bundle):
        assert circle["identifier"] == whole[key(circle)]["identifier"]
        assert circle["status"] == whole[key(circle)]["status"]
        assert not {"participant", "category", "managingOrganization"} & set(circle)
        assert SUBSETTED in _tags(circle)
    for actor in included(bundle):  # _elements is for matches alone
        assert actor == world.actors[key(actor)]


def _tags(resource: Json) -> set[tuple[str | None, str | None]]:
    return {(tag.get("system"), tag.get("code")) for tag in resource.get("meta", {}).get("tag", [])}


async def test_resources_come_as_they_are_read(gestionnaire: Gestionnaire, world: World) -> None:
    found = {key(circle): circle for circle in await gestionnaire.search_all("CareTeam", world.scope())}
    assert found == {key(circle): circle for circle in world.circles}


async def test_a_circle_carries_what_the_profile_asks_for(gestionnaire: Gestionnaire, world: World) -> None:
    for circle in await gestionnaire.search_all("CareTeam", world.scope()):
        assert circle["meta"]["versionId"]
        assert circle["meta"]["lastUpdated"]
        assert [item["value"] for item in circle["identifier"]] != []
        assert len(circle["identifier"]) == 1
        assert circle["status"]
        assert circle["name"]
        assert circle["subject"]
        assert circle["period"]["start"]
        for participant in circle.get("participant", []):
            assert participant["member"]
            assert "start" in participant.get("period", {"start": ""})
