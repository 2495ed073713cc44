"""What a manager is asked to find out what it can do: pure, no I/O.

A search parameter works where a value that a held resource has brings that resource back (the *good* value)
**and** a value that no resource has brings nothing back (the *bad* value). The second half matters most: a
filter that is silently ignored answers a search for one person with somebody else's circle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.core.element_paths import values_at
from broker.core.search_parameters import PARAMETERS, TYPES, ParamType, SearchParameter
from broker.federation.probe_pages import Resource, is_id

NOBODY: Final = "cds-broker-nobody"
"""An id, identifier and code that nothing has."""

_BAD: Final[Mapping[ParamType, str]] = {
    ParamType.TOKEN: f"urn:cds-broker:nobody|{NOBODY}",
    ParamType.DATE: "1800-01-01",
    ParamType.STRING: "Zzqxcdsbrokernobody",
    ParamType.URI: "urn:cds-broker:nobody",
}
_BAD_BY_NAME: Final = {"_id": NOBODY, "_lastUpdated": "gt2999-12-31"}

_OPPOSITES: Final[Mapping[str, tuple[str, ...]]] = {
    "status": ("entered-in-error", "proposed"),
    "gender": ("other", "unknown"),
    "active": ("true", "false"),
}
"""Codes of required value sets: servers may refuse any other, so the bad value is one that the holder has
not.
"""

_PERSONAL: Final = frozenset({"identifier", "family", "given", "name", "address", "birthdate", "birthplace"})
_PEOPLE: Final = frozenset({"Patient", "RelatedPerson", "Practitioner"})

_UNTRIED: Final = frozenset({"_source", "_profile", "_security"})
"""The broker applies these itself: it sets meta.source, and nobody's work hangs on the other two."""
RESOURCE_LEVEL: Final = frozenset({"_lastUpdated", "_tag"})
"""Tried on CareTeam alone: they are defined on Resource. They count for another type that declares them too.
"""

_ESCAPED = re.compile(r"([\\,$|])")
_REFERENCE = re.compile(r"([A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")


@dataclass(frozen=True, slots=True)
class Trial:
    """One search parameter to be tried. Without data to try it with, `good` and `holder` are None.

    `holder` is the id of the resource that `good` must bring back. `bad_of_holder`: the bad value only
    contradicts the holder, and must be asked together with its `_id`. `personal`: `good` says something
    about a person.
    """

    type: str
    name: str
    good: str | None
    bad: str
    holder: str | None
    bad_of_holder: bool = False

    @property
    def personal(self) -> bool:
        return is_personal(self.type, self.name)


def is_personal(resource_type: str, name: str) -> bool:
    return resource_type in _PEOPLE and name in _PERSONAL


def tried_names(resource_type: str) -> list[str]:
    """The parameters of a type that are put to the test."""
    left_out = _UNTRIED if resource_type == "CareTeam" else _UNTRIED | RESOURCE_LEVEL
    return [name for name in PARAMETERS[resource_type] if name not in left_out]


def trials(resource_type: str, held: Sequence[Resource], base: str) -> list[Trial]:
    """One trial per parameter, with values of as few held resources as will do.

    `base` is the manager's address, under which an absolute reference is one of its own.
    """
    table = PARAMETERS[resource_type]
    names = tried_names(resource_type)
    values = [
        (str(resource["id"]), {name: good_value(resource, table[name], base) for name in names})
        for resource in held
    ]
    values.sort(key=lambda item: -sum(value is not None for value in item[1].values()))
    found: list[Trial] = []
    for name in names:
        holder, good = next(
            ((id_, goods[name]) for id_, goods in values if goods[name] is not None), (None, None)
        )
        bad = bad_value(table[name], good)
        found.append(Trial(resource_type, name, good, bad, holder, bad_of_holder=name in _OPPOSITES))
    return found


def bad_value(parameter: SearchParameter, good: str | None) -> str:
    """A well-formed value that nothing (of a required code: not the holder of `good`) has."""
    for code in _OPPOSITES.get(parameter.name, ()):
        if code != good:
            return code
    if parameter.type is ParamType.REFERENCE:
        return f"{parameter.targets[0]}/{NOBODY}"
    return _BAD_BY_NAME.get(parameter.name) or _BAD[parameter.type]


def good_value(resource: Resource, parameter: SearchParameter, base: str) -> str | None:
    """A search value that this resource has for the parameter; None where it has none to search by."""
    for path in parameter.paths:
        for element in values_at(resource, path):
            value = _search_value(element, parameter, base)
            if value:
                return value
    return None


def _search_value(element: object, parameter: SearchParameter, base: str) -> str | None:
    match parameter.type:
        case ParamType.TOKEN:
            return _token(element)
        case ParamType.DATE:
            return _date(element, parameter)
        case ParamType.STRING:
            return _string(element)
        case ParamType.URI:
            return element if isinstance(element, str) else None
        case ParamType.REFERENCE:
            target = reference_of(element, base)
            return f"{target[0]}/{target[1]}" if target else None


def _token(element: object) -> str | None:
    if isinstance(element, bool):
        return "true" if element else "false"
    if isinstance(element, str):
        return escape(element)
    if not isinstance(element, dict):
        return None
    if isinstance(element.get("coding"), list):
        return next((found for coding in element["coding"] if (found := _token(coding))), None)
    code = element.get("value", element.get("code"))
    system = element.get("system")
    if not isinstance(code, str) or not code:
        return None
    return f"{escape(system)}|{escape(code)}" if isinstance(system, str) and system else escape(code)


def _date(element: object, parameter: SearchParameter) -> str | None:
    if parameter.name == "_lastUpdated" and isinstance(element, str):
        return f"ge{element}"  # servers keep instants at different precisions
    if isinstance(element, str):
        return element
    if isinstance(element, dict) and isinstance(element.get("start"), str):
        return f"ge{element['start']}"  # a day cannot equal a period
    return None


def _string(element: object) -> str | None:
    """Of a name the family, of an address the town: parts that every server searches by."""
    if isinstance(element, str):
        return escape(element.strip())
    if isinstance(element, dict):
        for part in ("family", "city", "text"):
            if isinstance(element.get(part), str) and element[part].strip():
                return escape(element[part].strip())
    return None


def escape(text: str) -> str:
    """FHIR R4, search.html, 3.1.1.4.0.1."""
    return _ESCAPED.sub(r"\\\1", text)


def reference_of(element: object, base: str) -> tuple[str, str] | None:
    """(type, id) of a Reference to a resource of this manager, of the guide's types; else None."""
    reference = element.get("reference") if isinstance(element, dict) else None
    if not isinstance(reference, str):
        return None
    found = _REFERENCE.fullmatch(reference.removeprefix(base.rstrip("/") + "/"))
    if found is None or found[1] not in TYPES or not is_id(found[2]):
        return None
    return found[1], found[2]


def references(resources: Iterable[Resource], path: str, base: str) -> list[tuple[str, str]]:
    """Where a reference element points to, each target once, in order."""
    found = (reference_of(element, base) for item in resources for element in values_at(item, path))
    return list(dict.fromkeys(target for target in found if target))
