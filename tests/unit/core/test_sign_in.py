"""Signing in, as far as it is decided by pure functions."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.core.access.identity import check_bound, check_identity
from broker.core.access.sign_in import (
    HOME,
    Pending,
    Registration,
    Returned,
    authorization_url,
    challenge,
    check_returned,
    page_of,
    read_returned,
    sign_out_url,
    told,
)
from broker.errors import AccessError, BrokerError, RequestError

ISSUER = "https://issuer.example"
REGISTRATION = Registration(
    ISSUER, "console", "https://broker.example/console/callback", "openid cds/console"
)
PENDING = Pending("state", "nonce", "verifier", HOME, 1_000.0)


def test_the_challenge_of_the_rfc() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    "endpoint", ["https://issuer.example/auth", "https://issuer.example/auth?realm=a%20b"]
)
def test_what_the_issuer_is_asked(endpoint: str) -> None:
    asked = urlsplit(authorization_url(endpoint, REGISTRATION, PENDING))
    found = parse_qs(asked.query)
    assert found.pop("realm", ["a b"]) == ["a b"]
    assert found == {
        "response_type": ["code"],
        "client_id": ["console"],
        "redirect_uri": ["https://broker.example/console/callback"],
        "scope": ["openid cds/console"],
        "state": ["state"],
        "nonce": ["nonce"],
        "code_challenge": [challenge("verifier")],
        "code_challenge_method": ["S256"],
    }
    assert "verifier" not in asked.query


def test_how_the_issuer_is_told_that_somebody_leaves() -> None:
    url = sign_out_url("https://issuer.example/out", REGISTRATION, "https://broker.example/bye", "a.b.c")
    assert parse_qs(urlsplit(url).query) == {
        "client_id": ["console"],
        "post_logout_redirect_uri": ["https://broker.example/bye"],
        "id_token_hint": ["a.b.c"],
    }


@pytest.mark.parametrize(
    "page",
    ["/console", "/console/registry", "/console/circle/bre.12", "/console/registry/bre/remove"],
)
def test_pages_that_are_gone_to(page: str) -> None:
    assert page_of(page) == page


@pytest.mark.parametrize(
    "page",
    [
        "", "/", "/fhir", "/consolation", "//console", "https://console", "/console/", "/console//x", "/console/..",
        "/console/../fhir", "/console/./x", "/console/x?y", "/console/x#y", "/console/%2e%2e", "/console\\x", "/console/é",
        "/console/x\n", "/console/login", "/console/callback", "/console/logout", "/console/signed-out",
        "/console/" + "x" * 65, "/console" + "/x" * 7,
    ],
)  # fmt: skip
def test_pages_that_are_not(page: str) -> None:
    assert page_of(page) == HOME


@pytest.mark.parametrize(
    "query",
    [
        "", "code=x", "state=y", "state=&code=x", "code=x&error=y&state=z", "code=x&code=x&state=y",
        "code=x&state=y&state=y",
        "code=x&state=y&iss=a&iss=b", "code=%00&state=y", "code=%E9&state=y", "code=é&state=y", "code=x&state=a%0Ab",
        "code=" + "x" * 4_097 + "&state=y", "&".join(f"a{n}=" for n in range(40)) + "&code=x&state=y",
    ],
)  # fmt: skip
def test_what_is_no_answer_of_an_issuer(query: str) -> None:
    with pytest.raises(RequestError, match=r"console\.login-malformed"):
        read_returned(query)


def test_an_answer_of_an_issuer() -> None:
    assert read_returned("code=a%2Fb&state=s&iss=https%3A%2F%2Fissuer.example&session_state=z") == Returned(
        "s", "a/b", None, ISSUER
    )
    assert read_returned("error=access_denied&state=s&error_description=x") == Returned(
        "s", None, "access_denied"
    )


@pytest.mark.parametrize(
    ("returned", "now", "promised", "key"),
    [
        (Returned("other", "code", None, ISSUER), 0, True, "console.login-state"),
        (Returned("", "code", None, ISSUER), 0, True, "console.login-state"),
        (Returned("state", "code", None, ISSUER), 1_001, True, "console.login-state"),
        (Returned("state", "code"), 0, True, "console.login-issuer"),
        (Returned("state", "code", None, ISSUER + "/"), 0, False, "console.login-issuer"),
        (Returned("state", None, "access_denied"), 0, True, "console.login-issuer"),
        (Returned("state", None, "access_denied", ISSUER), 0, True, "console.login-denied"),
        (Returned("state", None, "server_error"), 0, False, "console.login-unavailable"),
        (Returned("state", None, "invalid_scope"), 0, False, "console.login-failed"),
    ],
)
def test_who_does_not_come_back_well(returned: Returned, now: float, promised: bool, key: str) -> None:
    with pytest.raises(BrokerError) as caught:
        check_returned(returned, PENDING, now, ISSUER, promised=promised)
    assert caught.value.key == key


def test_who_comes_back() -> None:
    assert check_returned(Returned("state", "c", None, ISSUER), PENDING, 999, ISSUER, promised=True) == "c"
    assert check_returned(Returned("state", "c"), PENDING, 999, ISSUER, promised=False) == "c"


def test_an_issuers_own_words_are_told_to_nobody() -> None:
    assert told("invalid_scope").params == {"code": "invalid_scope"}
    assert told("Camille\r\n<script>").params == {"code": "?"}


def claims(**given: Any) -> dict[str, Any]:
    usual = {"iss": ISSUER, "aud": "console", "sub": "u-1", "exp": 300, "iat": 0, "nonce": "nonce"}
    return {name: value for name, value in (usual | given).items() if value is not None}


def judged(payload: dict[str, Any], *, nonce: str | None = "nonce", contexts: tuple[str, ...] = ()) -> str:
    registration = Registration(ISSUER, "console", "", "openid", contexts)
    try:
        return check_identity(payload, registration, 100.0, leeway=0.0, nonce=nonce).subject
    except AccessError as error:
        return f"{error.key} {error.params.get('claim', '')}".strip()


def test_who_an_identity_is() -> None:
    assert judged(claims()) == "u-1"
    assert judged(claims(aud=["console", "another"], azp="console")) == "u-1"
    assert judged(claims(nonce=None), nonce=None) == "u-1"
    assert judged(claims(acr="eidas1"), contexts=("eidas1", "eidas2")) == "u-1"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"iss": "https://else.example"}, "access.issuer"),
        ({"iss": None}, "access.issuer"),
        ({"aud": "another"}, "access.audience"),
        ({"aud": None}, "access.audience"),
        ({"aud": ["console", "another"]}, "access.audience"),
        ({"azp": "another"}, "access.audience"),
        ({"exp": 100}, "access.expired"),
        ({"exp": None}, "access.claim exp"),
        ({"iat": None}, "access.claim iat"),
        ({"iat": 101}, "access.early"),
        ({"nonce": "other"}, "access.claim nonce"),
        ({"nonce": None}, "access.claim nonce"),
        ({"nonce": 1}, "access.claim nonce"),
        ({"nonce": "é"}, "access.claim nonce"),
        ({"sub": None}, "access.claim sub"),
        ({"sub": ""}, "access.claim sub"),
        ({"sub": "a\nb"}, "access.claim sub"),
        ({"acr": "weak"}, "console.login-level"),
        ({"acr": None}, "console.login-level"),
        ({"acr": ["eidas1"]}, "console.login-level"),
    ],
)
def test_who_an_identity_is_not(given: dict[str, Any], told: str) -> None:
    assert judged(claims(**({"acr": "eidas1"} | given)), contexts=("eidas1",)) == told


@pytest.mark.parametrize(
    ("algorithm", "digest"), [("RS256", "sha256"), ("ES384", "sha384"), ("EdDSA", "sha512")]
)
def test_an_identity_names_its_access_token(algorithm: str, digest: str) -> None:
    whole = hashlib.new(digest, b"token").digest()
    named = base64.urlsafe_b64encode(whole[: len(whole) // 2]).decode().rstrip("=")
    check_bound({"at_hash": named}, "token", algorithm)
    check_bound({}, "token", algorithm)
    for other in (named + "x", "", "é", 1):
        with pytest.raises(AccessError):
            check_bound({"at_hash": other}, "token", algorithm)
    with pytest.raises(AccessError):
        check_bound({"at_hash": named}, "another", algorithm)
