"""One resource of a manager, in public terms: what moves from reading to merging to writing."""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["match", "include", "outcome"]
Tag = tuple[str | None, str]
Identifier = tuple[str | None, str]


class Change(msgspec.Struct, frozen=True, gc=False):
    """What a history entry tells of the interaction. `location` is public, or None where it was not the
    manager's."""

    method: str
    status: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    location: str | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A resource as JSON text (`raw`, empty for a deletion in a history) and what was read of it on the way.

    `version_id` is the manager's own, None where it is outside FHIR's id rule; `last_updated` is the text as it
    came. `source` and `tags` (system, code) are those of the restated `meta`.
    """

    mode: Mode
    type: str
    local_id: str
    public_id: str
    version_id: str | None
    last_updated: str | None
    source: str | None
    tags: tuple[Tag, ...]
    raw: bytes
    change: Change | None = None

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """The business identifiers, read from `raw` at each call: see `identifiers`."""
        return identifiers(self.raw)


class _Identifier(msgspec.Struct, gc=False):
    system: str | None = None
    value: str | None = None


class _Identified(msgspec.Struct, gc=False):
    identifier: list[_Identifier] | _Identifier | None = None


_decode = msgspec.json.Decoder(_Identified).decode


def identifiers(raw: bytes) -> tuple[Identifier, ...]:
    """The top-level `identifier` of a resource as (system, value), those without a value left out.

    None at all where it is not as FHIR has it. One alone (QuestionnaireResponse, Bundle) counts as one.
    """
    try:
        found = _decode(raw).identifier
    except (msgspec.DecodeError, RecursionError):
        return ()
    each = found if isinstance(found, list) else [found] if found is not None else []
    return tuple((one.system, one.value) for one in each if one.value)
