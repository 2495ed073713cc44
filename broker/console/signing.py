"""What the console keeps in a browser: signed, bound to who was given it, and good for a while."""

from __future__ import annotations

import base64
import hashlib
import hmac
from binascii import Error
from dataclasses import dataclass, field

from broker.ports import Clock

_MAC_BYTES = 32
_INSTANT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Signer:
    """Every node of a federation has the same key, so that any takes back what another gave."""

    clock: Clock
    key: bytes = field(repr=False)

    @classmethod
    def of_secret(cls, clock: Clock, secret: bytes) -> Signer:
        return cls(clock, hmac.new(secret, b"cds-broker console", hashlib.sha256).digest())

    def seal(self, use: str, content: bytes, caller: str, *, seconds: float) -> str:
        """Readable by whoever holds it, and not to be changed. `use`: what it is for; no other use takes it."""
        until = int(self.clock.now().timestamp() + seconds).to_bytes(_INSTANT_BYTES)
        mac = self._mac(use, caller, until + content)
        return base64.urlsafe_b64encode(mac + until + content).decode().rstrip("=")

    def open(self, use: str, sealed: str, caller: str) -> bytes | None:
        """The content; None where it is not ours, not the caller's, or over."""
        try:
            raw = base64.urlsafe_b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4))
        except (Error, UnicodeEncodeError, ValueError):
            return None
        mac, told = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if len(told) < _INSTANT_BYTES or not hmac.compare_digest(mac, self._mac(use, caller, told)):
            return None
        if int.from_bytes(told[:_INSTANT_BYTES]) < self.clock.now().timestamp():
            return None
        return told[_INSTANT_BYTES:]

    def _mac(self, use: str, caller: str, told: bytes) -> bytes:
        bound = b"\0".join((use.encode(), hashlib.sha256(caller.encode()).digest(), told))
        return hmac.new(self.key, bound, hashlib.sha256).digest()
