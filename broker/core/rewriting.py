"""References between what managers say and what the federation says, rewritten in the JSON text (federation,
section 1).

A reference is the string value of a member named `reference`, wherever it stands. Rewritten are those to the
manager's own resources: relative (`Patient/12`) and absolute under its base, with or without
`/_history/{version}`. A relative one stays relative, an absolute one becomes absolute under the public base,
so the way back is known. Everything else stays, byte for byte: `#contained`, `urn:`, absolute elsewhere,
conditional (`Patient?…`), and all that is no reference.

`inward` undoes `outward` exactly, save for a reference that a manager already held as an absolute address
under the federation's public base: `outward` leaves it, `inward` takes it for what it means.

The whole body is cut at `"reference"` in one pass. A cut is a key exactly when no backslash precedes it and a
colon follows: see `json_text` for why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from broker.core import json_text
from broker.core.identity import ID, Origin, is_alias, public_id_bytes, split_public_id

_REFERENCE = b'"reference"'
_PATH = re.compile(
    rb"([A-Z][A-Za-z]{1,63}/)"
    rb"((?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-.]{1,64})"
    rb"(/_history/[A-Za-z0-9\-.]{1,64})?"
)
_SPACED = re.compile(rb'\s*:\s*"')
_BACKSLASH = 0x5C


@dataclass(frozen=True, slots=True)
class InwardResult:
    """A body in a manager's own ids.

    `foreign`: references to other managers' resources, as the client wrote them and left so, each once, in
    order. `unknown`: the same for relative references, or absolute ones under the public base, whose id is no
    public id or an alias that nobody remembers.
    """

    body: bytes
    foreign: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def outward(body: bytes, origin: Origin, aliases: dict[str, str]) -> bytes:
    """A manager's JSON with its references in public terms. Aliases made are added to `aliases`.

    Raises `json_text.JsonError` at most; a text that is no JSON may also come back as it was.
    """
    base, prefix = origin.base, origin.prefix
    room = 64 - len(prefix)

    def translate(value: bytes) -> bytes:
        absolute = value.startswith(base)
        path = _PATH.fullmatch(value, len(base) if absolute else 0)
        if path is None:
            return value
        start, end = path.span(2)
        if end - start <= room and not value.startswith(b"alias--", start):
            renamed = value[:start] + prefix + value[start:]
        else:
            renamed = value[:start] + public_id_bytes(origin, path[2], aliases) + value[end:]
        return origin.public + renamed[len(base) :] if absolute else renamed

    return _rewritten(body, translate)


def inward(body: bytes, origin: Origin, resolve_alias: Mapping[str, str]) -> InwardResult:
    """A client's JSON with its references in the manager's own ids; those to other managers are left and
    listed.

    `resolve_alias` maps aliases to the manager's ids. Raises `json_text.JsonError` as `outward` does.
    """
    public = origin.public
    foreign: dict[str, None] = {}
    unknown: dict[str, None] = {}

    def translate(value: bytes) -> bytes:
        absolute = value.startswith(public)
        path = _PATH.fullmatch(value, len(public) if absolute else 0)
        if path is None:
            return value
        whole = path[2].decode()
        parts = split_public_id(whole)
        local = None if parts is None else resolve_alias.get(whole) if is_alias(whole) else parts[1]
        if parts is not None and parts[0] != origin.slug:
            foreign[value.decode()] = None
        elif local is None or ID.fullmatch(local) is None:
            unknown[value.decode()] = None
        else:
            return (origin.base if absolute else b"") + path[1] + local.encode() + (path[3] or b"")
        return value

    rewritten = _rewritten(body, translate)
    return InwardResult(rewritten, tuple(foreign), tuple(unknown))


def _rewritten(body: bytes, translate: Callable[[bytes], bytes]) -> bytes:
    """The body with each reference value replaced by what `translate` makes of it; called once for each
    value."""
    body = json_text.with_plain_keys(body)
    pieces = body.split(_REFERENCE)
    known: dict[bytes, bytes] = {}
    before = pieces[0]
    for index in range(1, len(pieces)):
        piece = pieces[index]
        start = 2 if piece.startswith(b':"') else _value_start(piece)
        end = piece.find(b'"', start) if start else -1
        if end > 0 and before[-1:] != b"\\":
            value = piece[start:end]
            new = known.get(value)
            if new is None:
                new = known[value] = _translated(value, translate)
            if new is not value:
                pieces[index] = piece[:start] + new + piece[end:]
        before = piece
    return _REFERENCE.join(pieces)


def _value_start(piece: bytes) -> int:
    """Where the string begins that follows a key, spaced as the sender likes it; 0 where there is none."""
    match = _SPACED.match(piece)
    return match.end() if match else 0


def _translated(value: bytes, translate: Callable[[bytes], bytes]) -> bytes:
    if b"\\" not in value:
        return translate(value)
    # Escaped slashes (`Patient\/12`) are common; a value cut at an escaped quote is no whole string, and no reference.
    plain = json_text.unescaped(value)
    if plain is None:
        return value
    new = translate(plain)
    return value if new is plain else orjson.dumps(new.decode())[1:-1]


def outward_url(url: str, origin: Origin, aliases: dict[str, str]) -> str | None:
    """The public address of a manager's resource address, or None where it is not one of this manager's.

    For `Location`, `Content-Location`, `response.location`, `fullUrl`, `request.url`: absolute, with or
    without `/_history/{version}`, or relative to the base. The answer is always absolute.
    """
    base = origin.base_url + "/"
    absolute = url.startswith(base)
    path = _PATH.fullmatch(url.encode(), len(base.encode()) if absolute else 0)
    if path is None:
        return None
    renamed = path[1] + public_id_bytes(origin, path[2], aliases) + (path[3] or b"")
    return f"{origin.public_base}/{renamed.decode()}"


def references(raw: bytes, origin: Origin | None = None) -> list[bytes]:
    """What a resource in public terms refers to, as `Type/public id` without version, each once, in order.

    Relative references; with `origin` also absolute ones under its public base.
    """
    public = origin.public if origin is not None else None
    found: dict[bytes, None] = {}

    def note(value: bytes) -> bytes:
        if public is not None and value.startswith(public):
            value = value[len(public) :]
        path = _PATH.fullmatch(value)
        if path is not None:
            found[path[1] + path[2]] = None
        return value

    _rewritten(raw, note)
    return list(found)
