"""Criteria derived from what a server holds, and who must be found by them.

A `Parameter` says where a search parameter looks: from a resource over `hop` (a chain) to elements of a kind.
From the values held it makes criteria that tell resources apart, and for each resource a verdict: True (must
be found), False (must not), None (FHIR leaves it open).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from .client import Gestionnaire, Json, Pairs, key, keys, target_of
from .dates import holds
from .world import World, token

Hop = Callable[[World, Json], list[Json]]
Verdicts = Mapping[str, bool | None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """`name` is what is sent; `kind`: token, string, reference, id or date; `ext[URL]` in `path`: an extension."""

    name: str
    kind: str
    path: str
    hop: Hop = lambda _, resource: [resource]

    def values(self, world: World, resource: Json) -> list[object]:
        return [value for target in self.hop(world, resource) for value in walk(target, steps(self.path))]

    def candidates(self, world: World, resource: Json) -> list[str]:
        """Search values that must find this resource."""
        held = self.values(world, resource)
        if self.kind == "string":
            return [text for value in held for text in parts(value) if not set(text) & set("\\,$|")]
        return [_value(self.kind, value) for value in held]

    def verdict(self, world: World, resource: Json, searched: str) -> bool | None:
        prefix, searched = _prefixed(searched) if self.kind == "date" else ("", searched)
        verdicts = [_judge(self.kind, prefix, searched, value) for value in self.values(world, resource)]
        if prefix == "ne" and len(set(verdicts)) > 1:  # one of several differs: R4 does not say
            return None
        if True in verdicts:
            return True
        return None if None in verdicts else False

    def verdicts(self, world: World, resources: Iterable[Json], searched: str) -> Verdicts:
        return {key(resource): self.verdict(world, resource, searched) for resource in resources}


def steps(path: str) -> list[str]:
    """The elements of a path; the dots of an `ext[URL]` do not part them."""
    return re.findall(r"ext\[[^]]*]|[^.]+", path)


def walk(node: object, path: list[str]) -> Iterator[object]:
    """Every value at a path; repeating elements are spread out."""
    if isinstance(node, list):
        for item in node:
            yield from walk(item, path)
    elif not path:
        yield node
    elif isinstance(node, dict):
        if path[0].startswith("ext["):
            url = path[0][4:-1]
            found: object = [item for item in node.get("extension", []) if item.get("url") == url]
        else:
            found = node.get(path[0])
        if found is not None:
            yield from walk(found, path[1:])


def plain(text: str) -> str:
    """Without case and accents, as FHIR compares strings."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold().strip()


_PARTS = {"family", "given", "text", "line", "city", "district", "state", "postalCode", "country"}


def parts(value: object) -> list[str]:
    """The texts that a string parameter looks at: of a string, a HumanName or an Address."""
    if isinstance(value, str):
        return [value]
    assert isinstance(value, dict)
    found = [part for name, part in value.items() if name in _PARTS]
    return [text for part in found for text in (part if isinstance(part, list) else [part])]


def _value(kind: str, value: object) -> str:
    if kind == "date":
        return (value["start"] if isinstance(value, dict) else str(value))[:10]
    if kind == "token":
        return token(value) if isinstance(value, dict) else str(value)
    return target_of(str(value)) if kind == "reference" else str(value)


def _judge(kind: str, prefix: str, searched: str, value: object) -> bool | None:
    if kind == "date":
        assert isinstance(value, str | dict)
        return holds(prefix, searched, value)
    if kind == "string":
        texts = [plain(text) for text in parts(value)]
        if any(text.startswith(plain(searched)) for text in texts):
            return True
        return None if plain(searched) in " ".join(texts) else False  # a server may look at each word
    return _value(kind, value) == searched


def _prefixed(searched: str) -> tuple[str, str]:
    return (searched[:2], searched[2:]) if searched[:2].isalpha() else ("eq", searched)


def telling(
    world: World, resources: list[Json], values: Iterable[str], judge: Callable[[str], Verdicts]
) -> str:
    """The first value that some of the resources meet and others do not.

    The suite's own people always offer one. What a server happens to hold may not: then one that all of them
    meet is better than none, and where there is not even that the test is skipped.
    """
    fallback = None
    for value in dict.fromkeys(values):
        verdicts = set(judge(value).values())
        if {True, False} <= verdicts:
            return value
        if True in verdicts and fallback is None:
            fallback = value
    assert not world.created, "the suite's own people do not tell this criterion from none"
    if fallback is None:
        pytest.skip(f"none of the {len(resources)} resources found has a value to search by")
    return fallback


