"""OAuth 2.0 client credentials towards managers: real token endpoints, real managers, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.clock import SystemClock
from adapters.credentials import tokens
from adapters.manager_http import HttpManagerClient
from broker.errors import FailureKind, ManagerError
from broker.ports import ManagerRequest
from registry.model import Gestionnaire, TokenAuth
from tests.support.certificates import Authority
from tests.support.issuer import ec_key, rsa_key
from tests.support.scripted_manager import Faults, ScriptedManager, scripted_manager
from tests.support.token_endpoint import FAILURES, TokenEndpoint, token_endpoint

READ = ManagerRequest("GET", "CareTeam")
SECRET = "s3cret:é+ %/and more"
ENV = {"SECRET": SECRET}


@pytest.fixture
async def client() -> AsyncIterator[HttpManagerClient]:
    client = HttpManagerClient(SystemClock(), environ=ENV)
    yield client
    await client.aclose()


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    async with token_endpoint() as one:
        yield one


@pytest.fixture
async def manager(endpoint: TokenEndpoint) -> AsyncIterator[ScriptedManager]:
    async with scripted_manager() as one:
        one.replies["CareTeam"] = endpoint.guards
        yield one


def registered(
    manager: ScriptedManager, endpoint: TokenEndpoint, slug: str = "bre", **auth: Any
) -> Gestionnaire:
    return manager.gestionnaire(slug, auth=endpoint.auth(**({"client_secret_env": "SECRET"} | auth)))


async def failure(client: HttpManagerClient, who: Gestionnaire, seconds: float = 5.0) -> ManagerError:
    with pytest.raises(ManagerError) as caught:
        await client.send(who, READ, timeout=seconds)
    return caught.value


def pem(key: Any, path: Path) -> str:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(path)


# --- how the broker says who it is


async def test_a_secret_goes_in_a_header(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager
) -> None:
    assert (await client.send(registered(manager, endpoint), READ, timeout=5)).status == 200
    (asked,) = endpoint.asked
    scheme, _, pair = asked.authorization.partition(" ")
    user, _, secret = base64.b64decode(pair).decode().partition(":")
    assert (scheme, unquote_plus(user), unquote_plus(secret)) == ("Basic", "broker", SECRET)
    assert asked.form == {"grant_type": "client_credentials", "scope": "system/CareTeam.rs"}
    assert manager.requests[0].headers["authorization"] == "Bearer token-1"


async def test_a_secret_goes_in_the_form(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    given = {"client_secret_env": None, "client_secret_file": str(tmp_path / "secret")}
    who = registered(manager, endpoint, token_auth=TokenAuth.POST, resource="https://m.example/fhir", **given)
    assert (await client.send(who, READ, timeout=5)).status == 200
    (asked,) = endpoint.asked
    assert asked.authorization == ""
    assert asked.form["client_id"] == "broker"
    assert asked.form["client_secret"] == SECRET
    assert asked.form["resource"] == "https://m.example/fhir"


@pytest.mark.parametrize(
    ("key", "given", "alg"),
    [
        (rsa_key("assertion"), None, "RS256"),
        (rsa_key("assertion"), "PS384", "PS384"),
        (ec_key(), None, "ES256"),
        (ec_key(ec.SECP384R1()), None, "ES384"),
    ],
    ids=["RS256", "PS384", "ES256", "ES384"],
)
async def test_an_assertion_is_signed(
    client: HttpManagerClient,
    endpoint: TokenEndpoint,
    manager: ScriptedManager,
    tmp_path: Path,
    key: Any,
    given: str | None,
    alg: str,
) -> None:
    file = pem(key, tmp_path / "key.pem")
    endpoint.seconds = 1  # so that a second request asks anew, with another assertion
    more = {"assertion_key_file": file, "assertion_kid": "k-7", "assertion_alg": given}
    who = registered(manager, endpoint, client_secret_env=None, **more)
    assert (await client.send(who, READ, timeout=5)).status == 200
    endpoint.revoke_all()
    assert (await client.send(who, READ, timeout=5)).status == 200
    read = []
    for asked in endpoint.asked[:2]:
        assert asked.form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        token = asked.form["client_assertion"]
        assert jwt.get_unverified_header(token) == {"alg": alg, "kid": "k-7", "typ": "JWT"}
        options: Any = {"require": ["exp", "iat", "jti"]}
        read.append(jwt.decode(token, key.public_key(), [alg], options, audience=endpoint.url))
    assert all(one["iss"] == one["sub"] == "broker" for one in read)
    assert all(0 < one["exp"] - time.time() <= 60 for one in read)
    assert read[0]["jti"] != read[1]["jti"]


async def test_a_client_certificate_is_shown_to_both(client: HttpManagerClient, tmp_path: Path) -> None:
    """RFC 8705, section 2.1; the token endpoint is of an authority of its own."""
    private, idp = Authority("managers"), Authority("tokens")
    ca, idp_ca = private.written(tmp_path / "ca.pem"), idp.written(tmp_path / "idp-ca.pem")
    certificate = private.client("the-broker").written(tmp_path / "client.pem")
    contexts = [
        _serving(one.server().written(tmp_path / f"{number}.pem"), ca)
        for number, one in enumerate((private, idp))
    ]
    async with token_endpoint(contexts[1]) as endpoint, scripted_manager(tls=contexts[0]) as manager:
        manager.replies["CareTeam"] = endpoint.guards
        auth = endpoint.auth(cert_file=str(certificate), token_tls_ca=str(idp_ca))
        who = manager.gestionnaire(auth=auth, tls_ca=str(ca))
        assert (await client.send(who, READ, timeout=5)).status == 200
        (asked,) = endpoint.asked
        assert (asked.certificate, asked.form["client_id"]) == ("the-broker", "broker")
        # Of another authority than the one it names, the endpoint is not spoken to.
        other = manager.gestionnaire("b", auth=endpoint.auth(cert_file=str(certificate)), tls_ca=str(ca))
        refused = await failure(client, other)
        assert (refused.kind, refused.sent) == (FailureKind.CREDENTIALS, False)
        assert len(endpoint.asked) == 1


def _serving(file: Path, clients: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients))
    context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


# --- one token for all


async def test_one_token_serves_many_requests_and_is_fetched_once_for_all_who_wait(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager
) -> None:
    who = registered(manager, endpoint)
    answers = await asyncio.gather(*(client.send(who, READ, timeout=5) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len(endpoint.asked) == 1
    other = registered(manager, endpoint, "nor")
    await client.send(other, READ, timeout=5)
    assert len(endpoint.asked) == 2, "a manager has a token of its own"


async def test_who_leaves_does_not_end_the_fetch_of_the_others(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager
) -> None:
    who = registered(manager, endpoint)
    endpoint.gate.clear()
    impatient = await failure(client, who, seconds=0.1)
    assert (impatient.kind, impatient.sent) == (FailureKind.CREDENTIALS, False)
    assert impatient.params["detail"] == "auth.token_url: timeout"
    gone = asyncio.create_task(client.send(who, READ, timeout=5))
    patient = asyncio.create_task(client.send(who, READ, timeout=5))
    await asyncio.sleep(0)
    gone.cancel()
    endpoint.gate.set()
    assert (await patient).status == 200
    assert len(endpoint.asked) == 1
    assert [one.path for one in manager.requests] == ["CareTeam"]


async def test_a_refused_token_is_replaced_once(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager
) -> None:
    who = registered(manager, endpoint)
    await client.send(who, READ, timeout=5)
    endpoint.revoke_all()
    answers = await asyncio.gather(*(client.send(who, READ, timeout=5) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert endpoint.issued == ["token-1", "token-2"], "one for all who were refused"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_manager_that_refuses_every_token_is_told_to_refuse(
    client: HttpManagerClient, endpoint: TokenEndpoint, method: str
) -> None:
    """401 says that nothing was done: a write may be sent again as well. Its token endpoint is not asked at each request."""
    async with scripted_manager(faults=Faults(status=401)) as manager:
        who = registered(manager, endpoint)
        request = ManagerRequest(method, "CareTeam", body=b"{}" if method == "POST" else None)
        for _ in range(5):
            assert (await client.send(who, request, timeout=5)).status == 401
        assert len(endpoint.asked) == 2
        assert len(manager.requests) == 6
        assert {one.body for one in manager.requests} == ({b"{}"} if method == "POST" else {b""})


async def test_other_refusals_are_no_reason_for_another_token(
    client: HttpManagerClient, endpoint: TokenEndpoint
) -> None:
    async with scripted_manager(faults=Faults(status=403)) as manager:
        assert (await client.send(registered(manager, endpoint), READ, timeout=5)).status == 403
        assert (len(endpoint.asked), len(manager.requests)) == (1, 1)


async def test_tokens_are_renewed_before_they_expire_and_no_request_fails(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager
) -> None:
    """Tokens of a second, under load for more than two: each is replaced behind the requests."""
    endpoint.seconds = 1
    who = registered(manager, endpoint)
    end, statuses = time.monotonic() + 2.2, []

    async def load() -> None:
        while time.monotonic() < end:
            statuses.append((await client.send(who, READ, timeout=5)).status)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(load() for _ in range(4)))
    assert set(statuses) == {200}
    assert 3 <= len(endpoint.issued) <= 5
    assert endpoint.most_in_flight == 1


# --- what can go wrong


@pytest.mark.parametrize("mode", FAILURES)
async def test_a_token_endpoint_that_fails_harms_its_manager_alone(
    endpoint: TokenEndpoint,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tokens, "FETCH_SECONDS", 0.5)
    caplog.set_level(logging.DEBUG)
    endpoint.mode = mode
    client = HttpManagerClient(SystemClock(), environ=ENV)
    async with scripted_manager() as broken, scripted_manager() as well:
        try:
            bad, good = registered(broken, endpoint, "bad"), well.gestionnaire("good")
            started = time.monotonic()
            error, answer = await asyncio.gather(failure(client, bad), client.send(good, READ, timeout=5))
            assert time.monotonic() - started < 2.5
            assert (error.kind, error.sent, answer.status) == (FailureKind.CREDENTIALS, False, 200)
            detail = str(error.params["detail"])
            assert detail.startswith(f"auth.token_url: {FAILURES[mode]}")
            assert broken.requests == [], "nothing is sent without a token"
            told = str(error) + repr(error.params) + caplog.text
            assert "s3cret" not in told
            assert endpoint.url not in caplog.text
            assert "no access token" in caplog.text

            # From now on it costs next to nothing, and is not asked at each request.
            started = time.monotonic()
            again = await failure(client, bad)
            assert time.monotonic() - started < 0.5
            assert (again.kind, again.params["detail"]) == (error.kind, detail)
            assert len(endpoint.asked) == 1
        finally:
            await client.aclose()


async def test_a_token_endpoint_that_comes_back_is_found(
    client: HttpManagerClient,
    endpoint: TokenEndpoint,
    manager: ScriptedManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "_FIRST_PAUSE", 0.05)
    who = registered(manager, endpoint)
    endpoint.mode = "down"
    await failure(client, who)
    endpoint.mode = "ok"
    await asyncio.sleep(0.06)  # the pause between tries, which no request may shorten
    assert (await client.send(who, READ, timeout=5)).status == 200


async def test_an_endpoint_that_is_not_there(client: HttpManagerClient, manager: ScriptedManager) -> None:
    async with token_endpoint() as gone:
        who = registered(manager, gone)
    error = await failure(client, who)
    assert (error.kind, error.sent) == (FailureKind.CREDENTIALS, False)
    assert str(error.params["detail"]).startswith("auth.token_url: unreachable")


async def test_a_good_token_outlives_its_endpoint(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager
) -> None:
    """Renewed behind at four fifths of its life; that this fails is no reason not to use what is still good."""
    endpoint.seconds = 3
    who = registered(manager, endpoint)
    assert (await client.send(who, READ, timeout=5)).status == 200
    endpoint.mode = "down"
    end = time.monotonic() + 2.6
    while len(endpoint.asked) < 2:
        assert time.monotonic() < end
        assert (await client.send(who, READ, timeout=5)).status == 200
        await asyncio.sleep(0.02)
    assert (await client.send(who, READ, timeout=5)).status == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"expires_in": "3600"}, 200),
        ({"expires_in": None}, 200),
        ({"expires_in": 1e300}, 200),
        ({"token_type": "bearer"}, 200),
        ({"refresh_token": "x", "unknown": [1, {}]}, 200),
    ],
)
async def test_what_answers_may_look_like(
    client: HttpManagerClient, endpoint: TokenEndpoint, manager: ScriptedManager, changes: Any, status: int
) -> None:
    endpoint.answer = changes
    assert (await client.send(registered(manager, endpoint), READ, timeout=5)).status == status


async def test_closing_ends_a_fetch(endpoint: TokenEndpoint, manager: ScriptedManager) -> None:
    endpoint.gate.clear()
    client = HttpManagerClient(SystemClock(), environ=ENV)
    await failure(client, registered(manager, endpoint), seconds=0.1)
    before = {task for task in asyncio.all_tasks() if task.get_name().startswith("token of")}
    assert len(before) == 1
    await client.aclose()
    assert all(task.done() for task in before)
