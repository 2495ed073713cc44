"""People, structures and circles that the demonstration writes: made up, each call somebody else.

INS of the test system with their right keys; RPPS and FINESS with valid check digits.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from broker.core.ins import INS_NIR_TEST, ins_key

Resource = dict[str, Any]

_PROFILES = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/"
_R260 = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
_G15 = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"
_TYPES = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"
_OWN = "https://demonstration.example"


def patient(postal_code: str) -> Resource:
    """Somebody who lives there."""
    first = f"2510999{secrets.randbelow(10**6):06}"
    return {
        "resourceType": "Patient",
        "identifier": [_typed("INS-NIR-TEST", INS_NIR_TEST, first + ins_key(first)) | {"use": "official"}],
        "name": [{"use": "official", "family": "DÉMONSTRATION", "given": ["Camille"]}],
        "gender": "female",
        "birthDate": "1951-09-09",
        "address": [{"line": ["1 place de la Mairie"], "postalCode": postal_code}],
    }


def professional() -> Resource:
    rpps = _luhn(f"109{secrets.randbelow(10**7):07}")
    return {
        "resourceType": "Practitioner",
        "identifier": [_typed("RPPS", "https://rpps.esante.gouv.fr", rpps)],
        "name": [{"family": "EXEMPLE", "given": ["Dominique"]}],
    }


def structure() -> Resource:
    finess = _luhn(f"35{secrets.randbelow(10**6):06}")
    return {
        "resourceType": "Organization",
        "meta": {"profile": [_PROFILES + "cds-organization"]},
        "identifier": [_typed("FINEG", "https://finess.esante.gouv.fr", finess)],
        "name": "Maison de santé de la démonstration",
    }


def role(practitioner: str, organization: str) -> Resource:
    return {
        "resourceType": "PractitionerRole",
        "identifier": [{"system": f"{_OWN}/exercices", "value": uuid.uuid4().hex}],
        "practitioner": {"reference": practitioner},
        "organization": {"reference": organization},
        "code": [{"coding": [{"system": _G15, "code": "10", "display": "Médecin"}]}],
    }


def contact(person: str) -> Resource:
    return {
        "resourceType": "RelatedPerson",
        "meta": {"profile": [_PROFILES + "cds-fr-related-person"]},
        "identifier": [{"system": f"{_OWN}/contacts", "value": uuid.uuid4().hex}],
        "patient": {"reference": person},
        "relationship": [{"coding": [{"system": _R260, "code": "QUAL"}]}],
        "name": [{"family": "DÉMONSTRATION", "given": ["Claude"]}],
        "telecom": [{"system": "phone", "value": "0199000000"}],
    }


def circle(person: str, members: Sequence[str] = ()) -> Resource:
    """`person` and `members` are references."""
    made: Resource = {
        "resourceType": "CareTeam",
        "meta": {"profile": [_PROFILES + "cds-ihe-careteam"]},
        "identifier": [{"system": f"{_OWN}/cercles", "value": uuid.uuid4().hex}],
        "status": "active",
        "name": "Cercle de soins de la démonstration",
        "subject": {"reference": person},
        "period": {"start": "2026-01-10"},
    }
    if members:
        made["participant"] = [
            {"member": {"reference": member}, "period": {"start": "2026-01-10"}} for member in members
        ]
    return made


def creation(postal_code: str) -> Resource:
    """Flux 1c: a circle, its person who lives there, a carer and a structure."""
    person, place, carer, as_role = (urn() for _ in range(4))
    return transaction(
        entry("POST", "CareTeam", circle(person, [as_role]), urn()),
        entry("POST", "Patient", patient(postal_code), person),
        entry("POST", "Organization", structure(), place),
        entry("POST", "Practitioner", professional(), carer),
        entry("POST", "PractitionerRole", role(carer, place), as_role),
    )


def joining(held: Resource, person: str) -> Resource:
    """Flux 4c: a circle as it is held, to which a relative is added who is made with it."""
    relative = urn()
    joined = {"member": {"reference": relative}, "period": {"start": "2026-02-01"}}
    changed = held | {"participant": [*held.get("participant", ()), joined]}
    return transaction(
        entry("PUT", f"CareTeam/{held['id']}", changed),
        entry("POST", "RelatedPerson", contact(person), relative),
    )


def transaction(*entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def entry(method: str, url: str, resource: Resource, full_url: str | None = None) -> Resource:
    made = {"resource": resource, "request": {"method": method, "url": url}}
    return made if full_url is None else {"fullUrl": full_url, **made}


def urn() -> str:
    return f"urn:uuid:{uuid.uuid4()}"


def _typed(code: str, system: str, value: str) -> Resource:
    return {"type": {"coding": [{"system": _TYPES, "code": code}]}, "system": system, "value": value}


def _luhn(digits: str) -> str:
    """The digits and their check digit."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 - place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return f"{digits}{-total % 10}"