async def assert_found(gestionnaire: Gestionnaire, world: World, params: Pairs, verdicts: Verdicts) -> None:
    """A search among the resources of `verdicts` finds those that are True, none that is False, each once."""
    assert True in verdicts.values(), "nothing to be found"
    resource_type = next(iter(verdicts)).partition("/")[0]
    scope = world.scope([item for item in world.of_type(resource_type) if key(item) in verdicts])
    found = keys(await gestionnaire.search_all(resource_type, [*scope, *params]))
    assert len(found) == len(set(found)), "a match came twice"
    assert set(found) <= verdicts.keys(), "a match outside the identifiers asked for"
    wrong = {name: expected for name, expected in verdicts.items() if expected not in (None, name in found)}
    assert not wrong, f"{params}: expected {wrong}, found {found}"


def _patient(world: World, circle: Json) -> list[Json]:
    actor = world.actor(circle.get("subject"))
    return [] if actor is None else [actor]


def _members(resource_type: str) -> Hop:
    return lambda world, circle: world.members(circle, resource_type)


def _through(first: Hop, element: str) -> Hop:
    def hop(world: World, resource: Json) -> list[Json]:
        found = [world.actor(item.get(element)) for item in first(world, resource)]
        return [actor for actor in found if actor is not None]

    return hop


_BIRTHPLACE = "ext[http://hl7.org/fhir/StructureDefinition/patient-birthPlace].valueAddress"
_ROLES = _members("PractitionerRole")
_CONTACTS = _members("RelatedPerson")
_STRUCTURES = _members("Organization")

CIRCLE = [
    Parameter("identifier", "token", "identifier"),
    Parameter("status", "token", "status"),
    Parameter("category", "token", "category.coding"),
    Parameter("patient", "reference", "subject.reference"),
    Parameter("subject", "reference", "subject.reference"),
    Parameter("participant", "reference", "participant.member.reference"),
    Parameter("managingOrganization", "reference", "managingOrganization.reference"),
]
CIRCLE_DATES = [
    Parameter("start", "date", "period.start"),
    Parameter("end", "date", "period.end"),
    Parameter("participant-start", "date", "participant.period.start"),
    Parameter("participant-end", "date", "participant.period.end"),
    Parameter("date", "date", "period"),
    Parameter("_lastUpdated", "date", "meta.lastUpdated"),
]
CHAINS = [
    Parameter("patient.identifier", "token", "identifier", _patient),
    Parameter("patient.family", "string", "name.family", _patient),
    Parameter("patient.given", "string", "name.given", _patient),
    Parameter("patient.address", "string", "address", _patient),
    Parameter("patient.birthdate", "date", "birthDate", _patient),
    Parameter("patient.gender", "token", "gender", _patient),
    Parameter("patient.birthplace", "string", _BIRTHPLACE, _patient),
    Parameter("participant:RelatedPerson._id", "id", "id", _CONTACTS),
    Parameter("participant:RelatedPerson.name", "string", "name", _CONTACTS),
    Parameter("participant:RelatedPerson.relationship", "token", "relationship.coding", _CONTACTS),
    Parameter("participant:RelatedPerson.address", "string", "address", _CONTACTS),
    Parameter("participant:PractitionerRole._id", "id", "id", _ROLES),
    Parameter("participant:PractitionerRole.role", "token", "code.coding", _ROLES),
    Parameter(
        "participant:PractitionerRole.practitioner.name", "string", "name", _through(_ROLES, "practitioner")
    ),
    Parameter(
        "participant:PractitionerRole.practitioner:Practitioner.identifier",
        "token",
        "identifier",
        _through(_ROLES, "practitioner"),
    ),
    Parameter("participant:Organization._id", "id", "id", _STRUCTURES),
    Parameter("participant:Organization.identifier", "token", "identifier", _STRUCTURES),
    Parameter("participant:Organization.name", "string", "name", _STRUCTURES),
    Parameter("participant:Organization.partof.name", "string", "name", _through(_STRUCTURES, "partOf")),
]
ACTORS = {
    "Patient": [
        Parameter("identifier", "token", "identifier"),
        Parameter("family", "string", "name.family"),
        Parameter("given", "string", "name.given"),
        Parameter("name", "string", "name"),
        Parameter("address", "string", "address"),
        Parameter("birthdate", "date", "birthDate"),
        Parameter("gender", "token", "gender"),
        Parameter("birthplace", "string", _BIRTHPLACE),
    ],
    "RelatedPerson": [
        Parameter("_id", "id", "id"),
        Parameter("name", "string", "name"),
        Parameter("relationship", "token", "relationship.coding"),
    ],
    "Practitioner": [
        Parameter("identifier", "token", "identifier"),
        Parameter("name", "string", "name"),
    ],
    "PractitionerRole": [
        Parameter("_id", "id", "id"),
        Parameter("practitioner", "reference", "practitioner.reference"),
        Parameter("role", "token", "code.coding"),
    ],
    "Organization": [
        Parameter("_id", "id", "id"),
        Parameter("identifier", "token", "identifier"),
        Parameter("name", "string", "name"),
    ],
}
"""The search parameters that the Gestionnaire statement lists on the actors."""
