"""Every way to forge a token: what is sent, and the row of the table of texts that its refusal tells of."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from tests.support.issuer import Issuer, b64, ec_key, public_jwk, rsa_key

Forged = Callable[[Issuer], str]


def unsigned(one: Issuer) -> str:
    return f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64(one.claims())}."


def shared_secret(one: Issuer) -> str:
    """HS256 under the public key: whoever lets the token choose its algorithm takes it."""
    pem = (
        rsa_key("k1")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head = f"{b64({'alg': 'HS256', 'kid': 'k1'})}.{b64(one.claims())}"
    return f"{head}.{b64(hmac.digest(pem, head.encode(), 'sha256'))}"


def signed(one: Issuer, key: Any = None, alg: str = "RS256", **headers: Any) -> str:
    return jwt.encode(one.claims(), rsa_key("k1") if key is None else key, alg, headers=headers)


def own_key_in_the_header(one: Issuer) -> str:
    mine = rsa_key("mine")
    return signed(one, mine, jwk=public_jwk(mine, "RS256"), jku=f"{one.url}/keys", kid="mine")


def other_claims(one: Issuer) -> str:
    """Claims put in the place of those that were signed."""
    head, _, signature = one.token().split(".")
    return f"{head}.{b64(one.claims(client_id='another'))}.{signature}"


def json_in_the_place_of_claims(one: Issuer, body: bytes) -> str:
    made: str = jwt.api_jws.encode(body, rsa_key("k1"), "RS256", headers={"kid": "k1"})
    return made


FORGED: dict[str, tuple[Forged, str]] = {
    "alg none": (unsigned, "access.algorithm"),
    "alg None": (lambda one: f"{b64({'alg': 'NONE'})}.{b64(one.claims())}.", "access.algorithm"),
    "HS256 with the public key": (shared_secret, "access.algorithm"),
    "an algorithm that is not allowed": (lambda one: signed(one, alg="RS512", kid="k1"), "access.algorithm"),
    "another key": (lambda one: signed(one, rsa_key("mine"), kid="k1"), "access.signature"),
    "another kid": (lambda one: signed(one, kid="k2"), "access.signature"),
    "a kid that is a path": (lambda one: signed(one, kid="../../../dev/null"), "access.signature"),
    "a kid that is a query": (lambda one: signed(one, kid="k1' OR '1'='1"), "access.signature"),
    "an endless kid": (lambda one: signed(one, kid="k" * 5_000), "access.signature"),
    "a kid that is no text": (
        lambda one: f"{b64({'alg': 'RS256', 'kid': 1})}.{b64(one.claims())}.AAAA",
        "access.malformed",
    ),
    "its own key": (own_key_in_the_header, "access.signature"),
    "other claims": (other_claims, "access.signature"),
    "no signature": (lambda one: one.token().rpartition(".")[0] + ".", "access.signature"),
    "a critical extension": (lambda one: signed(one, kid="k1", crit=["exp"], exp=1), "access.malformed"),
    "an unencoded payload": (
        lambda one: f"{b64({'alg': 'RS256', 'b64': False, 'crit': ['b64']})}.{b64(one.claims())}.AAAA",
        "access.malformed",
    ),
    "a token for a log-out": (lambda one: signed(one, kid="k1", typ="logout+jwt"), "access.malformed"),
    "RS256 said, PS256 signed": (
        lambda one: _relabelled(one, "PS256", "RS256"),
        "access.signature",
    ),
    "ES256 with an RSA key's name": (
        lambda one: signed(one, ec_key(), "ES256", kid="k1"),
        "access.signature",
    ),
    "another audience": (lambda one: one.token(aud="https://else.example"), "access.audience"),
    "no audience": (lambda one: one.token(aud=None), "access.audience"),
    "an audience like ours": (lambda one: one.token(aud=one.claims()["aud"] + "/"), "access.audience"),
    "another issuer": (lambda one: one.token(iss="https://else.example"), "access.issuer"),
    "no issuer": (lambda one: one.token(iss=None), "access.issuer"),
    "expired": (lambda one: one.token(exp=int(time.time()) - 60), "access.expired"),
    "never expiring": (lambda one: one.token(exp=None), "access.claim"),
    "expiring at some word": (lambda one: one.token(exp="never"), "access.claim"),
    "not valid yet": (lambda one: one.token(nbf=int(time.time()) + 120), "access.early"),
    "issued in the future": (lambda one: one.token(iat=int(time.time()) + 120), "access.early"),
    "bound, and no certificate": (lambda one: one.token(cnf={"x5t#S256": "A" * 43}), "access.binding"),
    "bound by what is not checked": (lambda one: one.token(cnf={"jkt": "A" * 43}), "access.claim"),
    "the broker's own name": (lambda one: one.token(client_id="broker"), "access.claim"),
    "a client with a line break": (lambda one: one.token(client_id="a\nb"), "access.claim"),
    "a subject with a line break": (lambda one: one.token(sub="a\r\nb"), "access.claim"),
    "claims that are a list": (lambda one: json_in_the_place_of_claims(one, b"[]"), "access.malformed"),
    "claims that are endless": (
        lambda one: json_in_the_place_of_claims(one, b'{"a":' + b"[" * 4_000),
        "access.malformed",
    ),
    "claims with a NaN": (lambda one: json_in_the_place_of_claims(one, b'{"exp":NaN}'), "access.malformed"),
    "no JSON": (lambda _: f"e{b64(b'x')}.{b64(b'y')}.{b64(b'z')}", "access.malformed"),
    "an opaque one": (lambda _: "2YotnFZFEjr1zCsicMWpAA", "access.malformed"),
    "an encrypted one": (lambda _: "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d", "access.malformed"),
    "a blank within": (lambda one: one.token().replace(".", " ", 1), "access.malformed"),
    "nothing": (lambda _: "", "access.malformed"),
    "too long": (lambda one: one.token(padding="x" * 16_000), "access.too-large"),
}


NO_TOKEN_AT_ALL = {"a blank within", "nothing", "too long"}
"""Not what RFC 6750 calls a token: `invalid_request`, where the others are an `invalid_token`."""


def _relabelled(one: Issuer, signed_by: str, said: str) -> str:
    head = f"{b64({'alg': said, 'kid': 'k1'})}.{b64(one.claims())}"
    algorithm = jwt.algorithms.get_default_algorithms()[signed_by]
    return f"{head}.{b64(algorithm.sign(head.encode(), rsa_key('k1')))}"
