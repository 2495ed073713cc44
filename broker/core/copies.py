"""What an actor becomes when it is copied to another manager (federation, section 4). Pure.

A copy carries everything that its original says, all its identifiers too. What changes is what belongs to the place: `id`,
version and instant go; `meta.tag` says that it is a copy and `meta.source` names the original, so that nobody takes it for
one and whoever wants to change it knows where. The region tag stays the original's.

What the actor refers to is either at the home too by then, and referred to there, or it stays behind: a role's endpoints, a
patient's other records. Their references become logical (FHIR R4, references.html#logical): the original's public address
as an identifier. A relative one would name nobody at the home, or somebody else; many servers refuse an absolute one to
elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.identity import Origin
from broker.core.references import Named, named_by
from broker.core.rewriting import outward_url

COPIED_TYPES = frozenset({"Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Organization"})
"""The guide's actors: what a circle may refer to, and what it needs there."""

URI_SYSTEM = "urn:ietf:rfc:3986"
"""The system of an identifier whose value is a URI."""

_MAX_NESTING = 100
_TAG = {"system": REPLICA_SYSTEM, "code": REPLICA_CODE}

_FOLLOWED: Mapping[str, Mapping[str, bool]] = {
    "PractitionerRole": {"practitioner": True, "organization": True},
    "RelatedPerson": {"patient": True},
    "Organization": {"partOf": False},
}
"""What is copied along with an actor, no more than makes it one; whether it is nothing without."""

# A decimal's precision has a meaning in FHIR: 1.50 is not 1.5.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def parsed(raw: bytes) -> dict[str, Any]:
    """A resource as a tree that keeps the precision of its decimals. `raw` must be a JSON object."""
    return _decode(raw)


def original_of(source: str | None, public_base: str, origins: Sequence[Origin]) -> str | None:
    """`Type/public id` of what a copy's `meta.source` names, by its public address or by that at a registered manager; None
    where it is neither: other addresses are not passed on."""
    if source is None:
        return None
    own = source.removeprefix(public_base + "/")
    if own != source:
        return own.partition("/_history/")[0]
    for origin in origins:
        address = outward_url(source, origin, {}) if source.startswith(origin.base_url + "/") else None
        if address is not None:
            return address.removeprefix(origin.public_base + "/").partition("/_history/")[0]
    return None


def nests_too_deep(resource: Mapping[str, Any]) -> bool:
    """Whether a tree is deeper than any resource: managers are not trusted, and copying goes down level by level."""
    level: list[Any] = [resource]
    for _ in range(_MAX_NESTING):
        level = [
            below
            for one in level
            for below in (one.values() if isinstance(one, Mapping) else one if isinstance(one, list) else ())
        ]
    return bool(level)


def to_json(resource: Mapping[str, Any]) -> bytes:
    """The text of such a tree."""
    return _encode(resource)


def followed(resource: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """What is copied along with an actor: (element, reference, whether it cannot do without)."""
    found = []
    for element, needed in _FOLLOWED.get(str(resource.get("resourceType")), {}).items():
        held = resource.get(element)
        reference = held.get("reference") if isinstance(held, Mapping) else None
        if isinstance(reference, str):
            found.append((element, reference, needed))
    return found


def is_copy(resource: Mapping[str, Any]) -> bool:
    """Whether a resource says that it is a copy of another manager's."""
    tags = _meta(resource).get("tag")
    return any(
        isinstance(tag, Mapping) and tag.get("system") == REPLICA_SYSTEM and tag.get("code") == REPLICA_CODE
        for tag in (tags if isinstance(tags, list) else ())
    )


def source_of(resource: Mapping[str, Any], named: Named, public_base: str) -> str:
    """The public address of an actor's original: its own, or of a copy the one that it names."""
    stated = _meta(resource).get("source")
    if is_copy(resource) and isinstance(stated, str) and stated:
        return stated
    return f"{public_base}/{named.reference}"


def copy_of(
    resource: Mapping[str, Any], *, source: str, references: Mapping[str, str], public_base: str
) -> dict[str, Any]:
    """The copy of an actor in public terms, ready to be created; `resource` stays as it is.

    `source`: see `source_of`. `references` maps references as they stand in the resource to what stands for them at the
    home; every other one to a resource of the federation becomes a logical one.
    """
    copied: dict[str, Any] = _copied(resource, references, public_base)
    copied.pop("id", None)
    meta = {
        name: value
        for name, value in _meta(copied).items()
        if name not in ("versionId", "lastUpdated", "source")
    }
    tags = meta.get("tag")
    tags = tags if isinstance(tags, list) else []
    meta |= {"source": source, "tag": tags if is_copy(copied) else [*tags, _TAG]}
    kind = copied.pop("resourceType", None)
    copied.pop("meta", None)
    return {"resourceType": kind, "meta": meta, **copied}


def _meta(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = resource.get("meta")
    return meta if isinstance(meta, Mapping) else {}


def _copied(value: Any, references: Mapping[str, str], public_base: str) -> Any:
    if isinstance(value, list):
        return [_copied(one, references, public_base) for one in value]
    if not isinstance(value, Mapping):
        return value
    made = {name: _copied(one, references, public_base) for name, one in value.items()}
    reference = value.get("reference")
    if isinstance(reference, str):
        _restate(made, reference, references, public_base)
    return made


def _restate(made: dict[str, Any], reference: str, references: Mapping[str, str], public_base: str) -> None:
    named = named_by(reference, public_base)
    if reference in references:
        made["reference"] = references[reference]
    elif named is not None:
        del made["reference"]
        made.pop("_reference", None)
        made.setdefault("type", named.type)
        made.setdefault("identifier", {"system": URI_SYSTEM, "value": f"{public_base}/{named.reference}"})
