"""What the check finds out about Medplum's in-memory server, whose real lacks `test_medplum_server.py` shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker.core.dialects import PRESETS
from broker.federation.check import check
from registry.model import Skills
from tests.support.fhir_builders import INS_TEST
from tests.support.gestionnaires import gestionnaire
from tests.support.medplum_server import MedplumServer, medplum_or_skip

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

PEOPLE = (("ducros", "295109912611193"), ("martin", "253072A07300443"), ("ducrosse", "253072B07300470"))


def _actors() -> list[dict[str, Any]]:
    role = {"coding": [{"system": "urn:oid:1.2.250.1.71.1.2.7", "code": "10"}]}
    return [
        {
            "resourceType": "Organization",
            "id": "org",
            "identifier": [{"system": "https://finess.esante.gouv.fr", "value": "350000022"}],
            "name": "Centre de santé des Lices",
        },
        {
            "resourceType": "Practitioner",
            "id": "doctor",
            "identifier": [{"system": "https://rpps.esante.gouv.fr", "value": "10101919190"}],
            "name": [{"family": "Le Goff"}],
        },
        {
            "resourceType": "PractitionerRole",
            "id": "role",
            "practitioner": {"reference": "Practitioner/doctor"},
            "organization": {"reference": "Organization/org"},
            "code": [role],
        },
        {
            "resourceType": "RelatedPerson",
            "id": "contact",
            "patient": {"reference": "Patient/ducros"},
            "relationship": [{"coding": [{"code": "GUARD"}]}],
            "name": [{"family": "Ducros"}],
            "address": [{"city": "Rennes"}],
        },
    ]


def _patient(key: str, ins: str) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": key,
        "active": True,
        "identifier": [{"system": INS_TEST, "value": ins}],
        "name": [{"family": key.title(), "given": ["Zoé"]}],
        "birthDate": "1953-07-01",
        "gender": "female",
        "address": [{"city": "Rennes"}],
    }


def _circle(key: str) -> dict[str, Any]:
    members = ("PractitionerRole/role", "RelatedPerson/contact", "Organization/org")
    period = {"start": "2024-01-10", "end": "2025-01-10"}
    return {
        "resourceType": "CareTeam",
        "id": f"circle-{key}",
        "identifier": [{"system": "urn:oid:1.2.250.1.999.1", "value": f"cercle-{key}"}],
        "status": "active",
        "category": [{"coding": [{"system": "http://loinc.org", "code": "LA27976-2"}]}],
        "name": f"Cercle {key}",
        "subject": {"reference": f"Patient/{key}"},
        "period": period,
        "participant": [{"member": {"reference": member}, "period": period} for member in members],
        "managingOrganization": [{"reference": "Organization/org"}],
    }


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[MedplumServer]:
    async with medplum_or_skip() as server:
        await server.load([*(_patient(*person) for person in PEOPLE), *_actors()])
        for key, _ in PEOPLE:
            await server.load([_circle(key)])
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
    assert (skills.software, skills.formats, skills.interactions, skills.unproven) == (None, (), {}, ())


async def test_what_it_lacks(skills: Skills) -> None:
    assert skills.lacks == (1,)


async def test_what_it_can_do(skills: Skills) -> None:
    assert skills.post_search is True
    assert skills.sort is True


async def test_the_preset_says_what_the_check_finds(skills: Skills) -> None:
    preset = PRESETS["medplum"]
    assert {name: getattr(skills, name) for name in preset.skills} == preset.skills
    assert {kind: skills.search_params[kind] for kind in preset.params} == preset.params
