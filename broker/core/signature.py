"""How a notification is signed, so that its receiver knows whose it is and that it is not an old one sent again. Pure.

    X-Cds-Signature: t=1767225600,v1=5257a869…

`t` is the instant of sending in seconds since 1970, `v1` the HMAC-SHA-256, in hexadecimal, of the text `{t}.{body}` under
the Subscription's secret, the body being the bytes as they are sent. While a secret is being changed there may be two `v1`:
one that is right is enough. A receiver computes the same, compares in constant time, refuses what is older than five
minutes, and passes over what it does not know (`v2=`).
"""

from __future__ import annotations

import hmac
import re
from typing import Final

HEADER: Final = "X-Cds-Signature"
TOLERANCE: Final = 300
"""Seconds that the clocks may differ, the way included."""

_PART: Final = re.compile(r"([a-z0-9]+)=([0-9a-f]+)")


def signed(body: bytes, timestamp: int, *secrets: str) -> str:
    """The header's value. `timestamp`: seconds since 1970; `secrets`: one, or two while one replaces the other."""
    if not secrets or not all(secrets):
        raise ValueError("nothing is signed without a secret")
    return ",".join([f"t={timestamp}", *(f"v1={_digest(body, timestamp, one)}" for one in secrets)])


def is_signed(header: str, body: bytes, secret: str, now: float, *, tolerance: float = TOLERANCE) -> bool:
    """What a receiver asks of a notification. `now`: its own clock, seconds since 1970."""
    parts = [found for one in header.split(",") if (found := _PART.fullmatch(one.strip()))]
    stamps = [one[2] for one in parts if one[1] == "t"]
    if len(stamps) != 1 or not stamps[0].isdecimal() or len(stamps[0]) > 15:
        return False
    timestamp = int(stamps[0])
    if abs(now - timestamp) > tolerance:
        return False
    wanted = _digest(body, timestamp, secret)
    return any(hmac.compare_digest(one[2], wanted) for one in parts if one[1] == "v1")


def _digest(body: bytes, timestamp: int, secret: str) -> str:
    return hmac.digest(secret.encode(), b"%d." % timestamp + body, "sha256").hex()
