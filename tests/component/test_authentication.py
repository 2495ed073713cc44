"""Who asks, over real HTTP and with a real issuer: every way to forge a token, and what an honest one is answered."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from broker.access.authenticator import Presented
from tests.support.federation import Answered
from tests.support.forged import FORGED, NO_TOKEN_AT_ALL
from tests.support.issuer import Issuer, ec_key, issuer, rsa_key
from tests.support.secured import GUARDED, Secured, clients_file, secured
from tests.support.valkey import Valkey

NOW = time.time


@pytest.fixture
async def one() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


@pytest.fixture
async def broker(valkey: Valkey, one: Issuer) -> AsyncIterator[Secured]:
    async with secured(valkey, one) as made:
        yield made


def key_of(answer: Answered) -> str:
    """Which row of the table of texts an answer tells of."""
    document = answer.json
    if document.get("resourceType") == "OperationOutcome":
        return str(document["issue"][0]["details"]["coding"][0]["code"])
    return str(document["type"]).rpartition("#")[2]


async def test_an_honest_token_is_taken(broker: Secured, one: Issuer) -> None:
    assert (await broker.get(one.token())).status == 200
    assert (await broker.get(one.token(aud=["https://else.example", one.claims()["aud"]]))).status == 200
    lower = [("Authorization", f"bearer {one.token()}")]
    assert (await broker.get(headers=lower)).status == 200


@pytest.mark.parametrize("alg", ["PS256", "ES256", "ES384"])
async def test_the_other_usual_algorithms_are_taken(broker: Secured, one: Issuer, alg: str) -> None:
    key = rsa_key("ps") if alg == "PS256" else ec_key(ec.SECP256R1() if alg == "ES256" else ec.SECP384R1())
    one.publish("other", key, alg)
    assert (await broker.get(one.token(kid="other"))).status == 200


@pytest.mark.parametrize("target", ["health/live", "health/ready", "fhir/metadata", "registry/problems"])
async def test_what_is_open_takes_no_token_and_looks_at_none(broker: Secured, target: str) -> None:
    assert (await broker.get(target=target)).status == 200
    assert (await broker.get("nonsense", target)).status == 200


@pytest.mark.parametrize(
    "target",
    ["fhir/CareTeam", "fhir/CareTeam/bre.1", GUARDED, "registry/fhir/Endpoint", "metrics", "nowhere", ""],
)
async def test_without_a_token_nothing_else_is_answered(broker: Secured, target: str) -> None:
    answer = await broker.get(target=target)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="cds-broker"'
    assert key_of(answer) == "access.missing"
    assert answer.headers["X-Request-Id"]


async def test_another_scheme_is_no_token(broker: Secured) -> None:
    answer = await broker.get(headers=[("Authorization", "Basic YTpi")])
    assert (answer.status, key_of(answer)) == (401, "access.missing")


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_refused(
    broker: Secured, one: Issuer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    assert (await broker.get(one.token())).status == 200, "the broker has the keys"
    made, key = FORGED[name]
    token = made(one)
    for target in (GUARDED, "fhir/CareTeam"):
        answer = await broker.get(token, target)
        assert (answer.status, key_of(answer)) == (401, key)
        challenge = answer.headers["WWW-Authenticate"]
        error = "invalid_request" if name in NO_TOKEN_AT_ALL else "invalid_token"
        assert challenge.startswith(f'Bearer realm="cds-broker", error="{error}", error_description="')
        told = answer.body.decode() + challenge + caplog.text
        assert not any(len(part) > 8 and part in told for part in re.split("[. ]", token))


async def test_a_token_in_the_address_is_refused_whatever_else_is_sent(
    broker: Secured, one: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "broker")
    token = one.token()
    for target in (f"fhir/CareTeam?access_token={token}", f"fhir/CareTeam?x=1&access%5Ftoken={token}"):
        for sent in (None, token):
            answer = await broker.get(sent, target)
            assert (answer.status, key_of(answer)) == (401, "access.several")
            assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]
            assert token not in answer.body.decode()
    assert token not in "".join(record.getMessage() for record in caplog.records if record.name != "asyncio")


async def test_two_authorization_headers_are_refused(broker: Secured, one: Issuer) -> None:
    good = ("Authorization", f"Bearer {one.token()}")
    answer = await broker.get(headers=[good, ("Authorization", "Bearer other")])
    assert (answer.status, key_of(answer)) == (401, "access.several")
    assert (await broker.get(headers=[good, good])).status == 401


async def test_a_token_may_be_used_often_and_once_where_it_is_so_set(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one) as broker:
        token = one.token(jti="1")
        assert [(await broker.get(token)).status for _ in range(2)] == [200, 200]
    async with (
        secured(valkey, one, oidc_jti="once") as first,
        secured(valkey, one, oidc_jti="once") as second,
    ):
        token = one.token(jti="1")
        assert (await first.get(token)).status == 200
        for broker in (first, second):
            answer = await broker.get(token)
            assert (answer.status, key_of(answer)) == (401, "access.replayed"), "on every node"
        again = one.token(jti="1", exp=int(NOW()) + 200)
        assert key_of(await first.get(again)) == "access.replayed", "another token of the same name"
        assert key_of(await first.get(one.token())) == "access.claim"
        assert (await first.get(one.token(jti="2"))).status == 200


async def test_unbound_tokens_are_refused_where_it_is_so_set(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one, oidc_bound=True, trusted_proxies="192.0.2.1") as broker:
        answer = await broker.get(one.token())
        assert (answer.status, key_of(answer)) == (401, "access.unbound")


async def test_clocks_may_differ_a_little(broker: Secured, one: Issuer) -> None:
    assert (await broker.get(one.token(exp=int(NOW()) - 5))).status == 200
    assert (await broker.get(one.token(iat=int(NOW()) + 5, nbf=int(NOW()) + 5))).status == 200


async def test_a_token_that_was_good_ends_when_it_expires(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one, oidc_leeway=0) as broker:
        token = one.token(exp=NOW() + 1.0)
        assert (await broker.get(token)).status == 200
        while NOW() < json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["exp"]:
            await broker.get(token)
        answer = await broker.get(token)
        assert (answer.status, key_of(answer)) == (401, "access.expired")


async def test_a_client_that_the_directory_does_not_name_is_refused(
    valkey: Valkey, one: Issuer, tmp_path: Path
) -> None:
    path = clients_file(tmp_path / "c.toml", '[[client]]\nid = "dmp"\nmanagers = ["bre"]\n')
    async with secured(valkey, one, clients=path) as broker:
        token = one.token()
        assert (await broker.get(token)).status == 200
        stranger = await broker.get(one.token(client_id="stranger"))
        assert (stranger.status, key_of(stranger)) == (403, "access.unknown-client")
        clients_file(path, '[[client]]\nid = "other"\n')
        await broker.running.access.reread()
        assert (await broker.get(token)).status == 403, "also who was recognised before"


async def test_metrics_may_be_opened(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one, metrics_open=True) as broker:
        assert (await broker.get(target="metrics")).status == 200
        assert (await broker.get(target=GUARDED)).status == 401


async def test_the_digest_of_a_token_is_all_that_is_kept(broker: Secured, one: Issuer) -> None:
    token = one.token()
    await broker.get(token)
    kept: Any = broker.running.access.authenticator
    assert list(kept._kept) == [hashlib.sha256(token.encode()).digest()]
    assert token not in repr(kept)


async def test_what_a_known_token_costs(
    broker: Secured, one: Issuer, record_property: Callable[[str, object], None]
) -> None:
    """CPU of recognising a client by a token that was seen before; told in the report, for it depends on the machine."""
    presented, rounds = Presented(f"Bearer {one.token()}"), 2_000
    authenticator = broker.running.access.authenticator
    known = await authenticator.principal(presented)
    began = time.process_time()
    for _ in range(rounds):
        assert await authenticator.principal(presented) is known
    record_property("microseconds of CPU per request", round((time.process_time() - began) / rounds * 1e6, 1))
