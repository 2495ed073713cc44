"""The registry as FHIR: the pure part."""

from __future__ import annotations

import msgspec
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.endpoint import Endpoint
from fhir.resources.R4B.organization import Organization

from broker.core import mcsd
from registry.model import TRE_R30, Registered, Status
from tests.support.gestionnaires import gestionnaire

AT = "2026-01-02T03:04:05.678Z"
BASE = "https://cds.example/registry/fhir"


def registered(revision: int = 3, slug: str = "bre", **changes: object) -> Registered:
    return Registered(gestionnaire(slug, **changes), revision, AT)


def test_an_organization() -> None:
    resource = mcsd.organization(registered(organization="350000001"))
    Organization.model_validate(resource)
    assert resource["id"] == "bre"
    assert resource["meta"]["versionId"] == "3"
    assert resource["meta"]["lastUpdated"] == AT
    assert resource["meta"]["tag"] == [{"system": TRE_R30, "code": "53", "display": "Bretagne"}]
    assert resource["identifier"] == [{"system": "https://finess.esante.gouv.fr", "value": "350000001"}]
    assert resource["endpoint"] == [{"reference": "Endpoint/bre"}]
    assert "identifier" not in mcsd.organization(registered())


@pytest.mark.parametrize("status", list(Status))
def test_an_endpoint(status: Status) -> None:
    resource = mcsd.endpoint(
        registered(status=status.value, auth={"type": "bearer", "token_env": "SECRET_NAME"})
    )
    Endpoint.model_validate(resource)
    assert resource["status"] == status.value
    assert resource["address"] == "https://bre.cds.example/fhir"
    assert resource["connectionType"]["code"] == "hl7-fhir-rest"
    assert resource["managingOrganization"]["reference"] == "Organization/bre"
    assert "SECRET_NAME" not in str(resource)


def test_methods_of_a_history() -> None:
    one, two = registered(1), registered(2)
    removed, again = registered(3), registered(4)
    versions = [(again, False), (removed, True), (two, False), (one, False)]
    assert [method for _, method in mcsd.with_methods(versions)] == ["POST", "DELETE", "PUT", "POST"]
    trimmed = mcsd.with_methods([(registered(9), False), (registered(8), False)])
    assert [method for _, method in trimmed] == ["PUT", "PUT"]


def test_a_history_bundle() -> None:
    versions = [(registered(2), True), (registered(1), False)]
    bundle = mcsd.history(
        BASE, "Endpoint", mcsd.with_methods(versions), 2, {"self": f"{BASE}/Endpoint/_history"}
    )
    Bundle.model_validate(bundle)
    gone, made = bundle["entry"]
    assert "resource" not in gone
    assert gone["request"] == {"method": "DELETE", "url": "Endpoint/bre"}
    assert made["request"] == {"method": "POST", "url": "Endpoint"}
    assert made["response"] == {"status": "201", "etag": 'W/"1"', "lastModified": AT}


def test_an_empty_searchset_has_no_entry() -> None:
    bundle = mcsd.searchset(BASE, [], 0, {"self": BASE})
    Bundle.model_validate(bundle)
    assert "entry" not in bundle


def test_the_statement_names_what_can_be_searched() -> None:
    statement = mcsd.capability_statement(BASE, "1.0")
    CapabilityStatement.model_validate(statement)
    for resource in statement["rest"][0]["resource"]:
        assert {one["name"] for one in resource["searchParam"]} == set(mcsd.PARAMETERS[resource["type"]])


def test_what_was_learnt_does_not_change_the_view() -> None:
    from registry.model import Skills

    plain = registered()
    learnt = msgspec.structs.replace(plain, skills=Skills(formats=("xml",)))
    assert mcsd.endpoint(plain) == mcsd.endpoint(learnt)
    assert mcsd.organization(plain) == mcsd.organization(learnt)
