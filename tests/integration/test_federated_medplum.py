"""A FHIR server that is not ours as a manager: Medplum beside two sandboxes, seen through the broker.

Medplum follows no chain, brings no include, gives no page link, knows none of the guide's own parameters and keeps no
history of a type (`test_medplum_server.py`). Its circles must be found, included, sorted and paged all the same: each
search is compared with what a federation of whole managers answers, one of which holds what Medplum holds.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from adapters.sandbox.app import running_sandbox
from registry.model import Gestionnaire
from registry.redis_keys import RedisKeys
from tests.support.bridging import HELD, SEARCHES, Search, pages_of, region, view
from tests.support.federation import Broker, federation, ids, link, outcome_codes
from tests.support.fhir_builders import INS, INS_TEST
from tests.support.medplum_server import MedplumServer, medplum_or_skip
from tests.support.valkey import Valkey, ValkeyServer

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

Json = dict[str, Any]

OWN_WAYS = {
    # Accents count for Medplum in a plain string search (FHIR: they should not).
    "CareTeam?patient.given=zoe&status=active",
    "CareTeam?participant:Organization.name=centre de sante b",
    # A plain string is looked for anywhere (FHIR: at the start).
    "CareTeam?participant:PractitionerRole.practitioner.name=Bihan",
    "Practitioner?name=bihan&_revinclude=PractitionerRole:practitioner",
    "PractitionerRole?practitioner.name=bihan&_include=PractitionerRole:practitioner",
}
"""Searches that Medplum answers in its own sense: its parameters filter, only not quite as FHIR has it."""


UNABLE = {"CareTeam?patient.birthplace=Quimper": "patient.birthplace"}
"""A parameter of actors that Medplum does not know, at the end of a chain: nobody can apply it, and that is said."""


@dataclass(frozen=True, slots=True)
class World:
    """`bre` is Medplum in `broker`, and a sandbox with the same resources in `reference`."""

    medplum: MedplumServer
    held: list[Json]  # as Medplum gave them back
    broker: Broker
    reference: Broker

    def circles(self) -> list[str]:
        """The public ids of Medplum's circles, newest first."""
        circles = [one for one in self.held if one["resourceType"] == "CareTeam"]
        circles.sort(key=lambda one: str(one["meta"]["lastUpdated"]), reverse=True)
        return [f"bre.{one['id']}" for one in circles]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(valkey_server: ValkeyServer) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        medplum = await stack.enter_async_context(medplum_or_skip())
        held = []
        async with aiohttp.ClientSession() as session:
            for resource in HELD["bre"]:
                await medplum.load([resource])
                await asyncio.sleep(0.002)  # lastUpdated has milliseconds: no two circles of one instant
                url = f"{medplum.base_url}/{resource['resourceType']}/{resource['id']}"
                async with session.get(url) as response:
                    held.append(await response.json(content_type=None))
        copy = await stack.enter_async_context(running_sandbox(held))
        occ = await stack.enter_async_context(running_sandbox(HELD["occ"]))
        idf = await stack.enter_async_context(running_sandbox(region("i", (1, 2, 3))))

        def managers(bre: str) -> list[Gestionnaire]:
            return [
                Gestionnaire("bre", "Bretagne", "53", bre),
                Gestionnaire("occ", "Occitanie", "76", occ.base_url),
                Gestionnaire("idf", "Île-de-France", "11", idf.base_url),
            ]

        async def over(bre: str) -> Broker:
            keys = Valkey(valkey_server.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
            return await stack.enter_async_context(federation(keys, *managers(bre), checked=True))

        yield World(medplum, held, await over(medplum.base_url), await over(copy.base_url))


@pytest.mark.parametrize(
    "search",
    [
        one
        for one in SEARCHES
        if one.target not in OWN_WAYS and one.target not in UNABLE and "_history" not in one.target
    ],
    ids=lambda search: search.target,
)
async def test_answers_are_those_of_whole_managers(world: World, search: Search) -> None:
    pages = await pages_of(world.broker, search)
    given, expected = view(pages), view(await pages_of(world.reference, search))
    assert given.pages == expected.pages
    assert given.bodies == expected.bodies
    assert given.total in (None, expected.count if search.whole else expected.total)
    assert [code for page in pages for code in outcome_codes(page)] == []


async def test_the_own_ways_are_not_more_than_that(world: World) -> None:
    """They still answer, without a remark: a search that has become right belongs to the others."""
    for target in OWN_WAYS:
        search = Search(target)
        pages = await pages_of(world.broker, search)
        assert [code for page in pages for code in outcome_codes(page)] == [], target
        assert view(pages) != view(await pages_of(world.reference, search)), target


async def test_what_nobody_can_do_is_said(world: World) -> None:
    for target, parameter in UNABLE.items():
        bundle = await world.broker.bundle(target)
        whole = ids(await world.reference.bundle(target))
        assert ids(bundle) == [one for one in whole if not one.startswith("bre.")] != whole
        assert outcome_codes(bundle) == [("manager.not-supported", "bre")]
        assert parameter in json.dumps(bundle["entry"][-1]["resource"])


async def test_a_circle_is_found_by_its_person_and_comes_with_everybody(world: World) -> None:
    bundle = await world.broker.bundle(
        f"CareTeam?patient.identifier={INS_TEST}|{INS[1]}&_include=CareTeam:subject&_include=CareTeam:participant"
        "&_include:iterate=PractitionerRole:practitioner"
    )
    assert "bre.c1" in ids(bundle)
    assert {"bre.p1", "bre.k1", "bre.role1", "bre.doctor1", "bre.centre"} <= set(ids(bundle, "include"))
    circle = next(one["resource"] for one in bundle["entry"] if one["resource"].get("id") == "bre.c1")
    assert circle["subject"]["reference"] == "Patient/bre.p1"
    assert circle["meta"]["source"] == world.medplum.base_url


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("sort", ["-_lastUpdated", "_lastUpdated", "-start"])
async def test_every_circle_comes_once_over_pages_smaller_than_its_holding(
    world: World, size: int, sort: str
) -> None:
    pages = await world.broker.pages(f"CareTeam?_count={size}&_sort={sort}")
    given = [one for page in pages for one in ids(page)]
    whole = ids(await world.reference.bundle(f"CareTeam?_sort={sort}&_count=100"))
    assert given == whole
    assert all(len(ids(page)) == size for page in pages[:-1])
    assert [one for one in given if one.startswith("bre.")] == world.circles() or sort != "-_lastUpdated"
    assert all(outcome_codes(page) == [] for page in pages)


async def test_totals_are_true(world: World) -> None:
    circles = 7 + 5 + 3
    assert (await world.broker.bundle("CareTeam?_summary=count"))["total"] == circles
    assert (await world.broker.bundle("CareTeam?_count=1&_total=accurate"))["total"] == circles
    by_start = await world.broker.bundle("CareTeam?start=ge2024-05-01&_summary=count")
    assert by_start["total"] == (await world.reference.bundle("CareTeam?start=ge2024-05-01"))["total"]


async def test_reading_and_history(world: World) -> None:
    circle = next(one for one in world.held if one["id"] == "c5")
    read = await world.broker.get("CareTeam/bre.c5")
    assert (read.status, read.json["name"]) == (200, circle["name"])
    version = circle["meta"]["versionId"]
    assert read.headers["ETag"] == f'W/"{version}"'
    old = await world.broker.get(f"CareTeam/bre.c5/_history/{version}")
    assert (old.status, old.json) == (200, read.json)
    own = await world.broker.bundle("CareTeam/bre.c5/_history")
    assert [one["resource"]["meta"]["versionId"] for one in own["entry"]] == [version]
    pages = await world.broker.pages("CareTeam/_history?_count=4")
    given = [e["resource"]["id"] for page in pages for e in page["entry"] if "resource" in e]
    assert [one for one in given if one.startswith("bre.")] == world.circles()
    assert len(given) == len(set(given)) == 7 + 5 + 3
    assert outcome_codes(pages[0]) == [("manager.no-type-history", "bre")]
    assert link(pages[-1], "next") is None
    assert (await world.broker.get("CareTeam/bre.nobody")).status == 404
