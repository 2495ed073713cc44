"""A resource's own `id` and `meta`, put into public terms without touching another byte (federation, section 1).

The common form, `{"resourceType":…,"id":…,"meta":{…},`, is recognised by a pattern and spliced. In it a `meta`
has a part of its own (version, instant, the trace id that HAPI writes as source) and an end that most resources
of one manager share; what that becomes is worked out once and remembered. Every other form (`id` last, no
`meta`, pretty-printed) goes the careful way, by the places of the top-level members. A nested `id` or `meta` is
never taken for the resource's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec
import orjson

from broker.core.entry import Entry, Mode, Tag
from broker.core.identity import ALIAS_MARK, ID, MAX_ID, Origin, public_id_bytes
from broker.core.json_text import JsonError, Member, members, text_of
from broker.core.rewriting import outward_url
from registry.model import TRE_R30

BAD_ID = "manager.entry-id"
UNREADABLE = "manager.entry-unreadable"
NO_RESOURCE = "manager.entry-empty"
"""Why an entry is left out: keys of `MESSAGES`."""

_OUTCOME = "OperationOutcome"
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_SHARED_LIMIT = 1000  # a longer end of `meta` is not remembered


class EntryError(ValueError):
    """This entry cannot be used; `key` says why."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _Coding(msgspec.Struct, gc=False):
    system: str | None = None
    code: str | None = None


class _Meta(msgspec.Struct, rename="camel", gc=False):
    version_id: str | None = None
    last_updated: str | None = None
    source: str | None = None
    tag: list[_Coding] | None = None


class _Restated(NamedTuple):
    """A `meta` without its braces, or the end of one, and what it says."""

    text: bytes
    version_id: str | None
    last_updated: str | None
    source: str | None
    tags: tuple[Tag, ...]


_decode_meta = msgspec.json.Decoder(_Meta).decode


class Restater:
    """Restates the resources of one manager's answer.

    `searched_type` decides what is a match: only a resource of that type is, whatever `search.mode` says, and one
    without a mode is. None: every resource is (a read, a history). `origins` are all registered managers: a
    `meta.source` that names a resource under the base of one of them (a replica's home) is given its public
    address. Aliases made are added to `aliases`.
    """

    def __init__(
        self,
        origin: Origin,
        aliases: dict[str, str],
        searched_type: str | None = None,
        origins: Iterable[Origin] = (),
    ) -> None:
        self._origin = origin
        self._aliases = aliases
        self._searched = searched_type
        self._otherwise: Mode = "match" if searched_type is None else "include"
        self._dotted = f"{origin.slug}."
        self._origins = tuple(origins)
        self._common = _common(MAX_ID - len(origin.prefix)).match
        self._ends: dict[bytes, _Restated | None] = {}
        self._leads: dict[bytes, tuple[str, bytes]] = {}

    def restate(self, raw: bytes, stated_mode: str | None = None) -> Entry:
        """Raises `EntryError`. An OperationOutcome that is no match comes back as it was, with mode outcome."""
        common = self._common(raw)
        if common is None:
            return self._carefully(raw, stated_mode)
        id_at = common.start(2)
        if raw.rfind(b'"id"') > id_at:
            return self._carefully(raw, stated_mode)
        kind_text, local, version, updated = common.groups()
        start = common.end()
        end = raw.find(b'},"', start)
        tail = raw[start:end]
        meta = self._ends.get(tail)
        if meta is None:
            meta = self._ends[tail] = self._end_of_meta(tail)
        lead = self._leads.get(kind_text)
        if lead is None:
            lead = self._leads[kind_text] = (kind_text.decode(), raw[:id_at] + self._origin.prefix)
        kind, beginning = lead
        if meta is None or kind == _OUTCOME:
            return self._carefully(raw, stated_mode)
        local_id = local.decode()
        return Entry(
            "match" if kind == self._searched and stated_mode != "include" else self._otherwise,
            kind,
            local_id,
            self._dotted + local_id,
            version.decode(),
            updated.decode(),
            meta.source,
            meta.tags,
            b"".join((beginning, raw[id_at : common.end(4) + 1], meta.text, raw[end:])),
        )

    def _end_of_meta(self, tail: bytes) -> _Restated | None:
        if len(tail) > _SHARED_LIMIT:
            restated = _end_of_meta(tail, self._origin.base_url, self._origin.region)
        else:
            restated = _shared_end_of_meta(tail, self._origin.base_url, self._origin.region)
        public = self._public_source(restated)
        if public is None:
            return restated
        return _end_of_meta(tail, self._origin.base_url, self._origin.region, public)

    def _whole_meta(self, text: bytes) -> _Restated | None:
        restated = _meta(text, self._origin.base_url, self._origin.region)
        public = self._public_source(restated)
        if public is None:
            return restated
        return _meta(text, self._origin.base_url, self._origin.region, public)

    def _public_source(self, restated: _Restated | None) -> str | None:
        """The public address of the resource that a source names; None where it names none of a manager's."""
        if restated is None or restated.source is None:
            return None
        if restated.source == self._origin.base_url:
            return None  # it names its manager, no resource: as most do
        for origin in self._origins:
            if restated.source.startswith(origin.base_url + "/"):
                return outward_url(restated.source, origin, self._aliases)
        return None

    def _carefully(self, raw: bytes, stated_mode: str | None) -> Entry:
        """Any form, by the places of the top-level members."""
        if not raw:
            raise EntryError(NO_RESOURCE)
        try:
            places = members(raw)
        except JsonError as error:
            raise EntryError(UNREADABLE) from error
        kind = text_of(value_of(raw, places, "resourceType") or b"")
        if kind is None or _TYPE.fullmatch(kind) is None:
            raise EntryError(UNREADABLE)
        if kind == _OUTCOME:
            return Entry("outcome", kind, "", "", None, None, None, (), raw)
        local = text_of(value_of(raw, places, "id") or b"")
        if local is None or ID.fullmatch(local) is None:
            raise EntryError(BAD_ID)
        public = public_id_bytes(self._origin, local.encode(), self._aliases)
        changes = {"id": b'"' + public + b'"'}
        meta = self._whole_meta(value_of(raw, places, "meta") or b"{}")
        if meta is None:  # `meta` is no object: the manager's fault, and left to it
            meta = _Restated(b"", None, None, None, ())
        else:
            changes["meta"] = b"{" + meta.text + b"}"
        mode: Mode = "match" if kind == self._searched and stated_mode != "include" else self._otherwise
        return Entry(mode, kind, local, public.decode(), *meta[1:], with_values(raw, places, changes))


