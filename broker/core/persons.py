"""Whose a resource is, and by what two circles are seen to be of one person (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from broker.core.query import SearchQuery

INS_SYSTEMS = frozenset(f"urn:oid:1.2.250.1.213.1.4.{number}" for number in (2, 8, 9, 10, 11))
"""INS-C, INS-NIR, INS-NIA, and those of test and demonstration (cds.md, section 4)."""


class _Identifier(msgspec.Struct, gc=False):
    system: str | None = None
    value: str | None = None


class Subject(msgspec.Struct, gc=False):
    """Of a circle, or the `patient` of a RelatedPerson."""

    reference: str | None = None
    identifier: _Identifier | None = None


class _Circle(msgspec.Struct, gc=False):
    subject: Subject | None = None


class _RelatedPerson(msgspec.Struct, gc=False):
    patient: Subject | None = None


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


_PERSON = re.compile(r"(?:https?://[^\s?#]{1,255}/)?Patient/[A-Za-z0-9\-.]{1,64}(?=\Z|/_history/)")
"""A reference with an address. A conditional one (`Patient?identifier=…`) has none, and may name somebody."""

_decode = msgspec.json.Decoder(_Circle, strict=False).decode
_decode_related = msgspec.json.Decoder(_RelatedPerson, strict=False).decode


def subject_of(circle: bytes) -> Subject | None:
    """Of a CareTeam's text; None also where it is of another shape: what managers hold is not judged."""
    try:
        return _decode(circle).subject
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def named_person(subject: Subject | None) -> str | None:
    """What a subject refers to, `Patient/{public id}`, or an address elsewhere; None: nothing that has an address."""
    reference = None if subject is None else subject.reference
    found = None if reference is None else _PERSON.match(reference)
    return None if found is None else found[0]


def person_of(resource_type: str, public_id: str, raw: bytes) -> str | None:
    """Whose a resource in public terms is, as `named_person`; None: nobody's, as a professional's, or not to be told."""
    match resource_type:
        case "Patient":
            return f"Patient/{public_id}"
        case "CareTeam":
            return named_person(subject_of(raw))
        case "RelatedPerson":
            try:
                return named_person(_decode_related(raw).patient)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None
        case _:
            return None


def person_keys(
    circles: Sequence[Circle],
    included: Sequence[Included],
    query: SearchQuery,
    subjects: Sequence[Subject | None] | None = None,
) -> list[tuple[str, list[str]]]:
    """For each circle its public id and the keys of its person. `subjects`: of the circles, where they are known already.

    A key is the subject's reference, an INS of the subject (stated in the circle or held by the included Patient), or,
    where the search was for one person's identifier alone, that search itself.
    """
    patients = {
        f"Patient/{one.public_id}": [f"{s}|{v}" for s, v in one.identifiers if s in INS_SYSTEMS]
        for one in included
        if one.type == "Patient"
    }
    searched = ["searched"] if _one_person(query) else []
    found = [subject_of(circle.raw) for circle in circles] if subjects is None else subjects
    return [
        (circle.public_id, searched + _subject_keys(subject, patients))
        for circle, subject in zip(circles, found, strict=True)
    ]


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


def _subject_keys(subject: Subject | None, patients: Mapping[str, list[str]]) -> list[str]:
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
