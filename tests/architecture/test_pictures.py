"""The pictures that the README shows are there, small, and those that are taken."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest

from tests.pictures.__main__ import LARGEST, PICTURES, WIDTH
from tests.pictures.palette import size, with_palette

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"!\[([^\]]*)\]\(([^)]+\.png)\)", README)
EMBEDDED = re.findall(r'<img alt="([^"]*)" src="([^"]+)">', README)
NAMED = {path for _, path in (*SHOWN, *EMBEDDED)} | {*re.findall(r'srcset="([^"]+)"', README)}


def test_what_is_named_is_what_is_there_and_what_is_taken() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "deploy/pictures").iterdir()}
    assert there == NAMED == {f"deploy/pictures/{one.name}.png" for one in PICTURES}
    assert {(one.language, one.theme) for one in PICTURES} >= {
        ("en", "light"),
        ("en", "dark"),
        ("fr", "dark"),
    }


@pytest.mark.parametrize("path", sorted(NAMED))
def test_a_picture_is_one_and_small(path: str) -> None:
    content = (ROOT / path).read_bytes()
    width, height = size(content)
    assert width == WIDTH
    assert 600 <= height <= 2000
    assert len(content) <= LARGEST


def test_each_is_told_to_who_does_not_see_it() -> None:
    assert [path for said, path in (*SHOWN, *EMBEDDED) if len(said) < 20] == []


def test_a_picture_of_few_colours_is_kept_as_it_is() -> None:
    width, height = 16, 10
    pixels = [[(x * 16 % 256, y * 7 % 8, (x + y) % 4) for x in range(width)] for y in range(height)]
    raw, before = b"", bytes(width * 4)
    for number, row in enumerate(pixels):
        line = b"".join(bytes((*colour, 255)) for colour in row)
        raw += bytes([number % 5]) + _filtered(number % 5, line, before)
        before = line
    png = _png(width, height, 6, zlib.compress(raw))
    made = with_palette(png)
    colours = _content(made, b"PLTE")
    lines = zlib.decompress(_content(made, b"IDAT"))
    shown = [
        [tuple(colours[3 * place : 3 * place + 3]) for place in lines[at + 1 : at + 1 + width]]
        for at in range(0, len(lines), width + 1)
    ]
    assert shown == pixels
    with pytest.raises(ValueError, match="no PNG"):
        with_palette(b"GIF89a")


def _filtered(kind: int, line: bytes, above: bytes) -> bytes:
    made = []
    for at, value in enumerate(line):
        left, corner = (line[at - 4], above[at - 4]) if at >= 4 else (0, 0)
        first = left + above[at] - corner
        nearest = min(
            (left, above[at], corner), key=lambda one: abs(first - one)
        )  # the first of equals, as it is asked
        made.append((value - (0, left, above[at], (left + above[at]) // 2, nearest)[kind]) % 256)
    return bytes(made)


def _png(width: int, height: int, kind: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + bytes(4) for name, content in chunks
    )


def _content(png: bytes, wanted: bytes) -> bytes:
    at = png.index(wanted)
    (length,) = struct.unpack(">I", png[at - 4 : at])
    return png[at + 4 : at + 4 + length]
