"""The issuer comes and goes: keys that are rotated, an issuer that is away, slow or hostile, and introspection."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.access.issuer_http import IssuerError, IssuerHttp
from adapters.access.issuer_keys import IssuerKeys
from adapters.access.signed_tokens import SignedTokens
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.errors import AccessError
from tests.component.test_authentication import key_of
from tests.support.fake_clock import FakeClock
from tests.support.issuer import AUDIENCE, Issuer, issuer, rsa_key
from tests.support.secured import secured
from tests.support.valkey import Valkey
from tests.support.waiting import until


@pytest.fixture
async def one() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[IssuerHttp]:
    made = IssuerHttp(AddressRules(LOOPBACK), seconds=0.3)
    yield made
    await made.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def keys(http: IssuerHttp, one: Issuer, clock: FakeClock) -> AsyncIterator[IssuerKeys]:
    made = IssuerKeys(http, clock, one.url, max_age=3_600)
    yield made
    await made.aclose()


async def refusal(keys: IssuerKeys, kid: str | None = "k1") -> str:
    with pytest.raises(AccessError) as caught:
        await keys.find(kid, "RS256")
    return caught.value.key


# --- keys


async def test_keys_are_fetched_once_however_many_wait_for_them(keys: IssuerKeys, one: Issuer) -> None:
    found = await asyncio.gather(*(keys.find("k1", "RS256") for _ in range(20)))
    assert {key.kid for key in found} == {"k1"}
    assert one.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_forgotten(
    keys: IssuerKeys, one: Issuer, clock: FakeClock
) -> None:
    await keys.find("k1", "RS256")
    one.publish("k2", rsa_key("mine"))
    one.withdraw("k1")
    await clock.advance(11)
    assert (await keys.find("k2", "RS256")).kid == "k2"
    assert await refusal(keys) == "access.signature"


async def test_made_up_names_of_keys_make_nobody_ask_for_each(
    keys: IssuerKeys, one: Issuer, clock: FakeClock
) -> None:
    await keys.find("k1", "RS256")
    for number in range(50):
        assert await refusal(keys, f"made-up-{number}") == "access.signature"
    assert one.asked.count("/keys") == 1
    await clock.advance(11)
    assert await refusal(keys, "made-up") == "access.signature"
    assert one.asked.count("/keys") == 2
    assert (await keys.find("k1", "RS256")).kid == "k1"


async def test_a_key_that_came_just_after_a_look_in_the_background_is_found(
    keys: IssuerKeys, one: Issuer, clock: FakeClock
) -> None:
    running = asyncio.create_task(keys.run())
    try:
        await until(lambda: clock.sleeping == 1)
        one.publish("k2", rsa_key("mine"))
        assert (await keys.find("k2", "RS256")).kid == "k2"
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_keys_are_kept_fresh_in_the_background(keys: IssuerKeys, one: Issuer, clock: FakeClock) -> None:
    running = asyncio.create_task(keys.run())
    try:
        await until(lambda: clock.sleeping == 1)
        one.publish("k2", rsa_key("mine"))
        one.withdraw("k1")
        await clock.advance(301)
        await until(lambda: one.asked.count("/keys") == 2 and clock.sleeping == 1)
        assert await refusal(keys) == "access.signature", "a withdrawn key verifies nothing any more"
        one.mode = "down"
        await clock.advance(301)
        await until(lambda: clock.sleeping == 1)
        assert (await keys.find("k2", "RS256")).kid == "k2", "what is known stays good while nobody answers"
        await clock.advance(4_000)
        assert await refusal(keys, "k2") == "access.keys", "but not for ever"
        one.mode = "ok"
        await clock.advance(31)
        await until(lambda: clock.sleeping == 1)
        assert (await keys.find("k2", "RS256")).kid == "k2"
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_an_unknown_key_of_an_issuer_that_is_away_is_not_called_forged(
    keys: IssuerKeys, one: Issuer, clock: FakeClock
) -> None:
    await keys.find("k1", "RS256")
    one.mode = "down"
    await clock.advance(11)
    assert await refusal(keys, "k2") == "access.keys"
    assert (await keys.find("k1", "RS256")).kid == "k1"


@pytest.mark.parametrize(
    "mode", ["down", "slow", "huge", "redirect", "html", "deep", "other-issuer", "inward"]
)
async def test_an_issuer_that_fails_is_waited_for(
    keys: IssuerKeys, one: Issuer, clock: FakeClock, mode: str
) -> None:
    one.mode = mode
    began = time.monotonic()
    assert await refusal(keys) == "access.keys"
    assert time.monotonic() - began < 3
    asked = len(one.asked)
    assert await refusal(keys) == "access.keys"
    assert len(one.asked) == asked, "not asked again for each request"
    if mode != "slow":
        assert asked == 1, "no redirect followed, no address called that is not permitted"
    one.mode = "ok"
    await clock.advance(11)
    assert (await keys.find("k1", "RS256")).kid == "k1"


async def test_a_token_without_a_name_of_a_key(keys: IssuerKeys, one: Issuer, clock: FakeClock) -> None:
    tokens = SignedTokens(keys, {"RS256"})
    import jwt

    nameless = jwt.encode(one.claims(), rsa_key("k1"), "RS256")
    assert (await tokens.payload(nameless))["client_id"] == "dmp"
    one.publish("k2", rsa_key("mine"))
    await clock.advance(11)
    await refusal(keys, "unknown")
    with pytest.raises(AccessError, match=r"access\.signature"):
        await tokens.payload(nameless)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/keys",
        "https://10.0.0.1/keys",
        "https://169.254.169.254/latest/meta-data",
        "http://issuer.example/keys",
        "https://user:password@127.0.0.1/keys",
        "file:///etc/passwd",
        "keys",
        "",
    ],
)
async def test_what_is_never_called(http: IssuerHttp, url: str) -> None:
    with pytest.raises(IssuerError, match=r"not permitted|not https"):
        await http.get(url)


# --- a whole broker


async def test_a_broker_starts_without_its_issuer_and_serves_once_it_is_there(
    valkey: Valkey, one: Issuer
) -> None:
    one.mode = "down"
    async with secured(valkey, one) as broker:
        answer = await broker.get(one.token())
        assert (answer.status, key_of(answer)) == (503, "access.keys")
        fhir = await broker.get(one.token(), "fhir/CareTeam")
        assert (fhir.status, fhir.headers["Retry-After"]) == (503, "5")
        assert (await broker.get(target="fhir/CareTeam")).status == 401
        assert (await broker.get(target="health/live")).status == 200
        one.mode = "ok"

        async def served() -> bool:
            return (await broker.get(one.token())).status == 200

        await until(served, seconds=10)
        one.mode = "down"
        assert (await broker.get(one.token())).status == 200


async def test_keys_may_be_named_without_discovery(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one, oidc_jwks_url=f"{one.url}/keys") as broker:
        assert (await broker.get(one.token())).status == 200
        assert set(one.asked) == {"/keys"}


async def test_an_issuer_inside_is_not_called_unless_its_network_is_named(
    valkey: Valkey, one: Issuer
) -> None:
    async with secured(valkey, one, oidc_networks="") as broker:
        assert (await broker.get(one.token())).status == 503
        assert one.asked == []


# --- introspection


def introspecting(one: Issuer) -> dict[str, Any]:
    return {
        "oidc_introspection_url": f"{one.url}/introspect",
        "oidc_introspection_client": "the broker",
        "oidc_introspection_secret": "a secret: + %",
    }


def active(**members: Any) -> dict[str, Any]:
    return {"active": True, "aud": AUDIENCE, "client_id": "dmp", "scope": "cds/registry.read"} | members


async def test_an_opaque_token_is_asked_about_once_in_a_while(valkey: Valkey, one: Issuer) -> None:
    one.opaque["opaque.1"] = active(exp=int(time.time()) + 60)
    async with secured(valkey, one, **introspecting(one)) as broker:
        answers = await asyncio.gather(*(broker.get("opaque.1") for _ in range(10)))
        assert {answer.status for answer in answers} == {200}
        assert (await broker.get("opaque.1")).status == 200
        assert len(one.introspected) == 1
        authorization, form = one.introspected[0]
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        assert pair == "the+broker:a+secret%3A+%2B+%25"
        assert form == {"token": "opaque.1", "token_type_hint": "access_token"}
        assert (await broker.get(one.token())).status == 200, "a JWT is verified here"
        assert len(one.introspected) == 1


@pytest.mark.parametrize(
    ("says", "key"),
    [
        ({"active": False}, "access.inactive"),
        ({}, "access.inactive"),
        ({"active": "true"}, "access.inactive"),
        (active(aud="https://else.example"), "access.audience"),
        (active(aud=None), "access.audience"),
        (active(iss="https://else.example"), "access.issuer"),
        (active(exp=1), "access.expired"),
        (active(cnf={"x5t#S256": "A" * 43}), "access.binding"),
        (active(client_id="local"), "access.claim"),
    ],
)
async def test_an_opaque_token_that_is_no_good(
    valkey: Valkey, one: Issuer, says: dict[str, Any], key: str
) -> None:
    one.opaque["opaque"] = says
    async with secured(valkey, one, **introspecting(one)) as broker:
        answer = await broker.get("opaque")
        assert (answer.status, key_of(answer)) == (401, key)
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        if key == "access.inactive":
            await broker.get("opaque")
            assert len(one.introspected) == 1, "who insists does not make the broker insist"


@pytest.mark.parametrize("mode", ["down", "huge", "redirect", "html", "deep"])
async def test_an_issuer_that_does_not_tell_is_waited_for(valkey: Valkey, one: Issuer, mode: str) -> None:
    one.opaque["opaque"] = active()
    async with secured(valkey, one, **introspecting(one)) as broker:
        assert (await broker.get(one.token())).status == 200
        one.mode = mode
        answer = await broker.get("opaque")
        assert (answer.status, key_of(answer)) == (503, "access.introspection")
        one.mode = "ok"
        assert (await broker.get("opaque")).status == 200
