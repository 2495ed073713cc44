"""Page links: opaque, unforgeable, without patient data, bound to their caller (federation, section 3).

A link carries a token, the store a sealed state. The token holds when it expires, where the state lies, and the key
that opens it, under a MAC of the federation's secret over all that and the caller. So the store alone reveals nothing,
a token alone reveals nothing, a forged or a foreign one is told from an expired one, and any node that shares secret
and store can go on.

    token = base64url(expiry[4] | place[16] | key[32] | mac[17])
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import RequestError

RANDOM_BYTES = 48
"""Fresh random bytes that one token needs: its place in the store and its key."""

_PLACE, _KEY, _MAC = 16, 32, 17  # a multiple of three in all: base64 without spare bits
_LENGTH = 4 + _PLACE + _KEY + _MAC
_NONCE = b"\0" * 12  # each key seals exactly one state, so the nonce need not vary


@dataclass(frozen=True, slots=True)
class Cursor:
    """A page state's address in the store (`place`, hexadecimal) and the key that opens it."""

    token: str
    place: str
    key: bytes

    def seal(self, state: bytes) -> bytes:
        return AESGCM(self.key).encrypt(_NONCE, state, bytes.fromhex(self.place))

    def open(self, sealed: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(_NONCE, sealed, bytes.fromhex(self.place))
        except InvalidTag:
            raise RequestError("page.forged") from None


def mint(secret: bytes, caller: str, expires_at: int, random: bytes) -> Cursor:
    """A new cursor. `expires_at`: seconds since the epoch; `random`: `RANDOM_BYTES` of it."""
    if len(random) != RANDOM_BYTES:
        raise ValueError("a cursor takes exactly RANDOM_BYTES random bytes")
    body = expires_at.to_bytes(4, "big") + random
    token = base64.urlsafe_b64encode(body + _mac(secret, caller, body)).decode()
    return Cursor(token.rstrip("="), random[:_PLACE].hex(), random[_PLACE:])


def read(token: str, secret: bytes, caller: str, now: float, *earlier: bytes) -> Cursor:
    """The cursor behind a token; `page.forged` (not ours, or another caller's) or `page.expired`. `earlier`: secrets under
    which it may have been made too."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("page.forged") from None
    if len(raw) != _LENGTH:
        raise RequestError("page.forged")
    body, mac = raw[:-_MAC], raw[-_MAC:]
    if not any(hmac.compare_digest(mac, _mac(one, caller, body)) for one in (secret, *earlier)):
        raise RequestError("page.forged")
    if int.from_bytes(body[:4], "big") <= now:
        raise RequestError("page.expired")
    return Cursor(token, body[4 : 4 + _PLACE].hex(), body[4 + _PLACE :])


def _mac(secret: bytes, caller: str, body: bytes) -> bytes:
    return hmac.digest(secret, b"cds-broker page\0" + caller.encode() + b"\0" + body, hashlib.sha256)[:_MAC]
