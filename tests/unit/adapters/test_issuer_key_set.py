"""JWK Sets: which keys are taken out of one, and which key a token gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from adapters.access.keys import KeySet, read_keys
from tests.support.issuer import ec_key, edwards_key, public_jwk, rsa_key

RSA = public_jwk(rsa_key("k1"), "RS256")
P256 = public_jwk(ec_key(), "ES256")
P384 = public_jwk(ec_key(ec.SECP384R1()), "ES384")
ED = public_jwk(edwards_key(), "EdDSA")


def key_set(*keys: Any) -> KeySet:
    return read_keys(json.dumps({"keys": keys}).encode())


@pytest.mark.parametrize(
    ("jwk", "fits"),
    [
        (RSA, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (RSA | {"alg": "PS256"}, {"PS256"}),
        (RSA | {"use": "sig", "key_ops": ["verify"]}, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (RSA | {"x5c": ["…"], "unknown": {"a": [1]}}, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (P256, {"ES256"}),
        (P384, {"ES384"}),
        (ED, {"EdDSA"}),
    ],
)
def test_what_a_key_is_for(jwk: dict[str, Any], fits: set[str]) -> None:
    key = key_set(jwk).keys[0]
    every = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
    assert {alg for alg in every if key.fits(alg)} == fits


def _private() -> dict[str, Any]:
    from jwt.algorithms import RSAAlgorithm

    return RSAAlgorithm.to_jwk(rsa_key("k1"), as_dict=True)


def _long_exponent() -> dict[str, Any]:
    from jwt.utils import to_base64url_uint

    return RSA | {"e": to_base64url_uint(2**64 + 1).decode()}


REFUSED: dict[str, Any] = {
    "a short RSA key": public_jwk(rsa_key("short", 1024), "RS256"),
    "an exponent that takes its time": _long_exponent(),
    "a private key": _private(),
    "half a private key": RSA | {"d": "AQAB"},
    "a shared secret": {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "k1"},
    "a shared secret in disguise": RSA | {"k": "c2VjcmV0"},
    "a key to encrypt": RSA | {"use": "enc"},
    "a key that only signs": RSA | {"key_ops": ["sign"]},
    "a key for an algorithm of shared secrets": RSA | {"alg": "HS256"},
    "a key for no algorithm": RSA | {"alg": "none"},
    "another curve": public_jwk(ec_key(ec.SECP256K1()), "ES256K"),
    "a point that is not on the curve": P256 | {"x": P384["x"]},
    "a point off the curve": P256 | {"y": P256["x"]},
    "a curve that is not the point's": P384 | {"crv": "P-256"},
    "no modulus": {"kty": "RSA", "e": "AQAB"},
    "no base64": RSA | {"n": "é!"},
    "an even modulus": RSA | {"n": "AAAA"},
    "no kind": {"n": RSA["n"]},
    "a kind that is a number": RSA | {"kty": 1},
    "a name that is a list": RSA | {"kid": ["k1"]},
    "an endless name": RSA | {"kid": "k" * 300},
    "no object": "RSA",
    "nothing": None,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_a_key_costs_that_key_only(name: str) -> None:
    assert [key.kty for key in key_set(REFUSED[name], P256 | {"kid": "good"}).keys] == ["EC"]
    with pytest.raises(ValueError, match="no usable key"):
        key_set(REFUSED[name])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":null}',
        b"\xff",
        b'{"keys":' + b"[" * 200_000,
        b'{"keys":[]}',
    ],
)
def test_what_is_no_set(body: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        read_keys(body)


def test_there_is_an_end_to_a_set() -> None:
    assert len(key_set(*[ED | {"kid": str(n)} for n in range(100)]).keys) == 64


def test_a_key_is_found_by_its_name() -> None:
    found = key_set(
        RSA | {"kid": "a"}, public_jwk(rsa_key("mine"), "RS256") | {"kid": "b"}, P256 | {"kid": "a"}
    )
    assert found.find("a", "RS256") is found.keys[0]
    assert found.find("b", "PS256") is found.keys[1]
    assert found.find("a", "ES256") is found.keys[2], (
        "names may be shared by keys of different kinds (RFC 7517, 4.5)"
    )
    assert found.find("b", "ES256") is None
    assert found.find("../a", "RS256") is None
    assert found.find("", "RS256") is None


def test_a_name_that_two_keys_share_names_neither() -> None:
    twice = key_set(RSA | {"kid": "a"}, public_jwk(rsa_key("mine"), "RS256") | {"kid": "a"})
    assert twice.find("a", "RS256") is None


def test_without_a_name_there_must_be_no_choice() -> None:
    assert key_set(RSA, P256).find(None, "RS256") is not None
    assert key_set(RSA, public_jwk(rsa_key("mine"), "RS256")).find(None, "RS256") is None


def test_what_is_kept_is_public() -> None:
    assert isinstance(key_set(RSA).keys[0].public, rsa.RSAPublicKey)
