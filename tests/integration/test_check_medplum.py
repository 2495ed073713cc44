"""What the check finds out about Medplum's in-memory server, whose real lacks `test_medplum_server.py` shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker.core.dialects import PRESETS
from broker.federation.check import check
from registry.model import Skills
from tests.support.gestionnaires import gestionnaire
from tests.support.medplum_server import MedplumServer, medplum_or_skip
from tests.support.probed_region import probed_region

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[MedplumServer]:
    async with medplum_or_skip() as server:
        for resource in probed_region():
            await server.load([resource])
            await asyncio.sleep(0.002)  # lastUpdated has milliseconds: no two circles of one instant
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def skills(server: MedplumServer) -> AsyncIterator[Skills]:
    client = HttpManagerClient(SystemClock())
    try:
        yield await check(client, SystemClock(), gestionnaire("med", base_url=server.base_url), timeout=5)
    finally:
        await client.aclose()


async def test_it_has_no_statement(skills: Skills) -> None:
    assert (skills.software, skills.formats, skills.broker, skills.unproven) == (None, (), None, ())


async def test_what_it_lacks(skills: Skills) -> None:
    assert skills.lacks == (
        "chaining",
        "elements",
        "history-type",
        "include",
        "modifier:exact",
        "modifier:identifier",
        "paging",
        "param:CareTeam:end",
        "param:CareTeam:managingOrganization",
        "param:CareTeam:participant-end",
        "param:CareTeam:participant-start",
        "param:CareTeam:start",
        "param:Patient:birthplace",
        "revinclude",
    )


async def test_the_preset_says_what_the_check_finds(skills: Skills) -> None:
    preset = PRESETS["medplum"]
    assert {name: getattr(skills, name) for name in preset.skills} == preset.skills
    assert skills.modifiers == preset.modifiers
    for kind, names in preset.params.items():
        general = {"_lastUpdated", "_profile", "_security", "_source", "_tag"}  # mostly not tried
        assert set(skills.search_params[kind]) - general == set(names) - general
