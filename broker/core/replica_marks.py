"""The marks on what is copied, by which the regional agent knows later what it has before it. Pure.

The agent puts them on what it writes; a write at a circle's home, on the actors that it has copied there.

A replica of a circle, and a copy of an actor, say so by the tag `urn:cds-broker:copy|replica` (`dedup`), and which they are
of by `meta.source`, the original's public address. One more tag says of which state:

    urn:cds-broker:sequence | 1767225600007              of a circle: the number of the change that it was written from
    urn:cds-broker:as-of    | 2026-01-01T00:00:00Z/3     of an actor: its original's lastUpdated and version

What the agent's manager holds is an `Entry` in that manager's own terms: its `public_id` is its own id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM, is_replica
from broker.core.entry import Entry, Tag
from broker.core.fhir_dates import date_range
from broker.core.identity import ID

SEQUENCE_SYSTEM: Final = "urn:cds-broker:sequence"
AS_OF_SYSTEM: Final = "urn:cds-broker:as-of"

_OWN: Final = frozenset({REPLICA_SYSTEM, SEQUENCE_SYSTEM, AS_OF_SYSTEM})
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)

State = tuple[float, int, str]
"""Comparable: how new an original was. Its instant (microseconds), its version where that is a number, its version."""


def sequence_of(held: Entry) -> int | None:
    """The number of the change that a replica was written from; None where it does not say."""
    for system, code in held.tags:
        if system == SEQUENCE_SYSTEM and _NUMBER.fullmatch(code or ""):
            return int(code or "")
    return None


def held_state(held: Entry) -> State | None:
    """As new as the original that a copy was written from. One that does not say is as new as itself.

    Whoever wrote it had read the original before that instant: so much holds as far as the clocks of two managers agree.
    """
    return state_marked(held.tags) or state_of(held.last_updated, None)


def is_copy_of(held: Entry, address: str) -> bool:
    """Whether a resource is a copy of what is at this public address, whatever the public base was called then."""
    named = original(held.source)
    return is_replica(held) and named is not None and named == original(address)


def state_of(last_updated: str | None, version: str | None) -> State | None:
    """How new something is; None where it gives no instant."""
    instant = None if last_updated is None else date_range(last_updated)
    if instant is None:
        return None
    version = version or ""
    return instant.low, int(version) if _NUMBER.fullmatch(version) else -1, version


def state_marked(tags: Sequence[Tag]) -> State | None:
    """What the tag `as-of` says; None where there is none, or none that can be read."""
    for system, code in tags:
        if system == AS_OF_SYSTEM and code:
            last_updated, _, version = code.partition("/")
            return state_of(last_updated, version)
    return None


def as_of_code(last_updated: str | None, version: str | None) -> str | None:
    """The code of the tag `as-of`; None where no instant is given."""
    if last_updated is None or date_range(last_updated) is None:
        return None
    return f"{last_updated}/{version}" if version else last_updated


def as_of(resource: Mapping[str, Any]) -> str | None:
    """The code of the tag `as-of` for a copy of this actor; None where it gives no instant.

    As new as it says of itself; a copy, as its original was when it was copied, or else as the copy is.
    """
    meta = resource.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    stated = meta.get("tag")
    tags = [one for one in stated if isinstance(one, Mapping)] if isinstance(stated, list) else []
    for tag in tags:
        if tag.get("system") == AS_OF_SYSTEM and isinstance(tag.get("code"), str):
            return str(tag["code"])
    updated, version = meta.get("lastUpdated"), meta.get("versionId")
    if any((tag.get("system"), tag.get("code")) == (REPLICA_SYSTEM, REPLICA_CODE) for tag in tags):
        version = None  # the copy's own, which says nothing of the original's
    return as_of_code(
        updated if isinstance(updated, str) else None, version if isinstance(version, str) else None
    )


def marked(
    resource: Mapping[str, Any], *, sequence: int | None = None, as_of: str | None = None
) -> dict[str, Any]:
    """A replica with these marks and no others of ours. `resource` stays as it is; the tag `copy|replica` is put on it."""
    meta = resource.get("meta")
    meta = dict(meta) if isinstance(meta, Mapping) else {}
    tags = meta.get("tag")
    kept = [one for one in tags if not _is_ours(one)] if isinstance(tags, list) else []
    kept.append({"system": REPLICA_SYSTEM, "code": REPLICA_CODE})
    if sequence is not None:
        kept.append({"system": SEQUENCE_SYSTEM, "code": str(sequence)})
    if as_of is not None:
        kept.append({"system": AS_OF_SYSTEM, "code": as_of})
    meta["tag"] = kept
    return {**resource, "meta": meta}


def original(address: str | None) -> str | None:
    """`CareTeam/bre.12` of a public address; None where it is no resource's. Some servers add a `#` and a trace id."""
    parts = (address or "").partition("#")[0].partition("/_history/")[0].split("/")
    if len(parts) < 2 or not parts[-2].isalpha() or ID.fullmatch(parts[-1]) is None:
        return None
    return f"{parts[-2]}/{parts[-1]}"


def _is_ours(tag: Any) -> bool:
    return isinstance(tag, Mapping) and tag.get("system") in _OWN
