"""`_elements` and `_summary` over a resource's text: top-level members kept or dropped, the rest as it was.

FHIR R4, search#elements. What is not whole says so: the tag SUBSETTED.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import orjson

from broker.core.json_text import JsonError, members
from broker.core.resource_head import value_of, with_item, with_values

_ALWAYS = frozenset({"resourceType", "id", "meta"})
_SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
_SUBSETTED = orjson.dumps({"system": _SYSTEM, "code": "SUBSETTED"})


class _Coding(msgspec.Struct, gc=False):
    system: str | None = None
    code: str | None = None


_decode_tags = msgspec.json.Decoder(list[_Coding]).decode


def keep_elements(raw: bytes, elements: frozenset[str]) -> bytes:
    """The resource with `resourceType`, `id`, `meta` and the named elements (with their `_name` siblings)."""
    return _subset(raw, lambda name: name in _ALWAYS or name.removeprefix("_") in elements)


def drop_elements(raw: bytes, elements: frozenset[str]) -> bytes:
    """The resource without the named elements (and their `_name` siblings): `_summary=data` drops `text`."""
    return _subset(raw, lambda name: name in _ALWAYS or name.removeprefix("_") not in elements)


def _subset(raw: bytes, keep: Callable[[str], bool]) -> bytes:
    parts: list[bytes] = []
    has_meta = False
    for place in members(raw):
        if not keep(place.name):
            continue
        value = raw[place.start : place.end]
        if place.name == "meta":
            value, has_meta = _marked(value), True
        parts.append(raw[place.key : place.start] + value)
    if not has_meta:
        parts.append(b'"meta":{"tag":[' + _SUBSETTED + b"]}")
    return b"{" + b",".join(parts) + b"}"


def _marked(meta: bytes) -> bytes:
    try:
        places = members(meta)
    except JsonError:
        return meta
    tags = value_of(meta, places, "tag")
    try:
        known = _decode_tags(tags) if tags is not None else []
    except msgspec.ValidationError:
        return meta
    if any(tag.system == _SYSTEM and tag.code == "SUBSETTED" for tag in known):
        return meta
    return with_values(meta, places, {"tag": with_item(tags, _SUBSETTED)})
