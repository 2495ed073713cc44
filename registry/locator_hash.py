"""What stands for a person, a circle or a resource in the index: keyed hashes, and the bucket each belongs to. Pure.

A digest is the first seven bytes of an HMAC-SHA-256. Its first byte is the hash tag of the key (256 of them spread the
index over the nodes of a cluster), its leading bits choose the bucket, and a bucket's records repeat the last six
bytes only: as there are at least 256 buckets, bucket and record hold all seven.

56 bits are enough: among the 68 million people of the country, one pair in thirty federations shares a digest. Such a
pair is asked for at one manager too many, nothing else.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import StrEnum

from registry.locator_model import Identifier

DIGEST = 7
"""Bytes of a digest."""

SHORT = 6
"""Bytes of it that a record of its own bucket repeats: all but the first."""

LINKS_PER_BUCKET = 128
ENTRIES_PER_BUCKET = 64

MIN_BITS, MAX_BITS = 8, 28


class Kind(StrEnum):
    """The three indexes. The value is the letter in the key's name."""

    PERSONS = "p"
    CIRCLES = "c"
    ENTRIES = "r"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys derived from one secret, one for each purpose (as RFC 5869's expand step, one block each).

    `key_id` is public: it tells which secret an index was built with, and nothing about it.
    """

    secret: bytes = field(repr=False)
    key_id: str = field(init=False)
    _persons: bytes = field(init=False, repr=False)
    _circles: bytes = field(init=False, repr=False)
    _entries: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("persons", "circles", "entries"):
            object.__setattr__(self, f"_{name}", self._derived(name))
        object.__setattr__(self, "key_id", self._derived("key id").hex()[:8])

    def person(self, identifier: Identifier) -> bytes:
        return hmac.digest(self._persons, _message(identifier), "sha256")[:DIGEST]

    def circle(self, identifier: Identifier) -> bytes:
        return hmac.digest(self._circles, _message(identifier), "sha256")[:DIGEST]

    def entry(self, manager: str, circle_id: str) -> bytes:
        """Of a manager's own circle id: spreads entries evenly, whatever ids a manager gives."""
        return hmac.digest(self._entries, f"{manager}.{circle_id}".encode(), "sha256")[:DIGEST]

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self.secret, f"cds locator 1 {purpose}\x01".encode(), "sha256")


def _message(identifier: Identifier) -> bytes:
    """Case and outer blanks do not count: a manager that minds them is asked for nothing, one that does not is found."""
    system, value = identifier
    return f"{system.strip()}\n{value.strip()}".casefold().encode("utf-8", "surrogatepass")


def bits_for(expected: int, per_bucket: int) -> int:
    """How many leading bits choose among buckets that hold about `per_bucket` of `expected` records."""
    buckets = max(1, expected // per_bucket)
    bits = buckets.bit_length() - 1
    if buckets * 2 >= 3 << bits:  # the next power of two is the nearer one
        bits += 1
    return min(MAX_BITS, max(MIN_BITS, bits))


def bucket_of(digest: bytes, bits: int) -> int:
    return int.from_bytes(digest[:4]) >> (32 - bits)


def tag_of(bucket: int, bits: int) -> int:
    """The first byte of every digest in that bucket."""
    return bucket >> (bits - 8)
