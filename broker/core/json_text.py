"""JSON as text: what can be known of it, and cut out of it, without making a tree.

Bytes that nobody needs to change stay the bytes they were, whitespace, numbers and escapes included.

Three facts hold for the text of any JSON document, and the rewriting leans on them:

* A `"` that no backslash precedes opens or closes a string. So `"reference"` without one before it is a whole
  string: a key, where a colon follows.
* A `"` that a backslash precedes is inside a string: outside of strings JSON has no backslash, and a string that
  closed after an escaped backslash could not be followed by a letter.
* The text of an object is never the beginning of another object's text.

How deep a text may nest is bounded by msgspec, which counts against the interpreter's recursion limit (1000 less the
stack in use) and says so before anything can break.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

BOM = b"\xef\xbb\xbf"

_STRING = re.compile(rb'"((?:[^"\\]++|\\.)*+)"(\s*:)?', re.DOTALL)
_KEY = re.compile(rb'\s*"(?:[^"\\]++|\\.)*+"\s*:\s*', re.DOTALL)
_COMMA = re.compile(rb"\s*,?")
# A letter of one of the keys below, escaped: JSON has only this form for it.
_ESCAPED_LETTER = re.compile(rb"\\u00(?:54|6[1-9A-Fa-f]|7[0-9Aa])")
_PLAIN_KEYS = frozenset({b"reference", b"resourceType", b"id", b"meta"})

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_decode_text = msgspec.json.Decoder(str).decode


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
    """Raises `JsonError` unless the text is one JSON value that does not nest too deep."""
    try:
        _decode_any(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JsonError("not JSON") from error


def with_plain_keys(body: bytes) -> bytes:
    """The same JSON with the keys that matter to the rewriting spelled without escapes.

    `"\\u0072eference"` is the key `reference`; nobody writes so, but it is JSON. Raises `JsonError` only where
    there is such an escape to look at.
    """
    if body.rfind(b"\\u00") < 0 or _ESCAPED_LETTER.search(body) is None:
        return body
    check(body)  # in a text with an unclosed string the pattern below would take quadratic time
    return _STRING.sub(_plain_key, body)


def _plain_key(match: re.Match[bytes]) -> bytes:
    if match[2] is None or b"\\u00" not in match[1]:
        return match[0]
    plain = _ESCAPED_LETTER.sub(lambda letter: bytes([int(letter[0][4:], 16)]), match[1])
    return b'"' + plain + b'"' + match[2] if plain in _PLAIN_KEYS else match[0]


def text_of(value: bytes) -> str | None:
    """The text of a JSON string; None where the value is something else."""
    try:
        return _decode_text(value)
    except (msgspec.DecodeError, RecursionError):
        return None


def tree(raw: bytes) -> Any:
    """The text as Python values; numbers that the fast reader refuses (`1e999`, 40 digits) come as text.

    `raw` must have passed `check` or a decoder of msgspec: what those take, this takes.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw, parse_int=str, parse_float=str)


def members(raw: bytes) -> list[Member]:
    """The members of an object, in order, as places in its text.

    Raises `JsonError` where it is no object, or names a member twice: readers would not agree on which counts.
    """
    try:
        values = _decode_object(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JsonError("not an object") from error
    found: list[Member] = []
    position = raw.index(b"{") + 1
    for name, value in values.items():
        key = _KEY.match(raw, position)
        literal = bytes(value)
        if key is None or not raw.startswith(literal, key.end()):
            raise JsonError("a member is named twice")
        end = key.end() + len(literal)
        found.append(Member(name, raw.index(b'"', position), key.end(), end))
        comma = _COMMA.match(raw, end)
        position = comma.end() if comma is not None else end
    if raw[position:].strip() != b"}":
        raise JsonError("a member is named twice")
    return found
