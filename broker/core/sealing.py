"""What the broker leaves in its store about a write: digests in place of names, sealed blobs in place of contents.

The store alone reveals neither: both need the federation's secret, which is kept elsewhere. It may be rotated: the
secret before still opens what it sealed, and a name has a digest under each, so that nodes meet in it that have the
new secret already and nodes that do not.

    digest = HMAC-SHA-256(key(secret, "digest", purpose), message)[16]
    sealed = key id[4] | salt[12] | nonce[12] | AES-256-GCM(key(…, "seal", purpose, salt), nonce, data, context)

A key is derived for each purpose (as RFC 5869's expand step, one block), and from that one for each sealing: twenty-four
random bytes in all may be drawn as often as one likes, where a bare nonce of twelve may be so 2^32 times under one key
(NIST SP 800-38D, section 8.3).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DIGEST = 16
"""Bytes of a digest."""

_KEY_ID, _SALT, _NONCE = 4, 12, 12
_HEAD = _KEY_ID + _SALT + _NONCE


def _drawn() -> bytes:
    """Random bytes from the same generator that the cipher's own keys come from."""
    return AESGCM.generate_key(256)


@dataclass(frozen=True, slots=True)
class Sealer:
    """`secrets`: the present one first, then those that were before it. `random`: 24 fresh bytes or more at each call."""

    secrets: Sequence[bytes] = field(repr=False)
    random: Callable[[], bytes] = field(default=_drawn, repr=False)
    _keys: dict[tuple[bytes, str, str], bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.secrets or not all(self.secrets):
            raise ValueError("a sealer needs a secret")
        object.__setattr__(self, "secrets", tuple(dict.fromkeys(self.secrets)))

    def digest(self, purpose: str, message: bytes) -> bytes:
        """Under the present secret: for what is looked up soon or never."""
        return self._digest(self.secrets[0], purpose, message)

    def digests(self, purpose: str, message: bytes) -> tuple[bytes, ...]:
        """Under each secret, the present one first: for what all nodes must agree on, also amid a rotation."""
        return tuple([self._digest(secret, purpose, message) for secret in self.secrets])

    def seal(self, purpose: str, data: bytes, *, context: bytes = b"") -> bytes:
        """`context` (where it lies, whose it is) is not kept: it must be the same when it is opened."""
        salt_and_nonce = self.random()[: _SALT + _NONCE]
        salt, nonce = salt_and_nonce[:_SALT], salt_and_nonce[_SALT:]
        secret = self.secrets[0]
        sealed = AESGCM(self._seal_key(secret, purpose, salt)).encrypt(nonce, data, context)
        return self._key_id(secret) + salt_and_nonce + sealed

    def open(self, purpose: str, sealed: bytes, *, context: bytes = b"") -> bytes | None:
        """None where no secret fits, or it is not what was sealed for that purpose in that context."""
        if len(sealed) < _HEAD:
            return None
        key_id, salt, nonce = (
            sealed[:_KEY_ID],
            sealed[_KEY_ID : _KEY_ID + _SALT],
            sealed[_KEY_ID + _SALT : _HEAD],
        )
        for secret in self.secrets:
            if self._key_id(secret) != key_id:
                continue
            try:
                return AESGCM(self._seal_key(secret, purpose, salt)).decrypt(nonce, sealed[_HEAD:], context)
            except InvalidTag:
                continue
        return None

    def _key(self, secret: bytes, use: str, purpose: str) -> bytes:
        """Purposes are few: what is derived for one is kept."""
        key = self._keys.get((secret, use, purpose))
        if key is None:
            message = f"cds-broker {use} 1\0{purpose}\x01".encode()
            key = self._keys[secret, use, purpose] = hmac.digest(secret, message, "sha256")
        return key

    def _key_id(self, secret: bytes) -> bytes:
        """Public: tells which secret, and nothing about it."""
        return self._key(secret, "key id", "seal")[:_KEY_ID]

    def _digest(self, secret: bytes, purpose: str, message: bytes) -> bytes:
        return hmac.digest(self._key(secret, "digest", purpose), message, "sha256")[:DIGEST]

    def _seal_key(self, secret: bytes, purpose: str, salt: bytes) -> bytes:
        return hmac.digest(self._key(secret, "seal", purpose), salt, "sha256")
