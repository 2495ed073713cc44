"""Flux 2b → 3b: read and vread, their headers and conditions (FHIR R4, http.html#read, #vread, #cread)."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from .client import Gestionnaire, Json, key, refused
from .world import World

TYPES = ("CareTeam", "Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Organization")


def one(world: World, resource_type: str) -> Json:
    held = world.of_type(resource_type)
    if not held:
        assert not world.created
        pytest.skip(f"no {resource_type} was found")
    return held[0]


@pytest.mark.parametrize("resource_type", TYPES)
async def test_a_resource_is_read_with_its_version(
    gestionnaire: Gestionnaire, world: World, resource_type: str
) -> None:
    resource = one(world, resource_type)
    answer = await gestionnaire.get(key(resource))
    assert answer.status == 200
    body = answer.json
    assert body == resource
    assert answer.headers["etag"] == f'W/"{body["meta"]["versionId"]}"'
    modified = parsedate_to_datetime(answer.headers["last-modified"])
    updated = dt.datetime.fromisoformat(body["meta"]["lastUpdated"])
    assert abs(modified - updated) <= dt.timedelta(seconds=1)


@pytest.mark.parametrize("resource_type", TYPES)
async def test_an_unknown_id_is_not_found(gestionnaire: Gestionnaire, resource_type: str) -> None:
    refused(await gestionnaire.get(f"{resource_type}/nobody-has-this-id"), 404)


async def test_an_id_outside_the_rule_is_refused(gestionnaire: Gestionnaire) -> None:
    refused(await gestionnaire.get("CareTeam/not_an_id"), 400, 404)
    refused(await gestionnaire.get(f"CareTeam/{'a' * 65}"), 400, 404)


async def test_a_type_that_the_guide_does_not_know_is_not_found(gestionnaire: Gestionnaire) -> None:
    refused(await gestionnaire.get("Nonsense/1"), 404)
    refused(await gestionnaire.get("Nonsense"), 404)


async def test_the_etag_spares_the_body(gestionnaire: Gestionnaire, world: World) -> None:
    target = key(world.circles[0])
    etag = (await gestionnaire.get(target)).headers["etag"]
    answer = await gestionnaire.get(target, If_None_Match=etag)
    assert (answer.status, answer.text) == (304, "")
    assert (await gestionnaire.get(target, If_None_Match='W/"another"')).status == 200


async def test_if_modified_since_spares_the_body(gestionnaire: Gestionnaire, world: World) -> None:
    target = key(world.circles[0])
    modified = (await gestionnaire.get(target)).headers["last-modified"]
    assert (await gestionnaire.get(target, If_Modified_Since=modified)).status == 304
    earlier = parsedate_to_datetime(modified) - dt.timedelta(days=1)
    answer = await gestionnaire.get(target, If_Modified_Since=format_datetime(earlier, usegmt=True))
    assert answer.status == 200


async def test_a_version_is_read(gestionnaire: Gestionnaire, world: World) -> None:
    circle = world.circles[0]
    version = circle["meta"]["versionId"]
    answer = await gestionnaire.get(f"{key(circle)}/_history/{version}")
    assert answer.status == 200
    assert answer.json == circle
    assert answer.headers["etag"] == f'W/"{version}"'


async def test_an_unknown_version_is_not_found(gestionnaire: Gestionnaire, world: World) -> None:
    refused(await gestionnaire.get(f"{key(world.circles[0])}/_history/no-such-version"), 404)
    refused(await gestionnaire.get("CareTeam/nobody-has-this-id/_history/1"), 404)
