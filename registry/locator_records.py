"""The bytes of the index. Pure: what Redis holds is made and read here, and in `registry.locator_scripts`.

A *link* says that a person, or a circle's business identifier, is found at one entry of one manager. Fixed, 14 bytes:

    6 digest without its first byte · 1 manager's number · 6 entry's digest, the first six bytes · 1 stamp

An *entry* is what is known of one circle at one manager. It is found by manager and id, in full, so that no two
circles are ever taken for one. In its bucket it follows its length (one byte below 128, else two):

    1 flags · 1 stamp · 6 updated (ms since the epoch, 0: not known) · 1 manager's number · id · version
    · person digests · circle digests · [digests that are leaving, persons and circles] · [4 written, s since the epoch]

Ids and versions are packed: a UUID is 16 bytes, a decimal number a varint, anything else its text. Digests are a count,
then seven bytes each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from registry.locator_hash import DIGEST, SHORT

LINK = SHORT + 1 + SHORT + 1
"""Bytes of a link."""

MAX_MANAGER = 255
MAX_ENTRY = 0x3FFF
"""Longest entry, bytes: what two bytes of length can say."""

_REPLICA, _DELETED, _LEAVING, _VERSIONED = 1, 2, 4, 8

_UUID, _DECIMAL, _TEXT = 0, 1, 2
_UUID_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DECIMAL_FORM = re.compile(r"0|[1-9][0-9]{0,17}")

Digests = frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Links:
    """Digests of persons and of circles' business identifiers."""

    persons: Digests = frozenset()
    circles: Digests = frozenset()

    def __or__(self, other: Links) -> Links:
        return Links(self.persons | other.persons, self.circles | other.circles)

    def __sub__(self, other: Links) -> Links:
        return Links(self.persons - other.persons, self.circles - other.circles)

    def __len__(self) -> int:
        return len(self.persons) + len(self.circles)


NO_LINKS = Links()


@dataclass(frozen=True, slots=True)
class Entry:
    """One circle at one manager. `updated`: ms since the epoch, 0 where not known.

    `stamp` counts the changes of `links`, modulo 256 (see `registry.locator_plan`). `leaving`: links that the index
    still has to lose. `written`: our instant, s since the epoch, of a deletion; None: the circle is there.
    """

    manager: int
    circle_id: str
    updated: int = 0
    version: str | None = None
    replica: bool = False
    links: Links = NO_LINKS
    leaving: Links = NO_LINKS
    stamp: int = 0
    written: int | None = None

    @property
    def deleted(self) -> bool:
        return self.written is not None


def identity(manager: int, circle_id: str) -> bytes:
    """The bytes of an entry, from its ninth on, that no other entry of the bucket has there."""
    return bytes((manager,)) + pack_id(circle_id)


def pack_id(text: str) -> bytes:
    if _UUID_FORM.fullmatch(text):
        return bytes((_UUID,)) + bytes.fromhex(text.replace("-", ""))
    if _DECIMAL_FORM.fullmatch(text):
        return bytes((_DECIMAL,)) + varint(int(text))
    raw = text.encode("utf-8", "surrogatepass")
    return bytes((_TEXT,)) + varint(len(raw)) + raw


def unpack_id(data: bytes, at: int) -> tuple[str, int]:
    """The text, and where the next element starts."""
    kind = data[at]
    if kind == _UUID:
        digits = data[at + 1 : at + 17].hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])), at + 17
    number, at = read_varint(data, at + 1)
    if kind == _DECIMAL:
        return str(number), at
    return data[at : at + number].decode("utf-8", "surrogatepass"), at + number


def varint(number: int) -> bytes:
    """Seven bits a byte, the least first, the eighth bit set on all but the last (LEB128)."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] > 0x7F:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | data[at] << shift, at + 1


def pack_entry(entry: Entry) -> bytes:
    """Raises ValueError over `MAX_ENTRY`: a longer one would make its bucket unreadable."""
    flags = (
        (_REPLICA if entry.replica else 0)
        | (_DELETED if entry.deleted else 0)
        | (_LEAVING if entry.leaving else 0)
        | (_VERSIONED if entry.version is not None else 0)
    )
    parts = [
        bytes((flags, entry.stamp)),
        entry.updated.to_bytes(6, "big"),
        identity(entry.manager, entry.circle_id),
        b"" if entry.version is None else _pack_version(entry.version),
        _pack_digests(entry.links.persons),
        _pack_digests(entry.links.circles),
    ]
    if entry.leaving:
        parts += [_pack_digests(entry.leaving.persons), _pack_digests(entry.leaving.circles)]
    if entry.written is not None:
        parts.append(entry.written.to_bytes(4, "big"))
    packed = b"".join(parts)
    if len(packed) > MAX_ENTRY:
        raise ValueError("an entry is too long")
    return packed


def unpack_entry(data: bytes) -> Entry:
    """Raises IndexError or ValueError for what `pack_entry` did not make."""
    flags = data[0]
    circle_id, at = unpack_id(data, 9)
    version: str | None = None
    if flags & _VERSIONED:
        version, at = _unpack_version(data, at)
    links, at = _unpack_links(data, at)
    leaving = NO_LINKS
    if flags & _LEAVING:
        leaving, at = _unpack_links(data, at)
    return Entry(
        manager=data[8],
        circle_id=circle_id,
        updated=int.from_bytes(data[2:8], "big"),
        version=version,
        replica=bool(flags & _REPLICA),
        links=links,
        leaving=leaving,
        stamp=data[1],
        written=int.from_bytes(data[at : at + 4], "big") if flags & _DELETED else None,
    )


def entries(bucket: bytes) -> Iterator[Entry]:
    at, end = 0, len(bucket)
    while at < end:
        length, at = read_varint(bucket, at)
        yield unpack_entry(bucket[at : at + length])
        at += length


def pack_link(digest: bytes, manager: int, entry: bytes, stamp: int) -> bytes:
    """`entry`: the digest of the entry. The stamp is the last byte."""
    return digest[1:] + bytes((manager,)) + entry[:SHORT] + bytes((stamp,))


def links_to(bucket: bytes, digest: bytes) -> Iterator[tuple[int, bytes]]:
    """Manager's number and entry (its digest's first six bytes) of every link of that digest."""
    wanted = digest[1:]
    at = bucket.find(wanted)
    while at >= 0:
        if at % LINK == 0:
            yield bucket[at + SHORT], bucket[at + SHORT + 1 : at + LINK - 1]
            at += LINK - 1
        at = bucket.find(wanted, at + 1)


def _pack_version(version: str) -> bytes:
    """A number below 2^13 in one or two bytes, as most versions are; else a zero byte and the packed text."""
    if _DECIMAL_FORM.fullmatch(version) and int(version) < 1 << 13:
        return varint(int(version) + 1)
    return b"\x00" + pack_id(version)


def _unpack_version(data: bytes, at: int) -> tuple[str, int]:
    if data[at] == 0:
        return unpack_id(data, at + 1)
    number, at = read_varint(data, at)
    return str(number - 1), at


def _pack_digests(digests: Digests) -> bytes:
    return varint(len(digests)) + b"".join(sorted(digests))


def _unpack_links(data: bytes, at: int) -> tuple[Links, int]:
    persons, at = _unpack_digests(data, at)
    circles, at = _unpack_digests(data, at)
    return Links(persons, circles), at


def _unpack_digests(data: bytes, at: int) -> tuple[Digests, int]:
    count, at = read_varint(data, at)
    end = at + count * DIGEST
    return frozenset([data[start : start + DIGEST] for start in range(at, end, DIGEST)]), end
