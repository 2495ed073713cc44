"""For whom the broker asks, told to managers that want to know: a JWT that the manager verifies."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker.core.access.principal import BROKER, Method, Principal, User
from broker.core.preferences import Preferences
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.manager_calls import ManagerCalls
from broker.ports import ManagerRequest
from registry.model import Gestionnaire, Identity, Skills
from tests.support.issuer import ec_key, rsa_key
from tests.support.scripted_manager import Received, ScriptedManager, scripted_manager

AUDIENCE = "https://cds.bretagne.example/fhir"
ISSUER = "https://broker.example/fhir"
USER = User("https://psc.example", "f:550e8400", "810100000001", "Camille Essai")
CLIENT = Principal("dmp", Method.TOKEN, user=USER)


@pytest.fixture
async def client() -> AsyncIterator[HttpManagerClient]:
    client = HttpManagerClient(SystemClock(), issuer=ISSUER)
    yield client
    await client.aclose()


@pytest.fixture
async def manager() -> AsyncIterator[ScriptedManager]:
    async with scripted_manager() as one:
        yield one


def written(key: Any, path: Path) -> str:
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return str(path)


def context(principal: Principal, request_id: str = "r-1") -> RequestContext:
    clock = SystemClock()
    return RequestContext(
        request_id, principal.caller, "fr", Preferences(), clock.monotonic() + 5, "1.1 x", clock, principal
    )


def calls(client: HttpManagerClient, manager: Gestionnaire) -> ManagerCalls:
    return ManagerCalls(manager, Skills(post_search=True), client)


def verified(received: Received, key: Any, alg: str, header: str = "x-forwarded-identity") -> dict[str, Any]:
    """As a manager would: with the broker's public key, for itself alone."""
    token = received.headers[header]
    options: Any = {"require": ["exp", "iat", "jti", "aud", "iss", "sub"]}
    return jwt.decode(token, key.public_key(), [alg], options, audience=AUDIENCE, issuer=ISSUER)


@pytest.mark.parametrize(
    ("key", "alg"), [(ec_key(), "ES256"), (rsa_key("identity"), "RS256")], ids=["ES", "RS"]
)
async def test_the_manager_is_told_for_whom_it_is_asked(
    client: HttpManagerClient, manager: ScriptedManager, tmp_path: Path, key: Any, alg: str
) -> None:
    file = written(key, tmp_path / "key.pem")
    identity = Identity(AUDIENCE, key_file=file, kid="k1", purpose="COC")
    who = manager.gestionnaire(identity=identity)
    await calls(client, who).search("CareTeam", [("status", "active")], context(CLIENT))
    await calls(client, who).get("CareTeam/c1", context(CLIENT, "r-2"))
    first, second = (verified(received, key, alg) for received in manager.requests)
    assert jwt.get_unverified_header(manager.requests[0].headers["x-forwarded-identity"])["kid"] == "k1"
    assert (first["client_id"], first["sub"], first["request_id"]) == ("dmp", USER.subject, "r-1")
    assert first["sub_id"] == {"format": "iss_sub", "iss": USER.issuer, "sub": USER.subject}
    assert first["extensions"]["ihe_iua"] == {
        "subject_name": "Camille Essai",
        "national_provider_identifier": "810100000001",
        "purpose_of_use": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "COC"}],
    }
    assert 0 < first["exp"] - time.time() <= 60
    assert second["request_id"] == "r-2"
    assert first["jti"] != second["jti"]


async def test_a_client_without_a_user_and_the_broker_itself(
    client: HttpManagerClient, manager: ScriptedManager, tmp_path: Path
) -> None:
    key = ec_key()
    identity = Identity(AUDIENCE, key_file=written(key, tmp_path / "key.pem"), purpose="COC", issuer=ISSUER)
    who = manager.gestionnaire(identity=identity)
    await calls(client, who).get("CareTeam/c1", context(Principal("dmp")))
    await calls(client, who).get("CareTeam/c1", context(Principal("dmp")).as_broker())
    await client.send(who, ManagerRequest("GET", "metadata"), timeout=2)  # a probe, a check
    alone, own, probe = (verified(received, key, "ES256") for received in manager.requests)
    assert (alone["sub"], alone["client_id"]) == ("dmp", "dmp")
    assert "sub_id" not in alone
    assert own["client_id"] == probe["client_id"] == BROKER.client
    assert own["extensions"]["ihe_iua"]["purpose_of_use"][0]["code"] == "HSYSADMIN"
    assert "request_id" not in probe


async def test_it_can_be_the_bearer_token_and_nobody_forges_it(
    client: HttpManagerClient, manager: ScriptedManager, tmp_path: Path
) -> None:
    key = ec_key()
    file = written(key, tmp_path / "key.pem")
    bearer = manager.gestionnaire("a", identity=Identity(AUDIENCE, key_file=file, header="Authorization"))
    await calls(client, bearer).get("CareTeam/c1", context(CLIENT))
    scheme, _, token = manager.requests[-1].headers["authorization"].partition(" ")
    claims = jwt.decode(token, key.public_key(), ["ES256"], audience=AUDIENCE)
    assert (scheme, claims["client_id"]) == ("Bearer", "dmp")

    named = manager.gestionnaire("b", identity=Identity(AUDIENCE, key_file=file))
    forged = {"x-forwarded-Identity": "forged"}
    await calls(client, named).get("CareTeam/c1", context(CLIENT), headers=forged)
    assert verified(manager.requests[-1], key, "ES256")["client_id"] == "dmp"


async def test_managers_that_do_not_ask_are_told_nothing(
    client: HttpManagerClient, manager: ScriptedManager
) -> None:
    await calls(client, manager.gestionnaire()).get("CareTeam/c1", context(CLIENT))
    (received,) = manager.requests
    assert "x-forwarded-identity" not in received.headers
    assert "Camille" not in str(received)
    assert "dmp" not in str(received.headers)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----", None])
async def test_without_its_key_nothing_is_sent(
    client: HttpManagerClient, manager: ScriptedManager, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    who = manager.gestionnaire(identity=Identity(AUDIENCE, key_file=str(file)))
    with pytest.raises(ManagerError) as caught:
        await calls(client, who).get("CareTeam/c1", context(CLIENT))
    assert (caught.value.kind, caught.value.sent) == (FailureKind.CREDENTIALS, False)
    assert str(caught.value.params["detail"]).startswith("identity.key_file: ")
    assert manager.requests == []