@lru_cache
def _common(room: int) -> re.Pattern[bytes]:
    """The common head up to the part of `meta` that resources share; in it type, id, version and instant.

    A source that is a bare fragment comes after the instant and is passed over: the manager's address replaces
    it. An id that needs an alias, or starts with a dot, is not common.
    """
    return re.compile(
        rb'\{"resourceType":"([A-Z][A-Za-z]++)","id":"(?!%b)([A-Za-z0-9\-][A-Za-z0-9\-.]{0,%d}+)","meta":'
        rb'\{"versionId":"([A-Za-z0-9\-.]{1,64}+)","lastUpdated":"([0-9T:.+Z\-]++)"(?:,"source":"#[^"\\]*+")?+'
        % (ALIAS_MARK.encode(), room - 1)
    )


@lru_cache(maxsize=4096)
def _shared_end_of_meta(tail: bytes, base_url: str, region: str) -> _Restated | None:
    return _end_of_meta(tail, base_url, region)


def _end_of_meta(tail: bytes, base_url: str, region: str, source: str | None = None) -> _Restated | None:
    """The restated end of a `meta`, or None where `tail`, cut at the first `},"`, is not the end of one.

    It is exactly when it makes a whole object: no object's text is the beginning of another's.
    """
    if tail and not tail.startswith(b","):
        return _meta(b"{" + tail + b"}", base_url, region, source)
    dummy = b'"":0'
    restated = _meta(b"{" + dummy + tail + b"}", base_url, region, source)
    return None if restated is None else restated._replace(text=restated.text[len(dummy) :])


def _meta(text: bytes, base_url: str, region: str, source: str | None = None) -> _Restated | None:
    """A `meta` object with source and region; None where it is no object, and as it was where it is of wrong
    types. `source`: what it shall say; None: an absolute URI stays, else it is the manager's address."""
    try:
        places = members(text)
    except JsonError:
        return None
    try:
        meta = _decode_meta(text)
    except msgspec.ValidationError:
        return _Restated(text[1:-1], None, None, None, ())
    changes: dict[str, bytes] = {}
    if source is None:
        source = meta.source if meta.source and _ABSOLUTE.match(meta.source) else base_url
    if source != meta.source:
        changes["source"] = orjson.dumps(source)
    tags = tuple((coding.system, coding.code) for coding in meta.tag or () if coding.code is not None)
    if not any(system is not None and system.partition("|")[0] == TRE_R30 for system, _ in tags):
        tags = (*tags, (TRE_R30, region))
        changes["tag"] = with_item(
            value_of(text, places, "tag"), orjson.dumps({"system": TRE_R30, "code": region})
        )
    version = meta.version_id if meta.version_id and ID.fullmatch(meta.version_id) else None
    return _Restated(with_values(text, places, changes)[1:-1], version, meta.last_updated, source, tags)


def value_of(text: bytes, places: Iterable[Member], name: str) -> bytes | None:
    """The text of one member's value; None where the object has no such member."""
    for place in places:
        if place.name == name:
            return text[place.start : place.end]
    return None


def with_item(array: bytes | None, item: bytes) -> bytes:
    """A JSON array with one more item at its end; a new one where there was none (or no array)."""
    if array is None or not array.startswith(b"["):
        return b"[" + item + b"]"
    inner = array[1:-1].rstrip()
    return b"[" + inner + (b"," if inner.lstrip() else b"") + item + b"]"


def with_values(text: bytes, places: list[Member], changes: dict[str, bytes]) -> bytes:
    """An object with the values of some members replaced; those it lacks come last, but `meta` after `id`."""
    missing = {name: value for name, value in changes.items() if all(place.name != name for place in places)}
    parts: list[bytes] = []
    position = 0
    for place in places:
        if place.name in changes:
            parts += (text[position : place.start], changes[place.name])
            position = place.end
        if place.name == "id" and "meta" in missing:
            parts += (text[position : place.end], b',"meta":', missing.pop("meta"))
            position = place.end
    last = places[-1].end if places else text.index(b"{") + 1
    if missing:
        parts.append(text[position:last])
        added = [orjson.dumps(name) + b":" + value for name, value in missing.items()]
        parts.append((b"," if places else b"") + b",".join(added))
        position = last
    parts.append(text[position:])
    return b"".join(parts)
