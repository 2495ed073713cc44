"""References between what managers say and what the federation says, rewritten in the JSON text (federation,
section 1).

A reference is the string value of a member named `reference`, wherever it stands. Rewritten are those to the
manager's own resources: relative (`Patient/12`) and absolute under its base, with or without
`/_history/{version}`. A relative one stays relative, an absolute one becomes absolute under the public base, so
the way back is known. Everything else stays, byte for byte: `#contained`, `urn:`, absolute elsewhere,
conditional (`Patient?…`), and all that is no reference.

`inward` undoes `outward` exactly, save for a reference that a manager already held as an absolute address under
the federation's public base: `outward` leaves it, `inward` takes it for what it means.

The whole body is cut at `"reference"` in one pass, and the common case is decided by one pattern for each cut. A
cut is a key exactly when no backslash precedes it and a colon follows: see `json_text` for why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import orjson

from broker.core import json_text
from broker.core.identity import ALIAS_MARK, MAX_ID, Origin, is_alias, public_id_bytes, split_public_id

_KEY = b'"reference"'
_BACKSLASH = b"\\"
_VALUE = re.compile(rb'\s*:\s*"')
_PATH = re.compile(
    rb"([A-Z][A-Za-z]{1,63}/)"
    rb"((?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-.]{1,64})"
    rb"(/_history/[A-Za-z0-9\-.]{1,64})?"
)

Translate = Callable[[bytes], bytes]


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

    `body` must be JSON, or what comes back may be anything that is no JSON either. `json_text.JsonError` is
    raised where that happens to be seen.
    """
    body = json_text.with_plain_keys(body)
    is_common = _common(MAX_ID - len(origin.prefix)).match
    slash = b"/" + origin.prefix
    known: dict[bytes, bytes] = {}

    def translate(value: bytes) -> bytes:
        return _public(value, origin, aliases)

    pieces = body.split(_KEY)
    if _BACKSLASH[0] in [piece[-1] for piece in pieces if piece]:
        return _rewritten(pieces, translate)
    return _KEY.join(
        [
            piece.replace(b"/", slash, 1) if is_common(piece) else _replaced(piece, translate, known)
            for piece in pieces
        ]
    )


@lru_cache
def _common(room: int) -> re.Pattern[bytes]:
    """A relative reference, with at most `room` characters of id, that only needs a prefix after its slash.

    Whatever is rare (a version, an id that starts with a dot or like an alias) is left to the careful way.
    """
    return re.compile(
        rb': ?+"[A-Z][A-Za-z]++/(?!%b)[A-Za-z0-9\-][A-Za-z0-9\-.]{0,%d}+"' % (ALIAS_MARK.encode(), room - 1)
    )


def _public(value: bytes, origin: Origin, aliases: dict[str, str]) -> bytes:
    """One reference in public terms, or the very same object where it is not the manager's."""
    absolute = value.startswith(origin.base)
    path = _PATH.fullmatch(value, len(origin.base) if absolute else 0)
    if path is None:
        return value
    renamed = path[1] + public_id_bytes(origin, path[2], aliases) + (path[3] or b"")
    return origin.public + renamed if absolute else renamed


def inward(body: bytes, origin: Origin, resolve_alias: Mapping[str, str]) -> InwardResult:
    """A client's JSON with its references in the manager's own ids; those to other managers are left and listed.

    `resolve_alias` maps aliases to the manager's ids. `body` and errors are as for `outward`.
    """
    foreign: dict[str, None] = {}
    unknown: dict[str, None] = {}

    def translate(value: bytes) -> bytes:
        absolute = value.startswith(origin.public)
        path = _PATH.fullmatch(value, len(origin.public) if absolute else 0)
        if path is None:
            return value
        whole = path[2].decode()
        parts = split_public_id(whole)
        if parts is not None and parts[0] != origin.slug:
            foreign[value.decode()] = None
            return value
        local = None if parts is None else resolve_alias.get(whole) if is_alias(whole) else parts[1]
        if local is None:
            unknown[value.decode()] = None
            return value
        return (origin.base if absolute else b"") + path[1] + local.encode() + (path[3] or b"")

    rewritten = _rewritten(json_text.with_plain_keys(body).split(_KEY), translate)
    return InwardResult(rewritten, tuple(foreign), tuple(unknown))


def _rewritten(pieces: list[bytes], translate: Translate) -> bytes:
    """The text from its pieces between `"reference"`, each reference replaced by what `translate` makes of it."""
    known: dict[bytes, bytes] = {}
    new = pieces[:1]
    for before, piece in pairwise(pieces):
        new.append(piece if before.endswith(_BACKSLASH) else _replaced(piece, translate, known))
    return _KEY.join(new)


def _replaced(piece: bytes, translate: Translate, known: dict[bytes, bytes]) -> bytes:
    """What follows one `"reference"`, with its value translated where it is a string."""
    head = _VALUE.match(piece)
    if head is None:
        return piece
    start = head.end()
    end = piece.find(b'"', start)
    value = piece[start:end]
    new = known.get(value)
    if new is None:
        new = known[value] = _translated(value, translate) if end > 0 else value
    return piece if new is value else piece[:start] + new + piece[end:]


def _translated(value: bytes, translate: Translate) -> bytes:
    if _BACKSLASH not in value:
        return translate(value)
    # Escaped slashes (`Patient\/12`) are common. A value cut at an escaped quote is no whole string here, and no
    # reference to a resource either.
    text = json_text.text_of(b'"' + value + b'"')
    plain = text.encode(errors="replace") if text is not None else b""
    new = translate(plain)
    return value if new is plain else orjson.dumps(new.decode())[1:-1]


def outward_url(url: str, origin: Origin, aliases: dict[str, str]) -> str | None:
    """The public address of a manager's resource address, or None where it is not one of this manager's.

    For `Location`, `Content-Location`, `response.location`, `fullUrl`, `request.url`: absolute, with or without
    `/_history/{version}`, or relative to the base. The answer is always absolute.
    """
    path = _PATH.fullmatch(url.removeprefix(origin.base_url + "/").encode(errors="replace"))
    if path is None:
        return None
    renamed = path[1] + public_id_bytes(origin, path[2], aliases) + (path[3] or b"")
    return f"{origin.public_base}/{renamed.decode()}"


def references(raw: bytes, origin: Origin | None = None) -> list[bytes]:
    """What a resource in public terms refers to, as `Type/public id` without version, each once, in order.

    Relative references; with `origin` also absolute ones under its public base.
    """
    public = origin.public if origin is not None else b""
    found: dict[bytes, None] = {}

    def note(value: bytes) -> bytes:
        path = _PATH.fullmatch(value.removeprefix(public))
        if path is not None:
            found[path[1] + path[2]] = None
        return value

    _rewritten(json_text.with_plain_keys(raw).split(_KEY), note)
    return list(found)
