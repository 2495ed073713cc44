"""By what two circles are seen to be of one person (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from broker.core.query import SearchQuery

INS_SYSTEMS = frozenset(f"urn:oid:1.2.250.1.213.1.4.{number}" for number in (2, 8, 9, 10, 11))
"""INS-C, INS-NIR, INS-NIA, and those of test and demonstration (cds.md, section 4)."""


class _Identifier(msgspec.Struct):
    system: str | None = None
    value: str | None = None


class _Reference(msgspec.Struct):
    reference: str | None = None
    identifier: _Identifier | None = None


class _Circle(msgspec.Struct):
    subject: _Reference | None = None


class Circle(Protocol):
    @property
    def public_id(self) -> str: ...
    @property
    def raw(self) -> bytes: ...


class Included(Circle, Protocol):
    @property
    def type(self) -> str: ...
    @property
    def identifiers(self) -> Sequence[tuple[str | None, str]]: ...


_decode = msgspec.json.Decoder(_Circle, strict=False).decode


def person_keys(
    circles: Sequence[Circle], included: Sequence[Included], query: SearchQuery
) -> list[tuple[str, list[str]]]:
    """For each circle its public id and the keys of its person.

    A key is the subject's reference, an INS of the subject (stated in the circle or held by the included Patient), or,
    where the search was for one person's identifier alone, that search itself.
    """
    patients = {
        f"Patient/{one.public_id}": [f"{s}|{v}" for s, v in one.identifiers if s in INS_SYSTEMS]
        for one in included
        if one.type == "Patient"
    }
    searched = ["searched"] if _one_person(query) else []
    return [(circle.public_id, searched + _subject_keys(circle, patients)) for circle in circles]


def _one_person(query: SearchQuery) -> bool:
    return any(
        len(criterion.values) == 1
        and criterion.modifier is None
        and "|" in criterion.values[0]
        and criterion.parameter.name == "identifier"
        and criterion.type == "Patient"
        and len(criterion.chain) == 1
        for criterion in query.criteria
    )


def _subject_keys(circle: Circle, patients: Mapping[str, list[str]]) -> list[str]:
    try:
        subject = _decode(circle.raw).subject
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return []  # a subject of another shape: what managers hold is not judged
    if subject is None:
        return []
    keys = []
    if subject.reference is not None:
        reference = subject.reference.partition("/_history/")[0]
        keys = [reference, *patients.get("/".join(reference.split("/")[-2:]), ())]
    stated = subject.identifier
    if stated is not None and stated.system in INS_SYSTEMS and stated.value:
        keys.append(f"{stated.system}|{stated.value}")
    return keys
