"""A picture of a page with a palette of 256 colours, a third as large. PNG as in its specification (third edition), pure.

What Chromium writes is read: 8 bits, RGB or RGBA, not interlaced, opaque.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # by colour type: RGB, RGBA
_MOST = 256
_SURE = 192  # of the most frequent
_OTHER = 1500  # how far a colour is from all that were chosen to be told apart from them

Colour = tuple[int, int, int]


def with_palette(png: bytes) -> bytes:
    """The most frequent colours stay, and rare ones unlike them; each other one becomes the nearest of these."""
    width, height, rows = _pixels(png)
    counted = Counter(pixel for row in rows for pixel in row)
    kept = _chosen([colour for colour, _ in counted.most_common()])
    places = {colour: place for place, colour in enumerate(kept)}
    for colour in counted.keys() - places.keys():
        places[colour] = min(range(len(kept)), key=lambda place: _apart(kept[place], colour))
    lines = b"".join(b"\0" + bytes([places[pixel] for pixel in row]) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    palette = b"".join(bytes(colour) for colour in kept)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def size(png: bytes) -> tuple[int, int]:
    """Width and height, pixels. Raises ValueError for what is no PNG."""
    if not png.startswith(_SIGNATURE + b"\0\0\0\rIHDR"):
        raise ValueError("no PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _pixels(png: bytes) -> tuple[int, int, list[list[Colour]]]:
    width, height = size(png)
    depth, kind, _, _, interlaced = struct.unpack(">BBBBB", png[24:29])
    if depth != 8 or kind not in _CHANNELS or interlaced:
        raise ValueError("no PNG as Chromium writes it")
    step = _CHANNELS[kind]
    raw = zlib.decompress(b"".join(content for name, content in _chunks(png) if name == b"IDAT"))
    stride = width * step
    before = bytearray(stride)
    rows = []
    for at in range(0, height * (stride + 1), stride + 1):
        before = _unfiltered(raw[at], bytearray(raw[at + 1 : at + 1 + stride]), before, step)
        rows.append([*zip(before[0::step], before[1::step], before[2::step], strict=True)])
    return width, height, rows


def _unfiltered(kind: int, line: bytearray, above: bytearray, step: int) -> bytearray:
    """Section 9 of the specification."""
    for at in range(len(line)) if kind else ():
        left = line[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        guess = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))[kind]
        line[at] = (line[at] + guess) & 255
    return line


def _chosen(frequent: list[Colour]) -> list[Colour]:
    chosen = frequent[:_SURE]
    for colour in frequent[_SURE:]:
        if len(chosen) < _MOST and all(_apart(one, colour) > _OTHER for one in chosen):
            chosen.append(colour)
    return chosen


def _paeth(left: int, above: int, corner: int) -> int:
    first = left + above - corner
    ways = (abs(first - left), abs(first - above), abs(first - corner))
    return (left, above, corner)[ways.index(min(ways))]


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(_SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _apart(one: Colour, other: Colour) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
