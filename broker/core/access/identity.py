"""What an ID token says, checked (OpenID Connect Core 1.0, sections 3.1.3.7 and 12.2). Pure.

That the issuer signed it was proven before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from broker.core.access.challenge import refused
from broker.core.access.claims import Payload, audiences, checked_instants, person
from broker.core.access.principal import User
from broker.core.access.sign_in import Registration
from broker.errors import AccessError

_DIGESTS: Final[Mapping[str, str]] = {"256": "sha256", "384": "sha384", "512": "sha512", "DSA": "sha512"}
"""By the end of the algorithm's name; of EdDSA it is Ed25519's own."""


def check_identity(
    payload: Payload, registration: Registration, now: float, *, leeway: float, nonce: str | None
) -> User:
    """Who signed in. `now`: seconds since the epoch. `nonce`: None where tokens are renewed: then nobody signs in, and how
    they once did is not looked at. Raises `AccessError`."""
    if payload.get("iss") != registration.issuer:
        raise refused("access.issuer")
    for_whom, party = audiences(payload.get("aud")), payload.get("azp")
    if registration.client not in for_whom or party not in (None, registration.client):
        raise refused("access.audience")
    if len(for_whom) > 1 and party is None:
        raise refused("access.audience")
    checked_instants(payload, leeway, now)
    if nonce is not None:
        _check_sign_in(payload, registration, nonce)
    who = person(payload, registration.issuer)
    if who is None:
        raise refused("access.claim", claim="sub")
    return who


def check_bound(payload: Payload, access_token: str, algorithm: str) -> None:
    """Where the ID token names its access token (`at_hash`), it must be this one. `algorithm`: of its signature."""
    named = payload.get("at_hash")
    if named is None:
        return
    digest = hashlib.new(_DIGESTS[algorithm[-3:]], access_token.encode("ascii")).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(named, str) or not hmac.compare_digest(half, named.encode("utf-8", "replace")):
        raise refused("access.claim", claim="at_hash")


def _check_sign_in(payload: Payload, registration: Registration, nonce: str) -> None:
    given = payload.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(
        given.encode("utf-8", "replace"), nonce.encode()
    ):
        raise refused("access.claim", claim="nonce")
    if registration.contexts and payload.get("acr") not in registration.contexts:
        raise AccessError("console.login-level")
