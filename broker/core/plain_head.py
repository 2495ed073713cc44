"""What the head of a resource says of it, read and left as it is: in public terms or in a manager's own. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from broker.core.entry import Tag
from broker.core.identity import ID
from broker.core.json_text import JsonError


@dataclass(frozen=True, slots=True)
class Head:
    """`version_id` is None where it is outside FHIR's id rule; `tags` are (system, code), those without code left out."""

    type: str
    id: str
    version_id: str | None = None
    last_updated: str | None = None
    source: str | None = None
    tags: tuple[Tag, ...] = ()


class _Bare(msgspec.Struct, rename="camel", gc=False):
    resource_type: str
    id: str


class _Coding(msgspec.Struct, gc=False):
    system: str | None = None
    code: str | None = None


class _Meta(msgspec.Struct, rename="camel", gc=False):
    version_id: str | None = None
    last_updated: str | None = None
    source: str | None = None
    tag: list[_Coding] = []


class _Whole(_Bare, rename="camel", gc=False):
    meta: _Meta = msgspec.field(default_factory=_Meta)


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_bare = msgspec.json.Decoder(_Bare).decode


def read_head(raw: bytes) -> Head:
    """Raises `JsonError` where it is no resource with an id. A `meta` of wrong types says nothing: it is not judged."""
    meta = _Meta()
    try:
        try:
            bare: _Bare = _decode_whole(raw)
        except msgspec.ValidationError:
            bare = _decode_bare(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JsonError("no resource with an id") from error
    if ID.fullmatch(bare.id) is None:
        raise JsonError("no resource with an id")
    if isinstance(bare, _Whole):
        meta = bare.meta
    tags: tuple[Tag, ...] = tuple((one.system, one.code) for one in meta.tag if one.code is not None)
    version = meta.version_id if meta.version_id and ID.fullmatch(meta.version_id) else None
    return Head(bare.resource_type, bare.id, version, meta.last_updated, meta.source, tags)
