"""What a change event carries: a FHIR Bundle of type history, in public terms, of resources that stay the bytes they are.

The first entry is the circle; its request and response say what happened to it, as a history does (FHIR R4, http.html#
history). Where the content is full, the circle as it was when it was read follows in that entry (which may be a later
version than the change's own: that one's event comes next), and then each of its actors, once, in the order in which they
are come across.

A full Bundle is self-contained: every reference by which the circle names an actor leads to an entry, and every one by
which an actor is what it is (`copies.followed`: the practitioner and the organisation of a role, the patient of a related
person, the parent of an organisation). What else an actor refers to, a Patient's general practitioner or other records, is
no part of the circle and stays out: the circle's readers have no business with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from broker.core import json_text
from broker.core.bundle_writer import write_history
from broker.core.change_event import CIRCLE, Change, Headers, Operation, Poison, PoisonError, decode_headers
from broker.core.copies import COPIED_TYPES, followed, nests_too_deep
from broker.core.entry import Change as Interaction
from broker.core.entry import Entry
from broker.core.plain_head import read_head
from broker.core.references import named_by, reference_paths

_SHALLOW: Final = 64
"""So many brackets cannot nest deeper than copying bears."""

_METHODS: Final[Mapping[Operation, str]] = {
    Operation.CREATED: "POST",
    Operation.UPDATED: "PUT",
    Operation.DELETED: "DELETE",
}


_NOTHING = msgspec.Raw()


class _Request(msgspec.Struct, gc=False):
    method: str = ""


class _Past(msgspec.Struct, rename="camel", gc=False):
    resource: msgspec.Raw = _NOTHING
    full_url: str = ""
    request: _Request | None = None


class _Bundle(msgspec.Struct, rename="camel", gc=False):
    resource_type: str
    type: str
    entry: list[_Past] = []


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """An event as read. `public_base`: the address that everything in it is public under, without a final slash.

    `circle` and `actors`: None and none where the content is id-only, or the circle is deleted. Their `raw` is as the
    producer had it; their `local_id` is what follows the slug in the public id.
    """

    change: Change
    public_base: str
    circle: Entry | None = None
    actors: tuple[Entry, ...] = ()

    @property
    def home_address(self) -> str:
        """The circle's public address: what a replica names as its source."""
        return f"{self.public_base}/{self.change.subject}"


def id_only_content(change: Change, public_base: str) -> bytes:
    """The Bundle that says what changed, and no more."""
    return write_history(public_base, [_circle_entry(change, b"")])


def full_content(change: Change, circle: Entry, actors: Iterable[Entry], public_base: str) -> bytes:
    """The circle with those of `actors` that belong to it. A deletion is id-only: there is nothing more to tell.

    Raises `ValueError` where `circle` is another circle.
    """
    if (circle.type, circle.public_id) != (change.type, change.public_id):
        raise ValueError("not the circle that changed")
    if change.operation is Operation.DELETED:
        return id_only_content(change, public_base)
    belonging, _ = closure(circle, actors, public_base)
    entries = [_circle_entry(change, circle.raw)]
    entries += [msgspec.structs.replace(actor, change=None) for actor in belonging]
    return write_history(public_base, entries)


