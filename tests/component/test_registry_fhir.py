"""The registry as FHIR over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.operationoutcome import OperationOutcome

from tests.support.fake_stores import FakeGestionnaireStore, ManualClock
from tests.support.gestionnaires import gestionnaire
from tests.support.registry_app import RegistryApp, registry_app

FHIR = "/registry/fhir"


@pytest.fixture
async def api() -> AsyncIterator[RegistryApp]:
    clock = ManualClock()
    store = FakeGestionnaireStore(clock)
    await store.put(gestionnaire("bre", organization="350000001"))
    clock.advance(86_400)
    await store.put(gestionnaire("idf", name="Île-de-France e-santé", region="11"))
    clock.advance(86_400)
    await store.put(gestionnaire("idf", name="Île-de-France e-santé", region="11", status="suspended"))
    clock.advance(86_400)
    await store.put(gestionnaire("old"))
    clock.advance(86_400)
    await store.remove("old")
    async with registry_app(store, clock=clock) as running:
        yield running


async def ids(api: RegistryApp, query: str) -> list[str]:
    status, bundle, headers = await api.ask("GET", f"{FHIR}/{query}")
    assert (status, headers["Content-Type"]) == (200, "application/fhir+json; charset=utf-8")
    Bundle.model_validate(bundle)
    assert bundle["total"] == len(bundle.get("entry", []))
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Organization", ["bre", "idf"]),
        ("Endpoint", ["bre", "idf"]),
        ("Organization?_id=bre", ["bre"]),
        ("Organization?_id=bre,idf,xyz", ["bre", "idf"]),
        ("Organization?_id=old", []),
        ("Organization?identifier=350000001", ["bre"]),
        ("Organization?identifier=https://finess.esante.gouv.fr|350000001", ["bre"]),
        ("Organization?identifier=https://sirene.fr|350000001", []),
        ("Organization?name=ile-de", ["idf"]),
        ("Organization?name:exact=ile-de", []),
        ("Organization?name:contains=BRETAGNE", ["bre"]),
        ("Organization?_tag=11", ["idf"]),
        ("Organization?_lastUpdated=gt2026-01-01", ["idf"]),
        ("Organization?_lastUpdated=2026-01-01", ["bre"]),
        ("Organization?_id=bre&name=ile", []),
        ("Organization?favourite-colour=red", ["bre", "idf"]),
        ("Endpoint?status=suspended", ["idf"]),
        ("Endpoint?status:not=suspended", ["bre"]),
        ("Endpoint?organization=Organization/bre", ["bre"]),
    ],
)
async def test_search(api: RegistryApp, query: str, found: list[str]) -> None:
    assert await ids(api, query) == found


async def test_self_carries_what_was_used(api: RegistryApp) -> None:
    _, bundle, _ = await api.ask("GET", f"{FHIR}/Organization?colour=red&name=gcs")
    assert bundle["link"] == [{"relation": "self", "url": f"{api.url}{FHIR}/Organization?name=gcs"}]
    assert bundle["entry"][0]["fullUrl"] == f"{api.url}{FHIR}/Organization/bre"


@pytest.mark.parametrize("path", ["Organization", "Endpoint/_history"])
async def test_following_next_gives_everything_once(api: RegistryApp, path: str) -> None:
    _, whole, _ = await api.ask("GET", f"{FHIR}/{path}")
    collected: list[Any] = []
    url = f"{FHIR}/{path}?_count=1"
    while url:
        _, page, _ = await api.ask("GET", url)
        assert len(page["entry"]) == 1
        assert page["total"] == whole["total"]
        collected += page["entry"]
        url = next(
            (one["url"].removeprefix(api.url) for one in page["link"] if one["relation"] == "next"), ""
        )
    assert collected == whole["entry"]
    _, none, _ = await api.ask("GET", f"{FHIR}/{path}?_count=0")
    assert (none["total"], none.get("entry"), len(none["link"])) == (whole["total"], None, 1)


async def test_read_and_versions(api: RegistryApp) -> None:
    status, endpoint, headers = await api.ask("GET", f"{FHIR}/Endpoint/idf")
    assert (status, headers["ETag"], endpoint["status"]) == (200, 'W/"2"', "suspended")
    status, first, _ = await api.ask("GET", f"{FHIR}/Endpoint/idf/_history/1")
    assert (status, first["status"], first["meta"]["versionId"]) == (200, "active", "1")
    _, bundle, _ = await api.ask("GET", f"{FHIR}/Endpoint/idf/_history")
    Bundle.model_validate(bundle)
    assert [entry["request"]["method"] for entry in bundle["entry"]] == ["PUT", "POST"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("Organization/xyz", 404, "request.not-found"),
        ("Organization/xyz/_history", 404, "request.not-found"),
        ("Organization/bre/_history/9", 404, "request.not-found"),
        ("Organization/old", 410, "request.deleted"),
        ("Organization/old/_history/2", 410, "request.deleted"),
        ("Organization?_lastUpdated=soon", 400, "request.bad-value"),
        ("Organization?name:phonetic=x", 400, "request.unknown-modifier"),
        ("Organization?_count=-1", 400, "request.bad-value"),
        ("Organization/_history?_since=soon", 400, "request.bad-value"),
        ("Organization?_format=xml", 406, "registry.format"),
    ],
)
async def test_errors_are_outcomes(api: RegistryApp, path: str, status: int, code: str) -> None:
    got, outcome, headers = await api.ask("GET", f"{FHIR}/{path}")
    assert (got, headers["Content-Type"]) == (status, "application/fhir+json; charset=utf-8")
    OperationOutcome.model_validate(outcome)
    assert outcome["issue"][0]["details"]["coding"][0]["code"] == code


async def test_strict_handling_refuses_what_is_not_known(api: RegistryApp) -> None:
    strict = {"Prefer": "handling=strict"}
    status, outcome, _ = await api.ask("GET", f"{FHIR}/Organization?colour=red", headers=strict)
    assert (status, outcome["issue"][0]["details"]["coding"][0]["code"]) == (400, "request.unknown-parameter")
    assert (await api.ask("GET", f"{FHIR}/Organization?name=gcs&_count=1", headers=strict))[0] == 200


async def test_the_whole_history_is_newest_first(api: RegistryApp) -> None:
    _, bundle, _ = await api.ask("GET", f"{FHIR}/Organization/_history")
    Bundle.model_validate(bundle)
    told = [(entry["request"]["method"], entry["fullUrl"].rpartition("/")[2]) for entry in bundle["entry"]]
    assert told == [("DELETE", "old"), ("POST", "old"), ("PUT", "idf"), ("POST", "idf"), ("POST", "bre")]
    _, since, _ = await api.ask("GET", f"{FHIR}/Organization/_history?_since=2026-01-03T00:00:00Z")
    assert since["entry"] == bundle["entry"][:3]
    assert since["total"] == 3


async def test_metadata(api: RegistryApp) -> None:
    status, statement, _ = await api.ask("GET", f"{FHIR}/metadata")
    assert (status, statement["kind"], statement["fhirVersion"]) == (200, "instance", "4.0.1")
    for resource in statement["rest"][0]["resource"]:
        for parameter in resource["searchParam"]:
            name = parameter["name"]
            value = "2026" if parameter["type"] == "date" else "bre"
            strict = {"Prefer": "handling=strict"}
            status, _, _ = await api.ask("GET", f"{FHIR}/{resource['type']}?{name}={value}", headers=strict)
            assert status == 200


async def test_it_is_read_only(api: RegistryApp) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, outcome, headers = await api.ask(method, f"{FHIR}/Organization/bre")
        assert (status, outcome["resourceType"]) == (405, "OperationOutcome")
        assert headers["Allow"] == "GET, HEAD"


async def test_unknown_addresses_are_outcomes(api: RegistryApp) -> None:
    status, outcome, _ = await api.ask("GET", f"{FHIR}/Patient")
    assert (status, outcome["resourceType"]) == (404, "OperationOutcome")
