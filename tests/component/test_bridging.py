"""Managers of little skill seen through the broker: whatever one cannot do, the answers are those of whole managers.

Each handicap of the sandbox, once after its check and once before anything is known of it, against the same two regions
without any handicap. Where neither the manager nor the broker can apply a criterion the answer says so.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from registry.model import Gestionnaire
from registry.redis_keys import RedisKeys
from tests.support.bridging import CRITERIA, HELD, SEARCHES, Search, View, about, pages_of, view
from tests.support.federation import Broker, federation, outcome_codes
from tests.support.valkey import Valkey, ValkeyServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARE_TEAM_PARAMETERS = tuple(name for name in CRITERIA if name != "_id")

HANDICAPS: dict[str, dict[str, Any]] = {
    "nothing at all": {},
    "chains match nothing": {"chains_match_nothing": True},
    "_include ignored": {"ignores_include": True},
    "_sort ignored": {"ignores_sort": True},
    "_sort ignored, small pages": {"ignores_sort": True, "max_page": 2, "default_page": 2},
    "_elements ignored": {"ignores_elements": True},
    "no POST _search": {"no_post_search": True},
    "no type history": {"no_type_history": True},
    "no total": {"no_total": True},
    "no fullUrl, no search.mode, no self": {
        "no_full_url": True,
        "no_search_mode": True,
        "no_self_link": True,
    },
    "id last, UUID versions": {"id_last": True, "uuid_versions": True},
    "relative next links": {"relative_next_links": True, "max_page": 2, "default_page": 2},
    "_getpages": {"getpages_links": True, "max_page": 1, "default_page": 1},
    "all of it": {
        "chains_match_nothing": True,
        "ignores_include": True,
        "ignores_sort": True,
        "ignores_elements": True,
        "no_post_search": True,
        "no_type_history": True,
        "no_total": True,
        "no_full_url": True,
        "no_search_mode": True,
        "no_self_link": True,
        "id_last": True,
        "uuid_versions": True,
        "relative_next_links": True,
        "max_page": 2,
        "default_page": 2,
    },
}
REMARKS = {("manager.no-type-history", "bre")}
"""What may be said of a manager whose lacks are made up for."""


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


@asynccontextmanager
async def bridged(
    regions: Regions, handicaps: Mapping[str, Any], *, checked: bool
) -> AsyncIterator[tuple[Broker, RunningSandbox]]:
    """A broker over a region with handicaps that its statement denies, and a whole one."""
    async with (
        running_sandbox(HELD["bre"], options=SandboxOptions(**handicaps, lying_statement=True)) as poor,
        federation(
            _keys(regions.valkey), _manager("bre", poor), _manager("occ", regions.whole), checked=checked
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
        if given.total not in (None, expected.total):
            found.append(f"{search.target}: total {given.total} instead of {expected.total}")
        told = {code for page in pages for code in outcome_codes(page)} - REMARKS
        if told:
            found.append(f"{search.target}: says {told}")
    return found


async def test_the_whole_federation_finds_something_everywhere(regions: Regions) -> None:
    empty = [s.target for s in SEARCHES if not (await regions.answer(s)).bodies]
    assert empty == [
        "CareTeam?status=active&status=inactive",
        "CareTeam?participant:missing=true",
        "CareTeam?patient.family=nobody",
        "CareTeam?_summary=count",
        "CareTeam?_summary=count&status=active",
        "CareTeam?_count=0&patient.gender=female",
    ]


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unknown"])
@pytest.mark.parametrize("handicap", HANDICAPS)
async def test_answers_are_those_of_whole_managers(regions: Regions, handicap: str, *, checked: bool) -> None:
    async with bridged(regions, HANDICAPS[handicap], checked=checked) as (broker, _):
        assert await differences(regions, broker, SEARCHES) == []


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unknown"])
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "told by self"])
@pytest.mark.parametrize("parameter", CARE_TEAM_PARAMETERS)
async def test_a_parameter_of_circles_that_is_ignored_is_applied_here(
    regions: Regions, parameter: str, *, silent: bool, checked: bool
) -> None:
    handicaps = {
        "ignored_params": frozenset({parameter}),
        "no_self_link": silent,
        "max_page": 3,
        "default_page": 3,
    }
    async with bridged(regions, handicaps, checked=checked) as (broker, _):
        assert await differences(regions, broker, about(parameter)) == []
