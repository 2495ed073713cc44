"""What a client is told about how it is recognised: in the CapabilityStatement, and as SMART configuration."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement

from broker.core.access.described import scopes_supported
from broker.core.access.principal import EVERYTHING, Permission, Role
from broker.core.access.scopes import meaningless, parse_scopes
from tests.support.audited import client, events
from tests.support.issuer import Issuer, issuer
from tests.support.secured import Secured, clients_file, secured
from tests.support.valkey import Valkey
from tests.support.waiting import until

CONFIGURATION = "fhir/.well-known/smart-configuration"
TOLD = {
    "token_endpoint": "https://issuer.example/token",
    "authorization_endpoint": "https://issuer.example/authorize",
    "introspection_endpoint": "https://issuer.example/introspect",
    "grant_types_supported": ["client_credentials", "authorization_code"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth"],
}


@pytest.fixture
async def one() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        made.told = dict(TOLD)
        yield made


async def security(broker: Secured) -> dict[str, Any]:
    statement = (await broker.get(target="fhir/metadata")).json
    CapabilityStatement.model_validate_json(json.dumps(statement))
    found: dict[str, Any] = statement["rest"][0]["security"]
    assert found["cors"] is False
    assert found["description"]
    (english,) = found["_description"]["extension"]
    assert english["extension"][1]["valueString"]
    return found


def services(of: dict[str, Any]) -> list[str]:
    return [one["coding"][0]["code"] for one in of.get("service", ())]


async def configuration(broker: Secured) -> dict[str, Any]:
    answer = await broker.get(target=CONFIGURATION)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    return answer.json


async def known(broker: Secured, one: Issuer) -> None:
    """The broker has asked its issuer."""
    assert (await broker.get(one.token())).status == 200


async def test_what_the_issuer_says_is_passed_on(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one) as broker:
        await known(broker, one)
        told = await configuration(broker)
        scopes = told.pop("scopes_supported")
        assert told == {
            "issuer": one.url,
            "jwks_uri": f"{one.url}/keys",
            **TOLD,
            "capabilities": [
                "permission-v1",
                "permission-v2",
                "permission-user",
                "client-confidential-asymmetric",
            ],
        }
        assert {"system/CareTeam.crus", "user/Subscription.cruds", "cds/registry.read"} <= set(scopes)
        assert meaningless(scopes) == []
        found = await security(broker)
        assert services(found) == ["SMART-on-FHIR"]
        (uris,) = found["extension"]
        assert {part["url"]: part["valueUri"] for part in uris["extension"]} == {
            "token": TOLD["token_endpoint"],
            "authorize": TOLD["authorization_endpoint"],
            "introspect": TOLD["introspection_endpoint"],
        }


def test_the_scopes_that_are_told_are_all_that_there_are() -> None:
    granted = parse_scopes(scopes_supported(), user=True)
    letters = {one for found in granted.fhir.values() for one in found}
    assert letters == set(Permission)
    assert EVERYTHING.roles - granted.roles <= {Role.CONSOLE}


@pytest.mark.parametrize(
    ("odd", "left"),
    [
        ({"token_endpoint": "javascript:alert(1)"}, {"authorization_endpoint", "grant_types_supported"}),
        ({"token_endpoint": "https://a b"}, {"authorization_endpoint", "grant_types_supported"}),
        ({"token_endpoint": 5}, set()),
        ({"grant_types_supported": "all"}, set()),
    ],
)
async def test_an_odd_document_costs_what_it_says_and_not_the_keys(
    valkey: Valkey, one: Issuer, odd: dict[str, Any], left: set[str]
) -> None:
    one.told |= odd
    async with secured(valkey, one) as broker:
        await known(broker, one)
        told = await configuration(broker)
        assert told["jwks_uri"] == f"{one.url}/keys"
        assert "token_endpoint" not in told
        assert told.keys() & {"authorization_endpoint", "grant_types_supported"} == left
        assert "extension" not in await security(broker)


async def test_without_discovery_what_is_known_is_told(valkey: Valkey, one: Issuer) -> None:
    async with secured(
        valkey, one, oidc_jwks_url=f"{one.url}/keys", oidc_bound=True, trusted_proxies="192.0.2.1"
    ) as broker:
        told = await configuration(broker)
        assert told.keys() == {"issuer", "jwks_uri", "scopes_supported", "capabilities"}
        found = await security(broker)
        assert services(found) == ["SMART-on-FHIR", "Certificates"]
        assert "extension" not in found


async def test_an_issuer_that_comes_later_is_told_of_then(valkey: Valkey, one: Issuer) -> None:
    one.mode = "down"
    async with secured(valkey, one) as broker:
        assert "token_endpoint" not in await configuration(broker)
        one.mode = "ok"

        async def told() -> bool:
            return "token_endpoint" in await configuration(broker)

        await until(told)


async def test_where_no_tokens_are_taken_there_is_no_configuration(valkey: Valkey, tmp_path: Path) -> None:
    path = clients_file(tmp_path / "c.toml", '[[client]]\nid = "dmp"\ncertificate_subject = "CN=dmp"\n')
    for auth, mode, offered in (("none", {}, []), ("mtls", {"clients": path}, ["Certificates"])):
        settings: dict[str, Any] = {"auth": auth, **mode} | (
            {"trusted_proxies": "192.0.2.1"} if auth == "mtls" else {}
        )
        async with secured(valkey, **settings) as broker:
            answer = await broker.get(target=CONFIGURATION)
            assert (answer.status, answer.json["resourceType"]) == (404, "OperationOutcome")
            found = await security(broker)
            assert services(found) == offered
            assert "extension" not in found


async def test_to_what_end_and_by_whom_stands_in_the_trail(
    valkey: Valkey, one: Issuer, tmp_path: Path
) -> None:
    treating = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}
    async with secured(valkey, one, audit="file", data_dir=tmp_path) as broker:
        token = one.token(
            act={"sub": "dmp"},
            sub="f:1:doctor",
            idNat="810002909371",
            extensions={"ihe_iua": {"purpose_of_use": [treating]}},
        )
        assert (await broker.get(token)).status == 200
        (event,) = events(tmp_path / "audit")
        assert event["purposeOfEvent"] == [{"coding": [treating]}]
        assert client(event) == "dmp"
        who = {"system": "https://rpps.esante.gouv.fr", "value": "10002909371"}
        assert event["agent"][2]["who"]["identifier"] == who
        assert event["agent"][2]["altId"] == f"{one.url}|f:1:doctor"
