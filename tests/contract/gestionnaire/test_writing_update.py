"""Flux 4a and 4b: update, versions and preconditions (cds.md sections 1 and 6; FHIR R4, http.html#update)."""

from __future__ import annotations

import pytest

from .client import Gestionnaire, Json, key, keys, refused
from .dates import interval
from .people import People
from .world import World, create_resource, token, updated


@pytest.fixture
def people() -> People:
    return People()


async def circle_of(gestionnaire: Gestionnaire, world: World, people: People) -> Json:
    patient = people.patient(
        f"Riou{people.token}", "Gaël", "1960-02-03", gender="male", city="Vitré", born_at="Redon"
    )
    held = await create_resource(gestionnaire, patient)
    members: list[tuple[str, str, str | None]] = [(key(world.of_type("Organization")[0]), "2024-01-10", None)]
    return await create_resource(gestionnaire, people.circle("h", key(held), members))


async def test_an_update_makes_a_new_version(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    before = await circle_of(gestionnaire, world, people)
    answer = await gestionnaire.send("PUT", key(before), body=before | {"status": "suspended"})
    assert answer.status == 200
    after = (await gestionnaire.get(key(before))).json
    assert after["status"] == "suspended"
    assert after["id"] == before["id"]
    assert after["meta"]["versionId"] != before["meta"]["versionId"]
    assert interval(after["meta"]["lastUpdated"])[0] >= interval(before["meta"]["lastUpdated"])[0]
    assert answer.headers["etag"] == f'W/"{after["meta"]["versionId"]}"'
    assert answer.headers["last-modified"]
    assert after | {"meta": None, "status": None} == before | {"meta": None, "status": None}


async def test_an_update_is_found_by_what_it_says_now(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    before = await circle_of(gestionnaire, world, people)
    await updated(gestionnaire, before | {"status": "inactive"})
    scope = ("identifier", token(before["identifier"][0]))
    for status, expected in (("inactive", [key(before)]), ("active", [])):
        found = await gestionnaire.search_all("CareTeam", [scope, ("status", status)])
        assert keys(found) == expected


async def test_the_former_version_can_still_be_read(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    before = await circle_of(gestionnaire, world, people)
    await updated(gestionnaire, before | {"status": "inactive"})
    answer = await gestionnaire.get(f"{key(before)}/_history/{before['meta']['versionId']}")
    assert answer.json == before
    history = (await gestionnaire.get(f"{key(before)}/_history")).json
    assert [entry["resource"]["status"] for entry in history["entry"]] == ["inactive", "active"]
    methods = [entry["request"]["method"] for entry in history["entry"]]
    assert methods == ["PUT", "POST"]


async def test_a_member_leaves_and_comes_back(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    before = await circle_of(gestionnaire, world, people)
    [first] = before["participant"]
    left = first | {"period": {"start": "2024-01-10", "end": "2024-05-31"}}
    back = first | {"period": {"start": "2024-09-01"}}
    after = await updated(gestionnaire, before | {"participant": [left, back]})
    assert after["participant"] == [left, back]


async def test_the_id_of_the_body_is_the_one_of_the_address(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    circle = await circle_of(gestionnaire, world, people)
    refused(await gestionnaire.send("PUT", key(circle), body=circle | {"id": "another"}), 400)
    without = {name: value for name, value in circle.items() if name != "id"}
    refused(await gestionnaire.send("PUT", key(circle), body=without), 400)
    assert (await gestionnaire.get(key(circle))).json == circle


async def test_the_type_of_the_body_is_the_one_of_the_address(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    circle = await circle_of(gestionnaire, world, people)
    body = {"resourceType": "Organization", "id": circle["id"], "name": "x"}
    refused(await gestionnaire.send("PUT", key(circle), body=body), 400, 422)


async def test_a_stale_version_is_refused_and_changes_nothing(
    gestionnaire: Gestionnaire, world: World, people: People
) -> None:
    first = await circle_of(gestionnaire, world, people)
    second = await updated(gestionnaire, first | {"status": "suspended"})
    stale = {"If-Match": f'W/"{first["meta"]["versionId"]}"'}
    body = second | {"status": "inactive"}
    refused(await gestionnaire.send("PUT", key(first), body=body, headers=stale), 412)
    assert (await gestionnaire.get(key(first))).json == second
    fresh = {"If-Match": f'W/"{second["meta"]["versionId"]}"'}
    assert (await gestionnaire.send("PUT", key(first), body=body, headers=fresh)).status == 200


async def test_an_actor_is_updated(gestionnaire: Gestionnaire, people: People) -> None:
    held = await create_resource(gestionnaire, people.organization(f"Cabinet {people.token}"))
    after = await updated(gestionnaire, held | {"name": f"Maison {people.token}"})
    found = await gestionnaire.search_all("Organization", [("name", f"Maison {people.token}")])
    assert found == [after]