def closure(
    circle: Entry, actors: Iterable[Entry], public_base: str
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Of what was read along with a circle, its actors in the order in which they are come across; and what is lacking.

    What is lacking (`Type/public id`, each once) has to be read too, until nothing is, or its manager says that there is
    no such actor: then the reference leads nowhere there either.
    """
    at_hand = {_key(actor): actor for actor in actors}
    found: dict[str, Entry] = {}
    lacking: dict[str, None] = {}
    waiting = deque(references_to_actors(json_text.tree(circle.raw), public_base))
    while waiting:
        key = waiting.popleft()
        if key in found:
            continue
        actor = at_hand.get(key)
        if actor is None:
            lacking[key] = None
            continue
        found[key] = actor
        waiting += _followed(json_text.tree(actor.raw), public_base)
    return tuple(found.values()), tuple(lacking)


def references_to_actors(resource: Mapping[str, Any], public_base: str) -> list[str]:
    """Every actor that a resource names, as `Type/public id`, each once, in the order of its text."""
    named = (named_by(text, public_base) for _, text in reference_paths(resource))
    return list(dict.fromkeys(one.reference for one in named if one is not None and one.type in COPIED_TYPES))


def read_event(key: bytes, value: bytes | None, headers: Headers) -> ChangeEvent:
    """The event that a record of the log is. `value` None is a tombstone: the circle is gone.

    Raises `PoisonError` for what can never be read. Entries behind the circle that are no actors are passed over.
    """
    change, public_base = decode_headers(headers)
    if key != change.key:
        raise PoisonError(Poison.KEY, "key")
    if value is None:
        if change.operation is not Operation.DELETED:
            raise PoisonError(Poison.CONTENT, "value")
        return ChangeEvent(change, public_base)
    bundle = _decoded(value)
    if not bundle.entry:
        raise PoisonError(Poison.CONTENT, "Bundle.entry")
    first, *others = bundle.entry
    if first.full_url != f"{public_base}/{change.subject}":
        raise PoisonError(Poison.CONTENT, "Bundle.entry[0].fullUrl")
    method = first.request.method if first.request is not None else ""
    if method not in ({"DELETE"} if change.operation is Operation.DELETED else {"POST", "PUT"}):
        raise PoisonError(Poison.CONTENT, "Bundle.entry[0].request")
    raw = bytes(first.resource)
    if not raw or change.operation is Operation.DELETED:
        return ChangeEvent(change, public_base)
    circle = _entry(raw, first.full_url, public_base, CIRCLE, 0)
    circle = msgspec.structs.replace(circle, local_id=change.local_id)
    return ChangeEvent(change, public_base, circle, _actors(others, public_base))


def _actors(entries: Sequence[_Past], public_base: str) -> tuple[Entry, ...]:
    actors = []
    for index, past in enumerate(entries, start=1):
        kind = past.full_url.removeprefix(f"{public_base}/").partition("/")[0]
        raw = bytes(past.resource)
        if kind in COPIED_TYPES and raw:
            actors.append(_entry(raw, past.full_url, public_base, kind, index))
    return tuple(actors)


def _circle_entry(change: Change, raw: bytes) -> Entry:
    interaction = Interaction(method=_METHODS[change.operation])
    return Entry(
        "match",
        change.type,
        change.local_id,
        change.public_id,
        change.version,
        change.last_updated,
        None,
        (),
        raw,
        interaction,
    )


def _followed(resource: Mapping[str, Any], public_base: str) -> list[str]:
    named = (named_by(text, public_base) for _, text, _ in followed(resource))
    return [one.reference for one in named if one is not None and one.type in COPIED_TYPES]


def _key(entry: Entry) -> str:
    return f"{entry.type}/{entry.public_id}"


# --- reading


_decode_bundle = msgspec.json.Decoder(_Bundle).decode


def _decoded(value: bytes) -> _Bundle:
    try:
        bundle = _decode_bundle(json_text.utf8(value))
    except (msgspec.DecodeError, RecursionError, json_text.JsonError) as error:
        raise PoisonError(Poison.CONTENT, "Bundle") from error
    if (bundle.resource_type, bundle.type) != ("Bundle", "history"):
        raise PoisonError(Poison.CONTENT, "Bundle.type")
    return bundle


def _entry(raw: bytes, full_url: str, public_base: str, kind: str, index: int) -> Entry:
    place = f"Bundle.entry[{index}].resource"
    try:
        head = read_head(raw)
        too_deep = raw.count(b"{") + raw.count(b"[") > _SHALLOW and nests_too_deep(json_text.tree(raw))
    except (json_text.JsonError, RecursionError) as error:
        raise PoisonError(Poison.CONTENT, place) from error
    if too_deep or head.type != kind:
        raise PoisonError(Poison.CONTENT, place)
    if full_url != f"{public_base}/{kind}/{head.id}":
        raise PoisonError(Poison.CONTENT, f"Bundle.entry[{index}].fullUrl")
    local = head.id.partition(".")[2] or head.id
    return Entry(
        "include", kind, local, head.id, head.version_id, head.last_updated, head.source, head.tags, raw
    )
