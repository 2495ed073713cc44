"""A client's resource as its manager is to have it: its own id, and without the marks that the broker put there (pure).

Going out, the broker gives a resource its manager's address as source and its region as tag, where it said neither
(`resource_head`). A client that changes what it read sends both back. They are taken off again, so that what goes out and
comes back in is what it was.
"""

from __future__ import annotations

import msgspec
import orjson

from broker.core.identity import Origin
from broker.core.json_text import members
from broker.core.resource_head import value_of, with_values
from registry.model import TRE_R30

_VERSIONED = frozenset({"versionId", "lastUpdated"})
"""The manager's to set: what a client states of them is not looked at (FHIR R4, http.html#update)."""


def localised(body: bytes, origin: Origin, local_id: str | None) -> bytes:
    """`body` with this id (None: without any, as for a creation), and `meta` without what the broker or the manager adds."""
    places = members(body)
    changes: dict[str, bytes] = {}
    dropped = {"id"} if local_id is None else set()
    meta = value_of(body, places, "meta")
    if meta is not None:
        changes["meta"] = _meta(meta, origin)
        if changes["meta"] == b"{}":
            dropped.add("meta")
        if changes["meta"] in (b"{}", meta):
            del changes["meta"]
    if local_id is not None:
        changes["id"] = orjson.dumps(local_id)
    replaced = with_values(body, places, changes) if changes else body
    if not any(place.name in dropped for place in places):
        return replaced
    return _without(replaced, dropped)


def _meta(text: bytes, origin: Origin) -> bytes:
    try:
        meta = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return text  # no object: the checks say so
    kept = {name: bytes(value) for name, value in meta.items() if name not in _VERSIONED}
    if "source" in kept and _tree(kept["source"]) == origin.base_url:
        del kept["source"]
    if "tag" in kept:
        tags = _tags(kept["tag"], origin)
        kept.pop("tag") if tags == b"[]" else kept.update(tag=tags)
    return b"{" + b",".join(orjson.dumps(name) + b":" + value for name, value in kept.items()) + b"}"


def _tags(text: bytes, origin: Origin) -> bytes:
    try:
        tags = msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return text
    own = {"system": TRE_R30, "code": origin.region}
    return b"[" + b",".join(bytes(tag) for tag in tags if _tree(bytes(tag)) != own) + b"]"


def _tree(value: bytes) -> object:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _without(body: bytes, names: set[str]) -> bytes:
    """An object without some of its members."""
    kept = [body[place.key : place.end] for place in members(body) if place.name not in names]
    return b"{" + b",".join(kept) + b"}"
