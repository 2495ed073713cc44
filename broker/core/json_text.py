"""JSON as text: what can be known of it, and cut out of it, without making a tree.

Bytes that nobody needs to change stay the bytes they were, whitespace, numbers and escapes included.

Three facts hold for the text of any JSON document, and the rewriting leans on them:

* A `"` that no backslash precedes opens or closes a string; so `"reference"` without one before it is a whole
  string.
* A `"` after a backslash is inside a string, or the text is no JSON (a backslash occurs nowhere else).
* The text of an object is never the beginning of another object's text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

MAX_DEPTH = 100
"""Levels of nesting that a resource may have. FHIR's own stay under twenty; parsers give up from 64 to
1000."""

BOM = b"\xef\xbb\xbf"

_STRING = re.compile(rb'"((?:[^"\\]++|\\.)*+)"(\s*:)?', re.DOTALL)
_KEY = re.compile(rb'\s*"(?:[^"\\]++|\\.)*+"\s*:\s*', re.DOTALL)
_COMMA = re.compile(rb"\s*,?")
_BRACKET = re.compile(rb"[{}\[\]]")
# An escaped letter of one of the keys below, in `\u00XX` form: JSON has no shorter escape for a letter.
_ESCAPED_LETTER = re.compile(rb"\\u00(?:54|6[1-9A-Fa-f]|7[0-9Aa])")
_PLAIN_KEYS = {b"reference", b"resourceType", b"id", b"meta"}

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder(msgspec.Raw)
_text = msgspec.json.Decoder(str)


class JsonError(ValueError):
    """The bytes are no JSON text in UTF-8, nest too deep, or name one member twice."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object: where its key starts, where its value starts and ends."""

    name: str
    key: int
    start: int
    end: int


def utf8(body: bytes) -> bytes:
    """The text without a byte-order mark. Raises `JsonError` where it is not UTF-8 (RFC 8259, 8.1)."""
    body = body.removeprefix(BOM)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise JsonError("not UTF-8") from error
    return body


def check(body: bytes) -> None:
    """Raises `JsonError` unless the text is one JSON value (depth is bounded by the interpreter here)."""
    try:
        _any.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JsonError("not JSON") from error


def with_plain_keys(body: bytes) -> bytes:
    """The same JSON with those keys that matter to the rewriting spelled without escapes.

    `"\\u0072eference"` is the key `reference`; nobody writes so, but it is JSON. Raises `JsonError` only
    where there is such an escape to look at.
    """
    if body.rfind(b"\\u00") < 0 or _ESCAPED_LETTER.search(body) is None:
        return body
    check(body)  # else an unclosed string would make the pattern below take quadratic time
    return _STRING.sub(_plain_key, body)


def _plain_key(match: re.Match[bytes]) -> bytes:
    if match[2] is None or b"\\u00" not in match[1]:
        return match[0]
    plain = _ESCAPED_LETTER.sub(lambda letter: bytes([int(letter[0][4:], 16)]), match[1])
    return b'"' + plain + b'"' + match[2] if plain in _PLAIN_KEYS else match[0]


def unescaped(inside: bytes) -> bytes | None:
    """The text of a string from what stands between its quotes; None where that is no whole string."""
    try:
        return _text.decode(b'"' + inside + b'"').encode()
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def text_of(value: bytes) -> str | None:
    """The text of a JSON string; None where the value is something else."""
    try:
        return _text.decode(value)
    except msgspec.DecodeError:
        return None


def too_deep(raw: bytes) -> bool:
    """Whether a value nests deeper than `MAX_DEPTH`. Looks closer only where it has brackets enough for
    that."""
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        depth += 1 if bracket in b"{[" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def members(raw: bytes) -> list[Member]:
    """The members of an object, in order, as places in its text.

    Raises `JsonError` where it is no object, or names a member twice: readers would not agree on which of
    them counts.
    """
    try:
        values = _object.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JsonError("not an object") from error
    found: list[Member] = []
    position = raw.index(b"{") + 1
    for name, value in values.items():
        key = _KEY.match(raw, position)
        if key is None:
            raise JsonError("a member is named twice")
        literal = bytes(value)
        end = key.end() + len(literal)
        if raw[key.end() : end] != literal:
            raise JsonError("a member is named twice")
        found.append(Member(name, raw.index(b'"', position), key.end(), end))
        comma = _COMMA.match(raw, end)
        position = comma.end() if comma else end
    if raw[position:].strip() != b"}":
        raise JsonError("a member is named twice")
    return found
