"""A resource's own `id` and `meta`, put into public terms without touching another byte (federation, section
1).

The common form, `{"resourceType":…,"id":…,"meta":{…},`, is recognised by a pattern and spliced. In it a
`meta` has a part of its own (version, instant) and a rest that most resources of one manager share; what the
rest becomes is worked out once and remembered. Every other form (`id` last, no `meta`, pretty-printed) goes
the careful way, by the places of the top-level members. A nested `id` or `meta` is never taken for the
resource's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import orjson

from broker.core.identity import ID, Origin, public_id_bytes
from broker.core.json_text import JsonError, Member, members, text_of
from broker.core.rewriting import outward_url
from registry.model import TRE_R30

_COMMON = re.compile(
    rb'\{"resourceType":"([A-Z][A-Za-z]{1,63})","id":"((?!\.{1,2}")[A-Za-z0-9\-.]{1,64})","meta":\{(?!\})'
    rb'(?:"versionId":"([A-Za-z0-9\-.]{1,64})",?)?(?:"lastUpdated":"([0-9T:.+Z\-]{4,40})")?'
)
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")

Tag = tuple[str | None, str]


class IdError(ValueError):
    """No id, or one outside FHIR's rule."""


class Head(NamedTuple):
    """A resource in public terms, and what was read of it on the way.

    `version_id` is None where it is outside FHIR's id rule; `last_updated` is the text as it came.
    `source` and `tags` (system, code) are those of the restated `meta`.
    """

    type: str
    local_id: str
    public_id: str
    version_id: str | None
    last_updated: str | None
    source: str | None
    tags: tuple[Tag, ...]
    raw: bytes


class _Coding(msgspec.Struct, gc=False):
    system: str | None = None
    code: str | None = None


class _Meta(msgspec.Struct, rename="camel", gc=False):
    version_id: str | None = None
    last_updated: str | None = None
    source: str | None = None
    tag: list[_Coding] | None = None


class _Rest(NamedTuple):
    """A `meta` without its braces, or the end of one, restated."""

    text: bytes
    version_id: str | None
    last_updated: str | None
    source: str | None
    tags: tuple[Tag, ...]


_decode_meta = msgspec.json.Decoder(_Meta).decode


