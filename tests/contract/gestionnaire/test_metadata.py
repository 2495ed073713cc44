"""`/metadata`: the statement says what the guide's Gestionnaire statement lists (cds.md sections 2 and 6)."""

from __future__ import annotations

import pytest

from .client import Gestionnaire, Json

STATEMENT = "https://interop.esante.gouv.fr/ig/fhir/cds/CapabilityStatement/CDSGestionnaire"
READING = {
    "CareTeam": {"search-type", "read", "vread", "history-instance", "history-type"},
    "Patient": {"read", "search-type"},
    "RelatedPerson": {"read", "search-type"},
    "Practitioner": {"read", "search-type"},
    "PractitionerRole": {"read", "search-type"},
    "Organization": {"read", "search-type"},
}
PARAMETERS = {
    "CareTeam": {
        "identifier": "token",
        "start": "date",
        "end": "date",
        "status": "token",
        "_lastUpdated": "date",
        "category": "token",
        "participant-start": "date",
        "participant-end": "date",
        "date": "date",
        "participant": "reference",
        "patient": "reference",
        "subject": "reference",
        "managingOrganization": "reference",
    },
    "Patient": {
        "identifier": "token",
        "family": "string",
        "given": "string",
        "name": "string",
        "address": "string",
        "birthdate": "date",
        "gender": "token",
        "birthplace": "string",
    },
    "RelatedPerson": {"_id": "token", "name": "string", "relationship": "token"},
    "Practitioner": {"identifier": "token", "name": "string"},
    "PractitionerRole": {"_id": "token", "practitioner": "reference", "role": "token"},
    "Organization": {"_id": "token", "identifier": "token", "name": "string"},
}


async def statement(gestionnaire: Gestionnaire) -> Json:
    answer = await gestionnaire.get("metadata")
    assert answer.status == 200
    return answer.json


async def resource(gestionnaire: Gestionnaire, resource_type: str) -> Json:
    [rest] = (await statement(gestionnaire))["rest"]
    [found] = [item for item in rest["resource"] if item["type"] == resource_type]
    return dict(found)


async def test_it_is_a_capability_statement_of_an_instance(gestionnaire: Gestionnaire) -> None:
    capabilities = await statement(gestionnaire)
    assert capabilities["resourceType"] == "CapabilityStatement"
    assert capabilities["kind"] == "instance"
    assert capabilities["status"] == "active"
    assert capabilities["date"]
    assert capabilities["fhirVersion"] == "4.0.1"
    assert capabilities["rest"][0]["mode"] == "server"


async def test_it_instantiates_the_guides_statement(gestionnaire: Gestionnaire) -> None:
    instantiates = (await statement(gestionnaire)).get("instantiates", [])
    assert STATEMENT in [canonical.partition("|")[0] for canonical in instantiates]


async def test_it_offers_json_and_xml(gestionnaire: Gestionnaire) -> None:
    formats = set((await statement(gestionnaire))["format"])
    assert formats & {"json", "application/fhir+json"}
    assert formats & {"xml", "application/fhir+xml"}


@pytest.mark.parametrize("resource_type", READING)
async def test_it_lists_the_reading_interactions(gestionnaire: Gestionnaire, resource_type: str) -> None:
    offered = {item["code"] for item in (await resource(gestionnaire, resource_type))["interaction"]}
    assert offered >= READING[resource_type]


@pytest.mark.parametrize("resource_type", PARAMETERS)
async def test_it_lists_the_search_parameters(gestionnaire: Gestionnaire, resource_type: str) -> None:
    listed = (await resource(gestionnaire, resource_type)).get("searchParam", [])
    offered = {parameter["name"]: parameter["type"] for parameter in listed}
    assert PARAMETERS[resource_type].items() <= offered.items()
