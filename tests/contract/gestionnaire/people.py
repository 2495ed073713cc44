"""The people and circles that the suite creates where it may write: made up, valid, and its own.

Every name and identifier carries a random token, so that a run meets neither another run nor what a server
holds. INS of the test system (urn:oid:1.2.250.1.213.1.4.10) with correct keys, RPPS and FINESS with theirs.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field

from .client import Json

INS_TEST = "urn:oid:1.2.250.1.213.1.4.10"
RPPS = "https://rpps.esante.gouv.fr"
FINESS = "https://finess.esante.gouv.fr"
TYPE_CODES = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"
R260 = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
R259 = (
    "https://mos.esante.gouv.fr/NOS/TRE_R259-HL7ParticipationFunction/FHIR/TRE-R259-HL7ParticipationFunction"
)
G15 = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"
CDS = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/"
BIRTHPLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"
CIRCLE_SYSTEM = "https://cercle-de-soins.example/contract"


def luhn(digits: str) -> str:
    """`digits` and their Luhn check digit."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if position % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return f"{digits}{-total % 10}"


_given: set[int] = set()
"""Six digits each: of hundreds drawn, two would be the same now and then, and two resources then one."""


def _digits(dice: random.Random) -> str:
    while (drawn := dice.randrange(10**6)) in _given:
        pass
    _given.add(drawn)
    return f"{drawn:06}"


@dataclass(slots=True)
class People:
    """Builders of resources, all with the same token. References are given as `Type/id`."""

    token: str = field(default_factory=lambda: "".join(random.choices(string.ascii_lowercase, k=8)))
    _dice: random.Random = field(default_factory=random.Random)

    def ins(self, birth: str, female: bool) -> str:
        number = f"{2 if female else 1}{birth[2:4]}{birth[5:7]}35{_digits(self._dice)}"
        return f"{number}{97 - int(number) % 97:02}"

    def patient(self, family: str, given: str, birth: str, *, gender: str, city: str, born_at: str) -> Json:
        return {
            "resourceType": "Patient",
            "extension": [{"url": BIRTHPLACE, "valueAddress": {"city": born_at}}],
            "identifier": [
                {
                    "use": "official",
                    "type": {"coding": [{"system": TYPE_CODES, "code": "INS-NIR-TEST"}]},
                    "system": INS_TEST,
                    "value": self.ins(birth, gender == "female"),
                }
            ],
            "name": [{"use": "official", "family": family, "given": [given]}],
            "gender": gender,
            "birthDate": birth,
            "address": [
                {"line": ["12 rue des Lices"], "city": city, "postalCode": "35000", "country": "FRA"}
            ],
        }

    def practitioner(self, family: str, given: str) -> Json:
        rpps = luhn(f"10{self._dice.randrange(10**8):08}")
        return {
            "resourceType": "Practitioner",
            "identifier": [
                {"type": {"coding": [{"system": TYPE_CODES, "code": "RPPS"}]}, "system": RPPS, "value": rpps}
            ],
            "name": [{"family": family, "given": [given]}],
        }

    def role(self, practitioner: str, organization: str, code: str) -> Json:
        return {
            "resourceType": "PractitionerRole",
            "identifier": [{"system": CIRCLE_SYSTEM, "value": f"role-{self.token}-{code}"}],
            "practitioner": {"reference": practitioner},
            "organization": {"reference": organization},
            "code": [{"coding": [{"system": G15, "code": code}]}],
        }

    def contact(self, patient: str, family: str, given: str, *, role: str, city: str) -> Json:
        return {
            "resourceType": "RelatedPerson",
            "meta": {"profile": [CDS + "cds-fr-related-person"]},
            "identifier": [{"system": CIRCLE_SYSTEM, "value": f"contact-{self.token}-{given.lower()}"}],
            "patient": {"reference": patient},
            "relationship": [{"coding": [{"system": R260, "code": role}]}],
            "name": [{"family": family, "given": [given]}],
            "telecom": [{"system": "phone", "value": "0100000000"}],
            "address": [{"line": ["3 place du Marché"], "city": city, "postalCode": "59200"}],
        }

    def organization(self, name: str, part_of: str | None = None) -> Json:
        finess = luhn(f"35{_digits(self._dice)}")
        resource: Json = {
            "resourceType": "Organization",
            "meta": {"profile": [CDS + "cds-organization"]},
            "identifier": [
                {
                    "type": {"coding": [{"system": TYPE_CODES, "code": "FINEG"}]},
                    "system": FINESS,
                    "value": finess,
                }
            ],
            "name": name,
        }
        if part_of is not None:
            resource["partOf"] = {"reference": part_of}
        return resource

    def circle(
        self,
        name: str,
        patient: str,
        members: list[tuple[str, str, str | None]],
        *,
        status: str = "active",
        period: tuple[str, str | None] = ("2024-01-10", None),
        category: str | None = None,
        managed_by: tuple[str, ...] = (),
    ) -> Json:
        """`members`: reference, start and end of each participation."""
        resource: Json = {
            "resourceType": "CareTeam",
            "meta": {"profile": [CDS + "cds-ihe-careteam"]},
            "identifier": [{"system": CIRCLE_SYSTEM, "value": f"{self.token}-{name}"}],
            "status": status,
            "name": f"Cercle de soins {name} {self.token}",
            "subject": {"reference": patient},
            "period": _period(*period),
            "participant": [
                {"member": {"reference": member}, "period": _period(start, end)}
                for member, start, end in members
            ],
            "managingOrganization": [{"reference": reference} for reference in managed_by],
        }
        if category is not None:
            resource["category"] = [{"coding": [{"system": "http://loinc.org", "code": category}]}]
        return {name: value for name, value in resource.items() if value != []}


def _period(start: str, end: str | None) -> Json:
    return {"start": start} if end is None else {"start": start, "end": end}