class Restater:
    """Restates the resources of one manager's answer.

    `origins` are all registered managers: a `meta.source` that names a resource under the base of one of them
    (a replica's home) is given its public address. Aliases made are added to `aliases`.
    """

    def __init__(self, origin: Origin, aliases: dict[str, str], origins: Iterable[Origin] = ()) -> None:
        self._origin = origin
        self._aliases = aliases
        self._origins = tuple(origins)
        self._rests: dict[bytes, _Rest | None] = {}
        self._types: dict[bytes, str] = {}

    def restate(self, raw: bytes) -> Head:
        """Raises `IdError`, or `JsonError` where the resource is no object or names a member twice."""
        common = _COMMON.match(raw)
        if common is None or raw.find(b'"id"', common.end(2)) > 0:
            return self._carefully(raw)
        start = common.end()
        end = raw.find(b'},"', start)
        if end < 0:
            return self._carefully(raw)
        tail = raw[start:end]
        try:
            rest = self._rests[tail]
        except KeyError:
            rest = self._rests[tail] = self._rest(tail)
        if rest is None:
            return self._carefully(raw)
        kind, local, version, updated = common.groups()
        public = public_id_bytes(self._origin, local, self._aliases)
        id_start, id_end = common.span(2)
        return Head(
            self._types.get(kind) or self._types.setdefault(kind, kind.decode()),
            local.decode(),
            public.decode(),
            version.decode() if version else rest.version_id,
            updated.decode() if updated else rest.last_updated,
            rest.source,
            rest.tags,
            b"".join((raw[:id_start], public, raw[id_end:start], rest.text, raw[end:])),
        )

    def _rest(self, tail: bytes) -> _Rest | None:
        """The restated end of a `meta`, or None where `tail` is not the end of one.

        `tail` was cut at the first `},"`. It is the end of the object exactly when it makes an object of its
        own.
        """
        if not tail or tail.startswith(b","):
            rest = self._meta(b'{"":0' + tail + b"}")
            return None if rest is None else rest._replace(text=rest.text[len(b'"":0') :])
        return self._meta(b"{" + tail + b"}")

    def _meta(self, text: bytes) -> _Rest | None:
        """A `meta` object with source and region; None where it is no object. One of wrong types is left
        alone."""
        try:
            places = members(text)
        except JsonError:
            return None
        try:
            meta = _decode_meta(text)
        except msgspec.ValidationError:
            return _Rest(text[1:-1], None, None, None, ())
        tags = tuple((coding.system, coding.code) for coding in meta.tag or () if coding.code is not None)
        source, changes = self._source(meta.source), {}
        if source != meta.source:
            changes["source"] = orjson.dumps(source)
        if not any(system is not None and system.partition("|")[0] == TRE_R30 for system, _ in tags):
            tags = (*tags, (TRE_R30, self._origin.region))
            changes["tag"] = with_item(_value(text, places, "tag"), self._origin.tag)
        version = meta.version_id if meta.version_id and ID.fullmatch(meta.version_id) else None
        return _Rest(replaced(text, places, changes)[1:-1], version, meta.last_updated, source, tags)

    def _source(self, source: str | None) -> str:
        """`meta.source`: an absolute URI stays or, where it is a known manager's resource, is made public."""
        if source is None or _ABSOLUTE.match(source) is None:
            return self._origin.base_url
        for origin in self._origins:
            if source.startswith(origin.base_url + "/") and (
                public := outward_url(source, origin, self._aliases)
            ):
                return public
        return source

    def _carefully(self, raw: bytes) -> Head:
        """Any form, by the places of the top-level members."""
        places = members(raw)
        kind = text_of(_value(raw, places, "resourceType") or b"")
        local = text_of(_value(raw, places, "id") or b"")
        if kind is None or _TYPE.fullmatch(kind) is None:
            raise JsonError("no resourceType")
        if local is None or ID.fullmatch(local) is None:
            raise IdError("id outside the rule")
        public = public_id_bytes(self._origin, local.encode(), self._aliases).decode()
        meta_text = _value(raw, places, "meta")
        rest = self._meta(meta_text if meta_text is not None else b"{}")
        changes = {"id": b'"' + public.encode() + b'"'}
        if rest is None:
            rest = _Rest(
                b"", None, None, None, ()
            )  # `meta` is no object: the manager's fault, and left to it
        else:
            changes["meta"] = b"{" + rest.text + b"}"
        return Head(kind, local, public, *rest[1:], replaced(raw, places, changes))


def _value(text: bytes, places: list[Member], name: str) -> bytes | None:
    for place in places:
        if place.name == name:
            return text[place.start : place.end]
    return None


def with_item(array: bytes | None, item: bytes) -> bytes:
    """A JSON array with one more item at its end; None: a new one."""
    if array is None or not array.startswith(b"["):
        return b"[" + item + b"]"
    inner = array[1:-1].rstrip()
    return b"[" + inner + (b"," if inner.lstrip() else b"") + item + b"]"


def replaced(text: bytes, places: list[Member], changes: dict[str, bytes]) -> bytes:
    """An object with the values of some members replaced; those it has not are added at its end, `meta` after
    `id`."""
    parts: list[bytes] = []
    position = 0
    left = dict(changes)
    for place in places:
        value = left.pop(place.name, None)
        if value is None:
            continue
        parts += (text[position : place.start], value)
        position = place.end
        if place.name == "id" and "meta" in left and not any(other.name == "meta" for other in places):
            parts.append(b',"meta":' + left.pop("meta"))
    closing = len(text) - 1 if not left else _end_of_members(text, places)
    parts.append(text[position:closing])
    separator = b"," if places else b""
    for name, value in left.items():
        parts.append(separator + b'"' + name.encode() + b'":' + value)
        separator = b","
    parts.append(text[closing:])
    return b"".join(parts)


def _end_of_members(text: bytes, places: list[Member]) -> int:
    return places[-1].end if places else text.index(b"{") + 1
