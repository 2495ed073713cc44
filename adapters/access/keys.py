"""A JWK Set (RFC 7517) read with suspicion: only public keys, of kinds and sizes that an allowed algorithm takes.

What is wrong with one key costs that key, not the others. A set never holds what could confuse: a symmetric key would let
whoever knows it sign, a private one is somebody's accident, and a name that two keys share names neither.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from broker.core.access.algorithms import CURVES, FAMILY, Family

MAX_KEYS: Final = 64
MAX_KID: Final = 256
_RSA_BITS = range(2048, 8193)  # NIST SP 800-131A below; above, verifying would cost too much
_RSA_EXPONENT_BITS = 33  # as OpenSSL bounds it for large keys: verifying costs by its length

_log = logging.getLogger("broker.access")


class _Jwk(msgspec.Struct, frozen=True):
    """What is read of a key; `d`, `k` and the like only to see that they are absent."""

    kty: str
    kid: str | None = None
    use: str | None = None
    key_ops: tuple[str, ...] | None = None
    alg: str | None = None
    n: str | None = None
    e: str | None = None
    crv: str | None = None
    x: str | None = None
    y: str | None = None
    d: msgspec.Raw = msgspec.Raw()
    k: msgspec.Raw = msgspec.Raw()


class _JwkSet(msgspec.Struct, frozen=True):
    keys: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. `alg`: the one algorithm that it is for, where its set says so. `public`: of cryptography."""

    kid: str | None
    kty: str
    alg: str | None
    crv: str | None
    public: Any = field(repr=False)

    def fits(self, alg: str) -> bool:
        """Whether it may verify by that algorithm."""
        family = FAMILY[alg]
        right_curve = family is Family.RSA or self.crv == CURVES[alg]
        return self.kty == family.value and self.alg in (None, alg) and right_curve


@dataclass(frozen=True, slots=True)
class KeySet:
    keys: Sequence[Key] = ()

    def find(self, kid: str | None, alg: str) -> Key | None:
        """The one key of that name for that algorithm; without a name the one key for it. None where there is none, or
        more than one: then nobody knows which was meant."""
        fitting = [key for key in self.keys if key.fits(alg) and (kid is None or key.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None


def read_keys(body: bytes) -> KeySet:
    """Raises `ValueError` where it is no set, or holds no usable key."""
    try:
        raw = msgspec.json.decode(body, type=_JwkSet).keys
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise ValueError("no JWK Set") from None
    keys = []
    for one in raw[:MAX_KEYS]:
        key = _key(one)
        if key is not None:
            keys.append(key)
    if len(keys) < len(raw):
        _log.info("keys of the issuer: %d usable of %d", len(keys), len(raw))
    if not keys:
        raise ValueError("no usable key")
    return KeySet(tuple(keys))


def _key(raw: msgspec.Raw) -> Key | None:
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
        if not _for_verifying(jwk):
            return None
        public = PyJWK(_plain(jwk), _any_algorithm(jwk)).key
    except (
        msgspec.MsgspecError, RecursionError, UnicodeDecodeError,
        PyJWTError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm,
    ):  # fmt: skip  # whatever the libraries say of foreign bytes
        return None
    return Key(jwk.kid, jwk.kty, jwk.alg, jwk.crv, public) if _strong(public) else None


def _for_verifying(jwk: _Jwk) -> bool:
    return (
        not bytes(jwk.d)
        and not bytes(jwk.k)
        and jwk.use in (None, "sig")
        and (jwk.key_ops is None or "verify" in jwk.key_ops)
        and (jwk.alg is None or jwk.alg in FAMILY)
        and len(jwk.kid or "") <= MAX_KID
    )


def _plain(jwk: _Jwk) -> dict[str, str]:
    """The public members only: nothing else of the document reaches the library."""
    members = {"kty": jwk.kty, "n": jwk.n, "e": jwk.e, "crv": jwk.crv, "x": jwk.x, "y": jwk.y}
    return {name: value for name, value in members.items() if value is not None}


_FIRST: Final[Mapping[str, str]] = {
    "RSA": "RS256",
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "Ed25519": "EdDSA",
}


def _any_algorithm(jwk: _Jwk) -> str:
    """One that the key's kind can do, to have it built; raises `KeyError` for kinds that are not ours (secp256k1…)."""
    return _FIRST["RSA" if jwk.kty == "RSA" else jwk.crv or ""]


def _strong(public: object) -> bool:
    if isinstance(public, RSAPublicKey):
        return public.key_size in _RSA_BITS and public.public_numbers().e.bit_length() <= _RSA_EXPONENT_BITS
    return isinstance(public, EllipticCurvePublicKey | Ed25519PublicKey)
