"""Names, roles, dates of FHIR resources as people read them. What managers hold may be of any shape: nothing here fails
on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.core.outcome import Language

Json = Mapping[str, Any]

_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "GUARD": ("Représentant légal", "Legal guardian"),
    "QUAL": ("Personne de confiance", "Trusted person"),
    "CAREGIVER": ("Aidant", "Carer"),
    "PCP": ("Médecin traitant", "Primary care provider"),
}
"""Codes that the guide's circles carry most, where nobody gave their display."""


def items(value: object) -> list[Json]:
    """The objects of a list; none of anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def part(value: object, *names: str) -> Any:
    """What is at a path of objects, or None."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def words(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def person_name(resource: Json) -> str:
    """Given names, then the family name; the official name first."""
    names = items(resource.get("name"))
    names.sort(key=lambda one: one.get("use") != "official")
    for name in names:
        given = name.get("given")
        parts = [words(one) for one in given] if isinstance(given, list) else []
        told = " ".join(filter(None, [*parts, words(name.get("family"))])) or words(name.get("text"))
        if told:
            return told
    return ""


def name_of(resource: Json) -> str:
    """Of a person or of an organization."""
    return words(resource.get("name")) or person_name(resource)


def coded(concepts: object, language: Language) -> str:
    """CodeableConcepts, one or several, in words."""
    listed = [concepts] if isinstance(concepts, dict) else items(concepts)
    return ", ".join(filter(None, (_coded(one, language) for one in listed)))


def _coded(concept: Json, language: Language) -> str:
    if text := words(concept.get("text")):
        return text
    codings = items(concept.get("coding"))
    label = next((found for one in codings if (found := _LABELS.get(words(one.get("code"))))), None)
    if label is not None:
        return label[0 if language == "fr" else 1]
    return next(
        (told for one in codings if (told := words(one.get("display")) or words(one.get("code")))), ""
    )


def reference_of(value: object) -> str:
    """`Type/id` without a version; an address elsewhere as it stands."""
    return words(part(value, "reference")).partition("/_history/")[0]
