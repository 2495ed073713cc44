"""Made-up people and secrets whose every value can be looked for: each is used in one place, so that a leak says where from.

`Cast.seeds` are the values of people, by `actor.element`; `Cast.given` those that a client sends and nobody holds
(criteria, headers, paths, malformed input); `Cast.secrets` keys and tokens. INS of the test system with correct keys.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field
from typing import Any

from tests.contract.gestionnaire.people import CIRCLE_SYSTEM, FINESS, INS_TEST, RPPS, luhn

Json = dict[str, Any]

GIVEN = ("criterion", "strict", "header", "path", "slug", "malformed", "element", "xml", "line", "form")
"""What a client may send wrongly, or in vain."""


def word(length: int = 7) -> str:
    return "".join(random.choices(string.ascii_lowercase, k=length))


def ins(year: str = "37", month: str = "08") -> str:
    number = f"2{year}{month}35{random.randrange(1, 990):03}{random.randrange(1, 1000):03}"
    return f"{number}{97 - int(number) % 97:02}"


def phone() -> str:
    return "+33 2 " + " ".join(f"{random.randrange(100):02}" for _ in range(4))


_DAYS = [f"{year}-{random.randrange(10, 13)}-{random.randrange(10, 29)}" for year in range(1905, 1999)]


@dataclass
class Someone:
    """A person, or a structure named after one."""

    actor: str
    family: str = field(default_factory=lambda: f"Kerneïs-{word()}")
    given: str = field(default_factory=lambda: f"Zéphyrine-{word()}")
    phone: str = field(default_factory=phone)
    email: str = field(default_factory=lambda: f"{word(10)}@courriel.example")
    line: str = field(default_factory=lambda: f"{random.randrange(10, 99)} venelle des Églantiers-{word()}")
    city: str = field(default_factory=lambda: f"Plouzané-{word()}")
    born: str = field(default_factory=_DAYS.pop)
    number: str = ""

    @property
    def seeds(self) -> dict[str, str]:
        some = {
            "family": self.family,
            "given": self.given,
            "phone": self.phone,
            "phone, plain": self.phone.replace(" ", ""),
            "email": self.email,
            "line": self.line,
            "city": self.city,
            "birth": self.born,
            "birth, plain": self.born.replace("-", ""),
            "number": self.number,
        }
        return {f"{self.actor}.{name}": value for name, value in some.items() if value}

    @property
    def contact(self) -> Json:
        return {
            "telecom": [{"system": "phone", "value": self.phone}, {"system": "email", "value": self.email}],
            "address": [{"line": [self.line], "city": self.city, "postalCode": "35000"}],
        }

    @property
    def named(self) -> Json:
        return {"name": [{"family": self.family, "given": [self.given]}]}


def structure_of(someone: Someone) -> Json:
    return {
        "resourceType": "Organization",
        "identifier": [{"system": FINESS, "value": someone.number}],
        "name": f"Cabinet {someone.given} {someone.family}",
        **someone.contact,
    }


def patient_of(someone: Someone) -> Json:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": INS_TEST, "value": someone.number}],
        **someone.named,
        "birthDate": someone.born,
        **someone.contact,
    }


def carer_of(someone: Someone) -> Json:
    return {
        "resourceType": "Practitioner",
        "identifier": [{"system": RPPS, "value": someone.number}],
        **someone.named,
        **someone.contact,
    }


def relative_of(someone: Someone, patient: str) -> Json:
    return {
        "resourceType": "RelatedPerson",
        "identifier": [{"system": CIRCLE_SYSTEM, "value": someone.number}],
        "patient": {"reference": patient},
        "relationship": [
            {
                "coding": [
                    {
                        "system": "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass",
                        "code": "ECON",
                    }
                ]
            }
        ],
        **someone.named,
        "birthDate": someone.born,
        **someone.contact,
    }


def circle_of(name: str, patient: str, members: list[str], number: str) -> Json:
    return {
        "resourceType": "CareTeam",
        "meta": {
            "profile": ["https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"]
        },
        "identifier": [{"system": CIRCLE_SYSTEM, "value": number}],
        "status": "active",
        "name": name,
        "subject": {"reference": patient},
        "period": {"start": "2026-01-10"},
        "participant": [{"member": {"reference": one}, "period": {"start": "2026-01-10"}} for one in members],
    }


@dataclass
class Cast:
    held: Someone = field(default_factory=lambda: Someone("held patient", number=ins()))
    """At a manager from the beginning; the others are written through the broker."""
    written: Someone = field(default_factory=lambda: Someone("written patient", number=ins()))
    moved: Someone = field(default_factory=lambda: Someone("patient of a transaction", number=ins()))
    lost: Someone = field(default_factory=lambda: Someone("patient whose answer is lost", number=ins()))
    carer: Someone = field(
        default_factory=lambda: Someone("carer", number=luhn(f"10{random.randrange(10**8):08}"))
    )
    relative: Someone = field(default_factory=lambda: Someone("relative", number=f"proche-{word()}"))
    structure: Someone = field(
        default_factory=lambda: Someone("structure", number=luhn(f"35{random.randrange(10**6):06}"))
    )
    user: Someone = field(
        default_factory=lambda: Someone("user", number=f"899700{random.randrange(10**6):06}")
    )
    circles: dict[str, str] = field(
        default_factory=lambda: {
            name: f"Cercle de Mme {word()}" for name in ("held", "written", "moved", "lost")
        }
    )
    numbers: dict[str, str] = field(
        default_factory=lambda: {name: f"cercle-{word()}" for name in ("held", "written", "moved", "lost")}
    )
    given: dict[str, str] = field(default_factory=lambda: {one: f"Trégarantec-{word()}" for one in GIVEN})
    given_ins: dict[str, str] = field(default_factory=lambda: {one: ins("41", "03") for one in GIVEN})
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def people(self) -> dict[str, str]:
        everybody = (
            self.held, self.written, self.moved, self.lost, self.carer, self.relative, self.structure,
        )  # fmt: skip
        made = {name: value for one in everybody for name, value in one.seeds.items()}
        made |= {f"circle.{name}": value for name, value in self.circles.items()}
        return made | {f"circle number.{name}": value for name, value in self.numbers.items()}

    @property
    def sent(self) -> dict[str, str]:
        return {f"sent.{name}": value for name, value in self.given.items()} | {
            f"sent INS.{name}": value for name, value in self.given_ins.items()
        }

    @property
    def seeds(self) -> dict[str, str]:
        """All but the user's, who is named in the trail."""
        return self.people | self.sent | {f"secret.{name}": value for name, value in self.secrets.items()}
