"""Elements of made-up resources: names, identifiers, codings, periods, check digits."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from adapters.sandbox.seed_places import Town

Resource = dict[str, Any]

_IDENTIFIER_TYPES: Final = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"


@dataclass(frozen=True, slots=True)
class Person:
    family: str
    given: str
    female: bool

    @property
    def gender(self) -> str:
        return "female" if self.female else "male"


def reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def coding(system: str, code: str, display: str) -> Resource:
    return {"system": system, "code": code, "display": display}


def identifier(code: str, system: str, value: str, *, use: str | None = None) -> Resource:
    stated = {"use": use} if use else {}
    return stated | {
        "type": {"coding": [{"system": _IDENTIFIER_TYPES, "code": code}]},
        "system": system,
        "value": value,
    }


def human_name(person: Person) -> Resource:
    return {"family": person.family, "given": [person.given]}


def period(start: dt.date, end: dt.date | None = None) -> Resource:
    return {"start": start.isoformat()} | ({"end": end.isoformat()} if end else {})


def participant(member: Resource, role: tuple[str, str, str] | None, start: dt.date) -> Resource:
    stated = {"role": [{"coding": [coding(*role)]}]} if role else {}
    return stated | {"member": {"reference": reference(member)}, "period": period(start)}


def finess(town: Town, digits: str) -> str:
    """Nine characters: the department's two (overseas `97`), then a serial number."""
    return town.department[:2] + digits + "0"


def luhn(digits: str) -> str:
    """Digits with their Luhn check digit, as SIREN, SIRET and RPPS have one."""
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(reversed(digits))]
    return digits + str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)
