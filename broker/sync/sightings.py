"""From what a manager showed to what the index learns: circles, and every identifier of their persons. Pure.

A sighting is as new as the newer of the circle and its Patient, for it tells of both. So it does not matter in which order
sightings are learnt: a late one, read before the Patient was given another identifier, is an old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from broker.core import json_text
from broker.core.bundle import Entry
from broker.core.dedup import is_replica
from broker.sync.instants import epoch
from registry.locator_model import Identifier, Sighting

Patients = Mapping[str, Entry]
"""Patients by the reference that leads to them: `Patient/{public id}`."""


class _Identifier(msgspec.Struct, gc=False):
    system: str | None = None
    value: str | None = None


class _Identified(msgspec.Struct, gc=False):
    identifier: list[_Identifier] = []


class _Contained(_Identified, gc=False):
    id: str | None = None


class _Subject(msgspec.Struct, gc=False):
    reference: str | None = None
    identifier: _Identifier | None = None


class _Circle(_Identified, gc=False):
    subject: _Subject | None = None
    contained: list[_Contained] = []


_decode_circle = msgspec.json.Decoder(_Circle).decode
_decode_identified = msgspec.json.Decoder(_Identified).decode


def patients_among(entries: Iterable[Entry]) -> dict[str, Entry]:
    return {f"Patient/{entry.public_id}": entry for entry in entries if entry.type == "Patient"}


def without_patient(circles: Iterable[Entry], patients: Patients) -> list[Entry]:
    """The circles whose subject is one of this manager's own Patients and not at hand."""
    found = []
    for circle in circles:
        slug = circle.public_id.partition(".")[0]
        key = _key(_circle(circle.raw))
        if key is not None and key not in patients and key.startswith(f"Patient/{slug}."):
            found.append(circle)
    return found


def sightings(circles: Sequence[Entry], patients: Patients) -> list[Sighting]:
    """One for each circle. A subject that leads nowhere gives no person."""
    return [_sighting(circle, patients) for circle in circles]


def _sighting(entry: Entry, patients: Patients) -> Sighting:
    circle = _circle(entry.raw)
    patient = patients.get(_key(circle) or "")
    persons = dict.fromkeys(_stated(circle))
    if patient is not None:
        persons |= dict.fromkeys(_usable(_identified(patient.raw).identifier))
    instants = [epoch(entry.last_updated), epoch(patient.last_updated if patient is not None else None)]
    return Sighting(
        manager=entry.public_id.partition(".")[0],
        circle_id=entry.local_id,
        version=entry.version_id,
        last_updated=max((instant for instant in instants if instant is not None), default=None),
        identifiers=tuple(_usable(circle.identifier)),
        persons=tuple(persons),
        replica=is_replica(entry),
    )


def _stated(circle: _Circle) -> list[Identifier]:
    """What the circle itself says of its person: an identifier beside the reference, or a contained Patient."""
    subject = circle.subject
    if subject is None:
        return []
    found = _usable([subject.identifier] if subject.identifier is not None else [])
    reference = subject.reference or ""
    if reference.startswith("#"):
        for one in circle.contained:
            if one.id is not None and one.id.removeprefix("#") == reference[1:]:
                found += _usable(one.identifier)
    return found


def _usable(identifiers: Iterable[_Identifier]) -> list[Identifier]:
    return [(one.system, one.value) for one in identifiers if one.system and one.value]


def _key(circle: _Circle) -> str | None:
    """`Patient/{public id}` of the subject, whatever form its reference has."""
    reference = circle.subject.reference if circle.subject is not None else None
    if reference is None:
        return None
    parts = reference.partition("/_history/")[0].split("/")[-2:]
    return "/".join(parts) if parts[0] == "Patient" else None


def _circle(raw: bytes) -> _Circle:
    try:
        return _decode_circle(raw)
    except (msgspec.DecodeError, RecursionError):
        tree = _tree(raw)
        subject = _object(tree.get("subject"))
        return _Circle(
            identifier=_leniently(tree),
            subject=_Subject(_text(subject.get("reference")), _one(_object(subject.get("identifier")))),
            contained=[
                _Contained(identifier=_leniently(one), id=_text(one.get("id")))
                for one in map(_object, _list(tree.get("contained")))
            ],
        )


def _identified(raw: bytes) -> _Identified:
    try:
        return _decode_identified(raw)
    except (msgspec.DecodeError, RecursionError):
        return _Identified(_leniently(_tree(raw)))


# What managers hold may be of wrong types. What is right beside it counts: an identifier left out is a circle missed.


def _leniently(resource: Mapping[str, Any]) -> list[_Identifier]:
    stated = resource.get("identifier")
    each = [stated] if isinstance(stated, dict) else _list(stated)
    return [_one(_object(one)) for one in each]


def _one(identifier: Mapping[str, Any]) -> _Identifier:
    value = identifier.get("value")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _Identifier(_text(identifier.get("system")), _text(value))


def _tree(raw: bytes) -> Mapping[str, Any]:
    try:
        return _object(json_text.tree(raw))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
