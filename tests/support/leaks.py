"""Looking for what must not be there: values of people and secrets, in every form in which they may have got somewhere.

found = leaks(source, seeds)     # [] or [Leak("log", "patient.ins", "base64")]
"""

from __future__ import annotations

import hashlib
import html
import json
import unicodedata
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, quote_plus

SHORTEST = 8
"""Characters of a value: a shorter one would be found by chance."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that was written or sent. `data`: all of it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Leak:
    source: str
    seed: str
    form: str
    around: str = ""


@lru_cache(maxsize=4096)
def forms(value: str) -> tuple[tuple[str, bytes, bool], ...]:
    """(name of the form, its bytes, whether upper and lower case are one); those without case in lower case."""
    if len(value) < SHORTEST:
        raise ValueError("too short to be looked for")
    made: dict[bytes, tuple[str, bool]] = {}
    for text in _spellings(value):
        for name, found in _texts(text):
            made.setdefault(found.lower(), (name, True))
        for name, found in _binaries(text.encode()):
            made.setdefault(found, (name, False))
    return tuple((name, found, folded) for found, (name, folded) in made.items())


def _spellings(value: str) -> set[str]:
    """As it is, its accents composed or apart, and without them; capitals are of no account but for bytes."""
    apart = unicodedata.normalize("NFD", value)
    bare = "".join(one for one in apart if not unicodedata.combining(one))
    some = {value, unicodedata.normalize("NFC", value), apart, bare}
    return some | {one.upper() for one in some} | {one.lower() for one in some}


def _texts(text: str) -> Iterator[tuple[str, bytes]]:
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        try:
            yield ("clear", text.encode(encoding))
        except UnicodeEncodeError:
            continue
    escaped = json.dumps(text)[1:-1]
    yield ("json", escaped.encode())
    yield ("json twice", json.dumps(escaped)[1:-1].encode())
    yield ("percent", quote(text, safe="").encode())
    yield ("percent", quote(text, safe="", encoding="latin-1", errors="replace").encode())
    yield ("percent", quote_plus(text).encode())
    yield ("percent twice", quote(quote(text, safe=""), safe="").encode())
    yield ("percent, all of it", "".join(f"%{one:02x}" for one in text.encode()).encode())
    yield ("python", ascii(text)[1:-1].encode())
    yield ("python", repr(text.encode())[2:-1].encode())
    yield ("html", html.escape(text).encode())
    yield ("html", text.encode("ascii", "xmlcharrefreplace"))
    yield ("hex", text.encode().hex().encode())


def _binaries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Base64 at each of the three places where it may begin; digests without a key, which anybody can make."""
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            whole = encode(b"\0" * before + data)
            yield ("base64", whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, data, usedforsecurity=False).digest()
        yield (name, digest)
        yield (name, digest.hex().encode())
        yield (name, b64encode(digest)[:-2])
        yield (name, urlsafe_b64encode(digest)[:-2])


def leaks(sources: Iterable[Source], seeds: Mapping[str, str]) -> list[Leak]:
    """Every seed that is in a source, once for each form. `seeds`: values by name."""
    return [one for source in sources for one in _of(source, seeds)]


def _of(source: Source, seeds: Mapping[str, str]) -> Iterator[Leak]:
    folded = source.data.lower()
    for seed, value in seeds.items():
        for form, found, any_case in forms(value):
            data = folded if any_case else source.data
            place = data.find(found)
            if place >= 0:
                around = source.data[max(0, place - 80) : place + len(found) + 40]
                yield Leak(source.name, seed, form, around.decode("utf-8", "backslashreplace"))


def told(found: Sequence[Leak]) -> str:
    """For a failed test."""
    return "\n".join(f"{one.source}: {one.seed} ({one.form}) in …{one.around}…" for one in found[:40])
