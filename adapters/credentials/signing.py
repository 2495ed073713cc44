"""Keys that the broker signs JWTs with (RFC 7515): assertions for token endpoints, and for whom it asks a manager."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.exceptions import PyJWTError

from adapters.credentials.errors import unusable
from adapters.credentials.secrets import contents

_BY_CURVE = {"secp256r1": "ES256", "secp384r1": "ES384"}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    alg: str
    kid: str | None
    private: Any = field(repr=False)

    async def signed(self, claims: Mapping[str, object]) -> str:
        """The claims as a JWT. RSA takes its time, which is not the loop's."""
        if self.alg in _RSA:
            return await asyncio.to_thread(self._signed, claims)
        return self._signed(claims)

    def _signed(self, claims: Mapping[str, object]) -> str:
        headers = None if self.kid is None else {"kid": self.kid}
        return jwt.encode(dict(claims), self.private, self.alg, headers=headers)


def read_key(file: str, kid: str | None, alg: str | None, *, field: str) -> SigningKey:
    """A PEM file without a password. `alg` None: what the key is for. Blocking. Raises `ConfigurationError`."""
    try:
        key = load_pem_private_key(contents(file, field), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise unusable(field, "no private key in PEM without a password") from None
    if isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
        usable, usual = _RSA, "RS256"
    elif isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _BY_CURVE:
        usual = _BY_CURVE[key.curve.name]
        usable = frozenset({usual})
    else:
        raise unusable(field, "neither RSA of 2048 bits or more nor EC P-256 or P-384")
    if alg is not None and alg not in usable:
        raise unusable(field, f"not a key for {alg}")
    made = SigningKey(alg or usual, kid, key)
    try:
        made._signed({})  # noqa: SLF001 - a library that refuses the key says so here, not at a request
    except (PyJWTError, ValueError, TypeError):
        raise unusable(field, "not usable") from None
    return made


def token_id() -> str:
    """A `jti` that nobody guesses and that never comes again."""
    return secrets.token_urlsafe(16)
