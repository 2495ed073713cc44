"""Managers of little skill seen through the broker: whatever one cannot do, the answers are those of whole managers.

Each handicap of the sandbox, once after its check and once before anything is known of it, against the same two regions
without any handicap. Where neither the manager nor the broker can apply a criterion the answer says so.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from registry.lease_store import RedisLeases
from registry.model import Gestionnaire
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from tests.support.bridging import (
    CHAINS,
    CRITERIA,
    HELD,
    INCLUDES,
    SEARCHES,
    Search,
    View,
    about,
    pages_of,
    view,
)
from tests.support.federation import Broker, federation, ids, outcome_codes
from tests.support.valkey import Valkey, ValkeyServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARE_TEAM_PARAMETERS = tuple(name for name in CRITERIA if name != "_id")
THREES = [CARE_TEAM_PARAMETERS[start : start + 3] for start in range(0, len(CARE_TEAM_PARAMETERS), 3)]
"""Ignored three at a time, to be quick; each search is by one of them."""

SMALL_PAGES = {"max_page": 2, "default_page": 2}
HANDICAPS: dict[str, dict[str, Any]] = {
    "nothing at all": {},
    "chains match nothing": {"chains_match_nothing": True},
    "_include ignored": {"ignores_include": True},
    "_sort ignored, small pages": {"ignores_sort": True, **SMALL_PAGES},
    "_elements ignored, no total": {"ignores_elements": True, "no_total": True},
    "no POST _search": {"no_post_search": True},
    "no fullUrl, no search.mode, no self": {
        "no_full_url": True,
        "no_search_mode": True,
        "no_self_link": True,
    },
    "id last, UUID versions, no type history, relative links": {
        "id_last": True,
        "uuid_versions": True,
        "no_type_history": True,
        "relative_next_links": True,
        **SMALL_PAGES,
    },
    "_getpages, one circle to the page": {"getpages_links": True, "max_page": 1, "default_page": 1},
}
HANDICAPS["all of it"] = {
    name: value
    for handicap in HANDICAPS.values()
    for name, value in handicap.items()
    if name != "getpages_links"
}
BEFORE = {
    name: {key: value for key, value in handicap.items() if key != "no_post_search"}
    for name, handicap in HANDICAPS.items()
    if name not in ("no POST _search", "_getpages, one circle to the page") and "id last" not in name
}
"""Those tried before a check too. Without POST there is a test apart; forms of answers are part of all of it."""

REMARKS = {("manager.no-type-history", "bre")}
"""What may be said of a manager whose lacks are made up for."""

UNTRUSTED = ("CareTeam?patient.family:contains=cross",)
"""At the end of a chain a modifier whose effect is not known cannot be made up for: see below."""


class Regions:
    """The whole region that every federation here shares, and what whole managers answer, each search once."""

    def __init__(self, valkey: ValkeyServer, whole: RunningSandbox, reference: Broker) -> None:
        self.valkey = valkey
        self.whole = whole
        self.reference = reference
        self._answers: dict[Search, View] = {}

    async def answer(self, search: Search) -> View:
        if search not in self._answers:
            self._answers[search] = view(await pages_of(self.reference, search))
        return self._answers[search]


def _keys(valkey: ValkeyServer) -> Valkey:
    return Valkey(valkey.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))


def _manager(slug: str, box: RunningSandbox, **declared: Any) -> Gestionnaire:
    return Gestionnaire(slug, f"Région {slug}", {"bre": "53", "occ": "76"}[slug], box.base_url, **declared)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def regions(valkey_server: ValkeyServer) -> AsyncIterator[Regions]:
    async with (
        running_sandbox(HELD["occ"]) as whole,
        running_sandbox(HELD["bre"]) as other,
        federation(
            _keys(valkey_server), _manager("bre", other), _manager("occ", whole), checked=True
        ) as reference,
    ):
        yield Regions(valkey_server, whole, reference)


async def _keep_unknown(valkey: Valkey) -> None:
    """The broker would check its managers by itself within seconds: that is another node's work here."""
    client = connect(valkey.url)
    try:
        for slug in HELD:
            assert await RedisLeases(client, keys=valkey.keys).take(f"check:{slug}", seconds=600)
    finally:
        await client.aclose()


