"""Made-up people and circles of a region, the same for the same seed: nobody in here exists.

Persons carry an INS of the *test* system with its right key, professionals an RPPS and structures a SIRET with
valid check digits, telephones numbers that are kept for fiction. Ids are plain (`patient-1`) and the same in
every region, as different managers' ids may be.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from adapters.sandbox.seed_codes import (
    BIRTHPLACE,
    CATEGORIES,
    CONTACTS,
    G15,
    GIVEN_LIST,
    INSEE,
    LOINC,
    PATIENT_INS,
    PCP,
    PHYSICIAN,
    PROFESSIONS,
    PROVIDER,
    R13,
    R260,
    RELIABILITY,
)
from adapters.sandbox.seed_elements import (
    Person,
    Resource,
    coding,
    finess,
    human_name,
    identifier,
    luhn,
    participant,
    period,
    reference,
)
from adapters.sandbox.seed_history import with_earlier_states
from adapters.sandbox.seed_places import FAMILIES, MEN, STREETS, TOWNS, WOMEN, Town
from adapters.sandbox.statement import PROFILES
from adapters.sandbox.store import fhir_instant
from broker.core.ins import INS_NIR_TEST, ins_key
from broker.ports import Clock
from registry.model import REGIONS

_ID_STEMS: Final = {
    "CareTeam": "cercle",
    "Patient": "patient",
    "Practitioner": "professionnel",
    "PractitionerRole": "exercice",
    "RelatedPerson": "contact",
    "Organization": "structure",
}


def seed_region(region: str, circles: int, *, seed: int = 1, clock: Clock) -> list[Resource]:
    """Circles of a region (TRE_R30 code) with everybody in them, references before referrers.

    A circle that changed comes once for each of its states, the present one last. Changes are spread over
    the year before the clock's present day. Raises KeyError for an unknown region.
    """
    return _Seeder(region, seed, clock.now()).resources(circles)


class _Seeder:
    def __init__(self, region: str, seed: int, now: dt.datetime) -> None:
        self._region = region
        self._towns = TOWNS[region]
        self._today = now.date()
        self._random = random.Random(f"{region}/{seed}")  # noqa: S311 - made-up data, no secret
        self._made: list[Resource] = []
        self._roles: list[Resource] = []
        self._structures: list[Resource] = []

    def resources(self, circles: int) -> list[Resource]:
        for number in range(1, 3 + circles // 20):
            self._structures.append(self._organization(number))
        for number in range(1, 6 + circles // 4):
            self._roles.append(self._professional(number))
        for number in range(1, circles + 1):
            self._circle(number)
        return self._made

    # --- actors

    def _organization(self, number: int) -> Resource:
        town = self._pick(self._towns)
        kind = self._pick(("Maison de santé", "Centre hospitalier", "Dispositif d'appui à la coordination"))
        siret = luhn(luhn(self._digits(8)) + self._digits(4))
        part_of = {"partOf": {"reference": reference(self._structures[0])}} if number % 2 == 0 else {}
        return self._add(
            "Organization",
            number,
            {
                "identifier": [
                    identifier("FINEG", "https://finess.esante.gouv.fr", finess(town, self._digits(6))),
                    identifier("SIRET", "https://sirene.fr", siret),
                ],
                "active": True,
                "name": f"{kind} de {town.name} {number}",
                "address": [self._address(town)],
            }
            | part_of,
            f"{kind} de {town.name} {number}",
        )

    def _professional(self, number: int) -> Resource:
        person = self._person()
        profession = PHYSICIAN if number % 2 else self._pick(PROFESSIONS[1:])
        rpps = luhn("100" + self._digits(7))
        practitioner = self._add(
            "Practitioner",
            number,
            {
                "identifier": [identifier("RPPS", "https://rpps.esante.gouv.fr", rpps, use="official")],
                "active": True,
                "name": [human_name(person) | {"prefix": [_title(person, profession)]}],
                "gender": person.gender,
            },
            f"{person.given} {person.family}, {profession[1]}",
        )
        structure = self._pick(self._structures)
        return self._add(
            "PractitionerRole",
            number,
            {
                "active": True,
                "practitioner": {"reference": reference(practitioner)},
                "organization": {"reference": reference(structure)},
                "code": [{"coding": [coding(G15, *profession)]}],
            },
            f"{profession[1]} : {person.given} {person.family}",
        )

    def _patient(self, number: int) -> Resource:
        person = self._person()
        born = self._today - dt.timedelta(days=self._random.randint(3 * 365, 97 * 365))
        birthplace, town = self._pick(self._towns), self._pick(self._towns)
        first13 = (
            f"{2 if person.female else 1}{born:%y%m}{birthplace.insee}{self._random.randint(1, 989):03d}"
        )
        name = human_name(person) | {
            "extension": [{"url": GIVEN_LIST, "valueString": person.given}],
            "use": "official",
        }
        return self._add(
            "Patient",
            number,
            {
                "extension": [
                    {
                        "url": RELIABILITY,
                        "extension": [
                            {
                                "url": "identityStatus",
                                "valueCoding": {
                                    "system": "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0445",
                                    "code": "VALI",
                                },
                            }
                        ],
                    },
                    {
                        "url": BIRTHPLACE,
                        "valueAddress": {
                            "extension": [
                                {"url": INSEE, "valueCoding": {"system": R13, "code": birthplace.insee}}
                            ],
                            "city": birthplace.name,
                        },
                    },
                ],
                "identifier": [
                    identifier("INS-NIR-TEST", INS_NIR_TEST, first13 + ins_key(first13), use="official")
                ],
                "name": [name],
                "gender": person.gender,
                "birthDate": born.isoformat(),
                "address": [self._address(town)],
            },
            f"{person.given} {person.family}",
            profile=PATIENT_INS,
        )

    def _contact(self, number: int, patient: Resource) -> Resource:
        person = self._person(patient["name"][0]["family"] if self._random.random() < 0.6 else None)
        role = self._pick(CONTACTS)
        return self._add(
            "RelatedPerson",
            number,
            {
                "identifier": [{"system": self._system("contact"), "value": f"contact-{number}"}],
                "active": True,
                "patient": {"reference": reference(patient)},
                "relationship": [{"coding": [coding(R260, *role)]}],
                "name": [human_name(person)],
                "telecom": [{"system": "phone", "value": f"063998{self._digits(4)}"}],
                "gender": person.gender,
                "address": [self._address(self._pick(self._towns))],
            },
            f"{person.given} {person.family}, {role[1]}",
        )

    # --- circles

    def _circle(self, number: int) -> None:
        patient = self._patient(number)
        contacts = [self._contact(2 * number - 1, patient)]
        if self._random.random() < 0.4:
            contacts.append(self._contact(2 * number, patient))
        start = self._today - dt.timedelta(days=self._random.randint(30, 1500))
        ended = number % 9 == 0
        end = start + (self._today - start) * 0.9 if ended else None
        structure = self._pick(self._structures)
        name = patient["name"][0]
        title = f"Cercle de soins de {name['given'][0]} {name['family']}"
        category = CATEGORIES.get(number % 3)
        circle = self._add(
            "CareTeam",
            number,
            {
                "identifier": [{"system": self._system("cercle"), "value": f"{self._region}-{number:05d}"}],
                "status": "inactive" if ended else "active",
            }
            | ({"category": [{"coding": [coding(LOINC, *category)]}]} if category else {})
            | {
                "name": title,
                "subject": {"reference": reference(patient)},
                "period": period(start, end),
                "participant": self._participants(number, start, contacts, structure),
                "managingOrganization": [{"reference": reference(structure)}],
            },
            title,
        )
        self._made[-1:] = with_earlier_states(circle, number)

    def _participants(
        self, number: int, start: dt.date, contacts: Sequence[Resource], structure: Resource
    ) -> list[Resource]:
        """Professionals, contacts, the structure; in each third circle somebody left and came back."""
        roles = self._random.sample(self._roles, self._random.randint(2, 4))
        roles.sort(key=lambda role: not _is_physician(role))
        members = [participant(role, PROVIDER, start) for role in roles]
        if _is_physician(roles[0]):
            members[0] = participant(roles[0], PCP, start)
        for contact in contacts:
            coding = contact["relationship"][0]["coding"][0]
            members.append(participant(contact, (R260, coding["code"], coding["display"]), start))
        members.append(participant(structure, None, start))
        if number % 3 == 0:
            away = (self._today - start) / 3
            again = dict(members[1], period=period(start + 2 * away))
            members[1] = dict(members[1], period=period(start, start + away))
            members.append(again)
        return members

    # --- bits

    def _add(
        self, kind: str, number: int, elements: Resource, shown: str, *, profile: str | None = None
    ) -> Resource:
        midnight = dt.datetime.combine(self._today, dt.time(), dt.UTC)
        changed = midnight - dt.timedelta(milliseconds=self._random.randrange(365 * 86_400_000))
        resource = {
            "resourceType": kind,
            "id": f"{_ID_STEMS[kind]}-{number}",
            "meta": {"lastUpdated": fhir_instant(changed), "profile": [profile or PROFILES[kind]]},
            "text": {
                "status": "generated",
                "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{escape(shown)}</p></div>',
            },
        } | elements
        self._made.append(resource)
        return resource

    def _person(self, family: str | None = None) -> Person:
        female = self._random.random() < 0.5
        return Person(family or self._pick(FAMILIES), self._pick(WOMEN if female else MEN), female)

    def _address(self, town: Town) -> Resource:
        line = f"{self._random.randint(1, 120)} {self._pick(STREETS)}"
        return {"line": [line], "city": town.name, "postalCode": town.postcode, "country": "FRA"}

    def _system(self, what: str) -> str:
        return f"https://gestionnaire-{self._region}.example/{what}"

    def _digits(self, count: int) -> str:
        return "".join(str(self._random.randint(0, 9)) for _ in range(count))

    def _pick(self, choices: Sequence[Any]) -> Any:
        return self._random.choice(choices)


def _title(person: Person, profession: tuple[str, str]) -> str:
    return "Dr" if profession == PHYSICIAN else "Mme" if person.female else "M."


def _is_physician(role: Resource) -> bool:
    return bool(role["code"][0]["coding"][0]["code"] == PHYSICIAN[0])


assert set(TOWNS) == set(REGIONS)  # noqa: S101 - two tables that must name the same regions
