"""JWTs whose signature is the issuer's (RFC 7515, RFC 7519, RFC 8725).

The algorithm is one of those that are allowed, and the key one of the issuer's that takes it: a token chooses neither. Keys
or addresses of keys in its header (`jwk`, `jku`, `x5c`, `x5u`) are not looked at, critical extensions (`crit`) refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from adapters.access.issuer_keys import IssuerKeys
from adapters.access.keys import MAX_KID
from broker.core.access.challenge import refused
from broker.core.access.claims import Payload

ACCESS: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""RFC 9068, section 2.1. A JWT that is expressly something else (a logout token, a proof) is no access token."""

IDENTITY: Final = frozenset({"jwt"})
"""Nor is one that is expressly an access token an ID token."""


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: msgspec.Raw = msgspec.Raw()
    b64: msgspec.Raw = msgspec.Raw()


class SignedTokens:
    """`algorithms`: those allowed, of `broker.core.access.algorithms`. `types`: what a token may say that it is."""

    def __init__(
        self, keys: IssuerKeys, algorithms: AbstractSet[str], types: AbstractSet[str] = ACCESS
    ) -> None:
        self._keys = keys
        self._types = types
        self._algorithms = algorithms
        self._jws = PyJWS(sorted(algorithms), {"enforce_minimum_key_length": True})

    async def payload(self, token: str) -> Payload:
        return (await self.verified(token))[1]

    async def verified(self, token: str) -> tuple[str, Payload]:
        """With the algorithm of its signature. Raises `AccessError`."""
        header = _header(token, self._types)
        if header.alg not in self._algorithms:
            raise refused("access.algorithm")
        if header.kid is not None and len(header.kid) > MAX_KID:
            raise refused("access.signature")
        key = await self._keys.find(header.kid, header.alg)
        try:
            body = self._jws.decode(token, key.public, algorithms=[header.alg])
        except (PyJWTError, ValueError, TypeError):  # whatever the library says of foreign bytes
            raise refused("access.signature") from None
        return header.alg, _claims(body)


def _header(token: str, types: AbstractSet[str]) -> _Header:
    part = token.partition(".")[0]
    try:
        header = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=_Header)
    except (binascii.Error, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise refused("access.malformed") from None
    if bytes(header.crit) or bytes(header.b64) or (header.typ or "jwt").lower() not in types:
        raise refused("access.malformed")
    return header


def _claims(body: Any) -> Payload:
    try:
        claims: dict[str, object] = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise refused("access.malformed") from None
    return claims