@asynccontextmanager
async def bridged(
    regions: Regions, handicaps: Mapping[str, Any], *, checked: bool, **settings: Any
) -> AsyncIterator[tuple[Broker, RunningSandbox]]:
    """A broker over a region with handicaps that its statement denies, and a whole one."""
    keys = _keys(regions.valkey)
    if not checked:
        await _keep_unknown(keys)
    async with (
        running_sandbox(HELD["bre"], options=SandboxOptions(**handicaps, lying_statement=True)) as poor,
        federation(
            keys,
            _manager("bre", poor),
            _manager("occ", regions.whole),
            checked=checked,
            **settings,
        ) as broker,
    ):
        yield broker, poor
        known = broker.running.managers.get("bre")
        assert known is not None
        assert (known.skills is not None) is checked


async def differences(regions: Regions, broker: Broker, searches: Iterable[Search]) -> list[str]:
    """What is answered otherwise than by whole managers, one line each."""
    found: list[str] = []
    for search in searches:
        pages = await pages_of(broker, search)
        expected, given = await regions.answer(search), view(pages)
        if given.pages != expected.pages:
            found.append(f"{search.target}: {given.pages} instead of {expected.pages}")
        elif given.bodies != expected.bodies:
            found.append(f"{search.target}: other contents")
        true = expected.count if search.whole else expected.total
        if given.total not in (None, true):
            found.append(f"{search.target}: total {given.total} instead of {true}")
        told = {code for page in pages for code in outcome_codes(page)} - REMARKS
        if told:
            found.append(f"{search.target}: says {told}")
    return found


async def test_the_whole_federation_finds_something_everywhere(regions: Regions) -> None:
    empty = [s.target for s in SEARCHES if not (await regions.answer(s)).bodies]
    assert empty == [
        "CareTeam?patient.family=nobody",
        "CareTeam?_summary=count",
        "CareTeam?_summary=count&status=active",
        "CareTeam?_count=0&patient.gender=female",
    ]


@pytest.mark.parametrize("handicap", HANDICAPS)
async def test_answers_are_those_of_whole_managers(regions: Regions, handicap: str) -> None:
    async with bridged(regions, HANDICAPS[handicap], checked=True) as (broker, _):
        assert await differences(regions, broker, SEARCHES) == []


@pytest.mark.parametrize("handicap", BEFORE)
async def test_they_are_before_anything_is_known(regions: Regions, handicap: str) -> None:
    searches = [one for one in SEARCHES if one.target not in UNTRUSTED]
    async with bridged(regions, BEFORE[handicap], checked=False) as (broker, _):
        assert await differences(regions, broker, searches) == []


async def test_before_it_is_known_that_post_is_not_taken_nobody_is_named_in_an_address(
    regions: Regions,
) -> None:
    """What would name a person is not asked by GET on a guess: the region is named, and nothing false is shown."""
    async with bridged(regions, {"no_post_search": True}, checked=False) as (broker, _):
        for text in CHAINS:
            search = Search(f"CareTeam?{text}")
            if search.target in UNTRUSTED:
                continue
            (page,) = await pages_of(broker, search)
            expected = (await regions.answer(search)).pages[0][0]
            if outcome_codes(page):
                assert outcome_codes(page) == [("manager.rejected", "bre")], text
                expected = tuple(one for one in expected if not one.startswith("bre."))
            assert tuple(ids(page)) == expected, text


def _ignoring(*parameters: str, **handicaps: Any) -> dict[str, Any]:
    return {"ignored_params": frozenset(parameters), "max_page": 3, "default_page": 3, **handicaps}


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unknown"])
@pytest.mark.parametrize("parameters", THREES, ids=", ".join)
async def test_parameters_of_circles_that_are_ignored_in_silence_are_applied_here(
    regions: Regions, parameters: tuple[str, ...], *, checked: bool
) -> None:
    searches = [one for name in parameters for one in about(name) if checked or one.target not in UNTRUSTED]
    async with bridged(regions, _ignoring(*parameters, no_self_link=True), checked=checked) as (broker, _):
        assert await differences(regions, broker, searches) == []


