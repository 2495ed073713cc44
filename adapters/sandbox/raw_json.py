"""Changing a few members of a resource in its bytes, leaving all others as they came.

A resource is taken apart one level at a time into its members' raw bytes: number precision, key order,
escapes and narratives survive, and what no FHIR model would accept (an empty `valueString`) passes through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec
import orjson

from broker.errors import RequestError

Members = dict[str, msgspec.Raw]

_OBJECT: Final = msgspec.json.Decoder(Members)
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_BOM: Final = b"\xef\xbb\xbf"
_MAX_DEPTH: Final = 100

SUBSETTED: Final = msgspec.Raw(
    b'{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}'
)


def parse(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """A JSON object: its bytes without byte-order mark, and parsed.

    Raises request.bad-resource for all else.
    """
    raw = body.removeprefix(_BOM)
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise RequestError("request.bad-resource") from None
    if not isinstance(content, dict):
        raise RequestError("request.bad-resource")
    return raw, content


def members(raw: bytes | msgspec.Raw) -> Members:
    return _OBJECT.decode(raw)


def join(parts: Mapping[str, msgspec.Raw]) -> bytes:
    """An object from its members."""
    return b"{" + b",".join(orjson.dumps(name) + b":" + bytes(value) for name, value in parts.items()) + b"}"


def text(value: str) -> msgspec.Raw:
    return msgspec.Raw(orjson.dumps(value))


def stamp(raw: bytes, *, identity: str, version_id: str, last_updated: str, id_last: bool = False) -> bytes:
    """The resource with its server's id, version and instant; the other members of `meta` stay."""
    parts = members(raw)
    meta = _meta(parts)
    meta["versionId"], meta["lastUpdated"] = text(version_id), text(last_updated)
    placed = _placed(parts, text(identity), msgspec.Raw(join(meta)))
    if id_last:
        placed["id"] = placed.pop("id")
    return join(placed)


def subset(raw: bytes, keep: Callable[[str], bool]) -> bytes:
    """The resource with only the members that `keep` names (`_name` as `name`), tagged SUBSETTED."""
    parts = {
        name: value
        for name, value in members(raw).items()
        if name in {"resourceType", "id", "meta"} or keep(name.removeprefix("_"))
    }
    meta = _meta(parts)
    meta["tag"] = msgspec.Raw(b"[" + b",".join(map(bytes, [*_tags(meta), SUBSETTED])) + b"]")
    return join(_placed(parts, parts["id"], msgspec.Raw(join(meta))))


def rewrite(raw: bytes, names: Collection[str], change: Callable[[str, str], str]) -> bytes:
    """The JSON with `change(name, text)` in place of each string member called one of `names`."""
    return bytes(_rewrite(msgspec.Raw(raw), names, change, 0))


def _rewrite(
    raw: msgspec.Raw, names: Collection[str], change: Callable[[str, str], str], depth: int
) -> msgspec.Raw:
    if depth > _MAX_DEPTH:
        raise RequestError("request.bad-resource")
    opening = bytes(memoryview(raw)[:1])
    if opening == b"[":
        items = [_rewrite(item, names, change, depth + 1) for item in _ARRAY.decode(raw)]
        return msgspec.Raw(b"[" + b",".join(map(bytes, items)) + b"]")
    if opening != b"{":
        return raw
    parts = members(raw)
    for name, value in parts.items():
        if name in names and bytes(memoryview(value)[:1]) == b'"':
            before = msgspec.json.decode(value, type=str)
            after = change(name, before)
            if after != before:
                parts[name] = text(after)
        else:
            parts[name] = _rewrite(value, names, change, depth + 1)
    return msgspec.Raw(join(parts))


def _placed(parts: Members, identity: msgspec.Raw, meta: msgspec.Raw) -> Members:
    """The members with this id and meta, where they stood; new ones behind `resourceType`."""
    new = {"id": identity, "meta": meta}
    placed: Members = {}
    for name, value in parts.items():
        placed[name] = new.get(name, value)
        if name == "resourceType":
            placed |= {absent: new[absent] for absent in new if absent not in parts}
    return placed


def _meta(parts: Members) -> Members:
    """The members of `meta`; none where it is absent or no object."""
    try:
        return members(parts["meta"]) if "meta" in parts else {}
    except msgspec.DecodeError:
        return {}


def _tags(meta: Members) -> list[msgspec.Raw]:
    try:
        return _ARRAY.decode(meta["tag"]) if "tag" in meta else []
    except msgspec.DecodeError:
        return []
