"""The questions that the rules of `profile_rules` ask of an element.

A predicate is given an element, the name of one of its members and the resource, and yields what to append to that
member's FHIRPath for each place where the rule is broken: nothing for the member itself, `[1]` for one of its
occurrences. It takes whatever JSON a client may write: what is of the wrong kind is told by `structure`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from broker.core.element_forms import is_resource_type
from broker.core.ins import INS_NIA, INS_NIR, INS_NIR_DEMO, INS_NIR_TEST, is_valid_ins

Element = Mapping[str, Any]
Predicate = Callable[[Element, str, Element], Iterator[str]]

INS_SYSTEMS: Final = frozenset({INS_NIR, INS_NIA, INS_NIR_TEST, INS_NIR_DEMO})
_TYPE_OF_REFERENCE: Final = re.compile(
    r"(https?://.*/)?([A-Z][A-Za-z]{0,63})(?:/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?|\?.*)"
)


def required(element: Element, name: str, _: Element) -> Iterator[str]:
    """1..: the member is there, be it with an extension alone (R4, extensibility.html#special-case)."""
    if not occurrences(element, name):
        yield ""


def single(element: Element, name: str, _: Element) -> Iterator[str]:
    """1..1 of a member that R4 lets repeat."""
    if len(occurrences(element, name)) != 1:
        yield ""


def at_most_one(element: Element, name: str, _: Element) -> Iterator[str]:
    """..1 of a member that R4 lets repeat: each one too many is told."""
    for index in range(1, len(occurrences(element, name))):
        yield f"[{index}]"


def targets(*allowed: str) -> Predicate:
    """The member's references point to resources of these types, as far as their text tells."""

    def broken(element: Element, name: str, resource: Element) -> Iterator[str]:
        value = element.get(name)
        if isinstance(value, list):
            for index, reference in enumerate(value):
                if not _may_point(reference, allowed, resource):
                    yield f"[{index}]"
        elif not _may_point(value, allowed, resource):
            yield ""

    return broken


def of_system(system: str, least: int, most: int) -> Predicate:
    """A slice of CodeableConcepts, told by the system of their codings, and how often it may come."""

    def broken(element: Element, name: str, _: Element) -> Iterator[str]:
        concepts = occurrences(element, name)
        found = [index for index, concept in enumerate(concepts) if system in _systems(concept)]
        if len(found) < least:
            yield ""
        for index in found[most:]:
            yield f"[{index}]"

    return broken


def of_identifier_type(system: str, code: str) -> Predicate:
    """A slice of identifiers, told by the coding of their type, that may come once only."""

    def broken(element: Element, name: str, _: Element) -> Iterator[str]:
        identifiers = occurrences(element, name)
        found = [i for i, identifier in enumerate(identifiers) if has_type(identifier, system, code)]
        for index in found[1:]:
            yield f"[{index}]"

    return broken


def subsetted(element: Element, _: str, __: Element) -> Iterator[str]:
    """The mark of a part of a resource (R4, search.html#elements): writing it back would lose the rest."""
    system = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
    if element.get("code") == "SUBSETTED" and element.get("system") == system:
        yield ""


def wrong_ins(element: Element, name: str, _: Element) -> Iterator[str]:
    """An INS whose key is wrong, or that has not 15 characters."""
    value, system = element.get(name), element.get("system")
    if (
        isinstance(system, str)
        and system in INS_SYSTEMS
        and isinstance(value, str)
        and not is_valid_ins(value)
    ):
        yield ""


def unnamed_official(element: Element, name: str, _: Element) -> Iterator[str]:
    """A name that is said to be the official one, without this part."""
    if element.get("use") == "official" and not occurrences(element, name):
        yield ""


def has_type(identifier: Any, system: str, code: str) -> bool:
    """Whether the type of an Identifier has this coding."""
    kind = identifier.get("type") if isinstance(identifier, dict) else None
    return any(coding.get("code") == code and coding.get("system") == system for coding in _codings(kind))


def occurrences(element: Element, name: str) -> Sequence[Any]:
    """How often a member is there: its values, or what extends them where there are more of those."""
    value, beside = element.get(name), element.get(f"_{name}")
    values = value if isinstance(value, list) else ([] if value is None else [value])
    extended = beside if isinstance(beside, list) else ([] if beside is None else [beside])
    return values if len(values) >= len(extended) else extended


def elements_at(resource: Element, path: str, prefix: str) -> Iterator[tuple[Element, str]]:
    """The objects at a path of member names joined by dots, each with its FHIRPath."""
    if not path:
        yield resource, prefix
        return
    member, _, rest = path.partition(".")
    value = resource.get(member)
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield from elements_at(item, rest, f"{prefix}.{member}[{index}]")
    elif isinstance(value, dict):
        yield from elements_at(value, rest, f"{prefix}.{member}")


def _may_point(reference: Any, allowed: Sequence[str], resource: Element) -> bool:
    """Every type that a reference tells is allowed. A `urn:` tells none: the transaction it is in knows."""
    if not isinstance(reference, dict):
        return True
    declared, text = reference.get("type"), reference.get("reference")
    if isinstance(declared, str) and declared not in allowed:
        return False
    if not isinstance(text, str):
        return True
    found = _contained_type(resource, text[1:]) if text.startswith("#") else _type_in(text)
    return found is None or found in allowed


def _type_in(text: str) -> str | None:
    """The type that the text of a reference names. An address elsewhere need not be one of a FHIR server."""
    match = _TYPE_OF_REFERENCE.fullmatch(text)
    if match is None or (match[1] is not None and not is_resource_type(match[2])):
        return None
    return match[2]


def _contained_type(resource: Element, identity: str) -> str | None:
    contained = resource if not identity else None
    for candidate in occurrences(resource, "contained"):
        if isinstance(candidate, dict) and identity and candidate.get("id") == identity:
            contained = candidate
    found = contained.get("resourceType") if contained is not None else None
    return found if isinstance(found, str) else None


def _systems(concept: Any) -> set[str]:
    systems = (coding.get("system") for coding in _codings(concept))
    return {system for system in systems if isinstance(system, str)}


def _codings(concept: Any) -> Iterator[Element]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    for coding in codings if isinstance(codings, list) else ():
        if isinstance(coding, dict):
            yield coding
