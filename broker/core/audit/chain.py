"""The chain of a trail: each line is sealed, and holds the seal of the line before. Pure.

    {"stream":"4f1c22ab-0","seq":7,"prev":"…","key":"9c41d2e0","event":{AuditEvent},"mac":"…"}

`mac` is HMAC-SHA-256 (hex) over the line's bytes up to `"event":`, and behind them the SHA-256 (32 bytes) of the
event's. So a line that was changed no longer fits its seal, a line that is gone or elsewhere leaves a gap in `seq` and
`prev`, and none of it can be mended without the key. What was cut off at the end shows by the head of the chain, which
is kept elsewhere. A stream has one writer. `key` says which key, and nothing about it.

The events of one access differ in their last bytes only: what they have in common is hashed once.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

GENESIS = "0" * 64
"""`prev` of the first line of a stream."""

_EVENT = b',"event":'
_MAC = b',"mac":"'
_TAIL = len(_MAC) + 64 + len(b'"}')
_BLOCK = 64  # bytes of a block of SHA-256
_INNER, _OUTER = bytes(one ^ 0x36 for one in range(256)), bytes(one ^ 0x5C for one in range(256))


@dataclass(frozen=True, slots=True)
class ChainKey:
    """Derived from a secret; `id` is public."""

    key: bytes = field(repr=False)
    id: str

    @classmethod
    def of(cls, secret: bytes) -> ChainKey:
        key = hmac.digest(secret, b"cds-broker audit chain 1", "sha256")
        return cls(key, hmac.digest(key, b"key id", "sha256")[:4].hex())


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a stream: its number, from 1, and its seal."""

    seq: int = 0
    mac: str = GENESIS


class Chain:
    """Makes the lines of one stream, in order. `head`: where it goes on."""

    __slots__ = ("_head", "_inner", "_middle", "_outer", "_start", "stream")

    def __init__(self, stream: str, key: ChainKey, head: Head | None = None) -> None:
        self.stream = stream
        self._head = head or Head()
        self._start = b'{"stream":"%b","seq":' % stream.encode()
        self._middle = b'","key":"%b"%b' % (key.id.encode(), _EVENT)
        padded = key.key.ljust(_BLOCK, b"\0")  # RFC 2104, with the first block of either hash done for good
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    @property
    def head(self) -> Head:
        return self._head

    def lines(self, common: bytes, rests: Sequence[bytes]) -> list[bytes]:
        """One line for each event, with its line feed. An event (JSON) is what they have in common, then one of
        `rests`."""
        start, middle, inner, outer = self._start, self._middle, self._inner, self._outer
        seq, mac = self._head.seq, self._head.mac.encode()
        begun = hashlib.sha256(common)
        lines = []
        for rest in rests:
            seq += 1
            hashed = begun.copy()
            hashed.update(rest)
            head = b'%b%d,"prev":"%b%b' % (start, seq, mac, middle)
            sealing = inner.copy()
            sealing.update(head + hashed.digest())
            seal = outer.copy()
            seal.update(sealing.digest())
            mac = seal.hexdigest().encode()
            lines.append(b'%b%b%b%b%b"}\n' % (head, common, rest, _MAC, mac))
        self._head = Head(seq, mac.decode())
        return lines


class Line(msgspec.Struct, frozen=True):
    """A line as read. `event` is its JSON, as it stands there."""

    stream: str
    seq: int
    prev: str
    key: str
    event: msgspec.Raw
    mac: str

    @property
    def head(self) -> Head:
        return Head(self.seq, self.mac)


_decode = msgspec.json.Decoder(Line).decode


def parse(line: bytes) -> Line | None:
    """None for what is no line of a trail."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def fits(line: bytes, read: Line, keys: Mapping[str, ChainKey]) -> bool | None:
    """Whether the seal fits the bytes; None where the key is not known. `line`: with or without its line feed."""
    key = keys.get(read.key)
    if key is None:
        return None
    body = line.rstrip(b"\n")
    at = body.find(_EVENT) + len(_EVENT)
    head, event = body[:at], body[at:-_TAIL]
    if body != b'%b%b%b%b"}' % (head, event, _MAC, read.mac.encode()):
        return False
    sealed = hmac.digest(key.key, head + hashlib.sha256(event).digest(), "sha256")
    return hmac.compare_digest(sealed.hex().encode(), read.mac.encode())