@pytest.mark.parametrize("parameter", ["start", "identifier", "end"])
async def test_a_parameter_that_self_says_was_ignored_is_applied_here(
    regions: Regions, parameter: str
) -> None:
    """Also where the check had found it to work: servers change."""
    async with bridged(regions, {}, checked=True) as (broker, poor):
        object.__setattr__(poor.store.options, "ignored_params", frozenset({parameter}))
        assert await differences(regions, broker, about(parameter)) == []


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unknown"])
async def test_ids_that_are_ignored_bring_no_strangers_along(regions: Regions, *, checked: bool) -> None:
    """Includes are fetched by id, or by what refers; where that is no filter, only what was meant is shown."""
    handicaps = _ignoring("_id", ignores_include=True, no_self_link=True)
    searches = [Search(f"CareTeam?{text}") for text in (*CRITERIA["_id"], *INCLUDES)]
    async with bridged(regions, handicaps, checked=checked) as (broker, _):
        assert await differences(regions, broker, searches) == []


# --- where neither the manager nor the broker can


ENDS = {
    "relationship": "participant:RelatedPerson.relationship=GUARD",
    "address": "patient.address=rennes",
    "birthplace": "patient.birthplace=Quimper&status=active",
    "role": "participant:PractitionerRole.role=10",
    "practitioner": "participant:PractitionerRole.practitioner.name=Bihan",
    "partof": "participant:Organization.partof.name=groupement",
}


async def test_a_parameter_of_actors_that_is_ignored_is_named_and_never_dropped(regions: Regions) -> None:
    async with bridged(regions, _ignoring(*ENDS, no_self_link=True), checked=True) as (broker, _):
        for parameter, criteria in ENDS.items():
            (page,) = await pages_of(broker, Search(f"CareTeam?{criteria}"))
            whole = await regions.answer(Search(f"CareTeam?{criteria}"))
            assert ids(page) == [one for one in whole.pages[0][0] if one.startswith("occ.")], parameter
            assert outcome_codes(page) == [("manager.not-supported", "bre")]
            assert criteria.partition("=")[0] in json.dumps(page["entry"][-1]["resource"]["issue"])
            assert "total" not in page
            denied = await broker.get(f"CareTeam?{criteria}", Prefer="partial=deny")
            assert denied.status == 503


async def test_the_same_before_anything_is_known(regions: Regions) -> None:
    """Actors that an ignored parameter brings are looked at one by one: the right circles, and nothing to say."""
    searches = [Search(f"CareTeam?{criteria}") for criteria in ENDS.values()]
    async with bridged(regions, _ignoring(*ENDS, no_self_link=True), checked=False) as (broker, _):
        assert await differences(regions, broker, searches) == []


async def test_an_actor_search_by_a_parameter_that_is_ignored_is_filtered_here(regions: Regions) -> None:
    searches = [
        Search("RelatedPerson?relationship=GUARD"),
        Search("Organization?partof=bre.group&_count=1", whole=True),
    ]
    async with bridged(regions, _ignoring(*ENDS, no_self_link=True), checked=True) as (broker, _):
        assert await differences(regions, broker, searches) == []


async def test_a_modifier_of_unknown_effect_at_the_end_of_a_chain_is_named(regions: Regions) -> None:
    async with bridged(regions, {}, checked=False) as (broker, _):
        for target in UNTRUSTED:
            (page,) = await pages_of(broker, Search(target))
            assert outcome_codes(page) == [("manager.not-supported", "bre"), ("manager.not-supported", "occ")]


async def test_more_than_the_bound_is_named_too(regions: Regions) -> None:
    """A filter of the broker's own over more than it may read: what was found is shown, and what was not done is said."""
    async with bridged(regions, _ignoring("start"), checked=True, sort_bound=3) as (broker, _):
        (page,) = await pages_of(broker, Search("CareTeam?start=2024-01-10"))
        assert outcome_codes(page) == [("manager.not-supported", "bre")]
        assert set(ids(page)) <= {"bre.c0"}
        assert "total" not in page
