"""The signature algorithms that tokens may be allowed to have (RFC 7518, section 3.1; RFC 8037). Pure.

Asymmetric ones only: `none` proves nothing, and under a shared secret whoever can verify can also sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Family(StrEnum):
    """What kind of key verifies: a JWK's `kty`."""

    RSA = "RSA"
    EC = "EC"
    OKP = "OKP"


FAMILY: Final[Mapping[str, Family]] = {
    "RS256": Family.RSA,
    "RS384": Family.RSA,
    "RS512": Family.RSA,
    "PS256": Family.RSA,
    "PS384": Family.RSA,
    "PS512": Family.RSA,
    "ES256": Family.EC,
    "ES384": Family.EC,
    "ES512": Family.EC,
    "EdDSA": Family.OKP,
}

CURVES: Final[Mapping[str, str]] = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
"""The one curve of each."""

DEFAULT: Final = "RS256,PS256,ES256,ES384"


def parse_algorithms(text: str) -> frozenset[str]:
    """Of `RS256,ES256`. Raises `ValueError` for none, and for any that is not in the table."""
    named = frozenset(one.strip() for one in text.split(",") if one.strip())
    if not named or not named <= FAMILY.keys():
        raise ValueError("algorithms")
    return named
