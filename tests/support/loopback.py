"""This machine's own address, as one may write it to get past who looks at its spelling alone."""

from __future__ import annotations

SPELT = (
    "127.0.0.1",
    "localhost",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
)
