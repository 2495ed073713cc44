"""Two regions with something to find for every search of the guide, and what a whole federation answers to them.

Every search is one line of `SEARCHES`. A broker over a manager of little skill must answer each as a broker over whole
managers does: `view` makes answers comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from registry.model import TRE_R30
from tests.support.federation import Broker, ids, link
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS, INS_TEST

Resource = dict[str, Any]

_ROLES = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
_PROFESSIONS = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"
_FINESS = "https://finess.esante.gouv.fr"
_RPPS = "https://rpps.esante.gouv.fr"
_BIRTHPLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"
_FAMILIES = ("Ducros", "Ducrosse", "ducros", "Martin", "Le Goff")
_CITIES = ("Rennes", "Tourcoing", "Quimper")


def region(letter: str, numbers: Iterable[int]) -> list[Resource]:
    """Circles with all their actors; a circle's number gives its place in the order of change."""
    made = _organizations(letter) + _professionals(letter)
    for number in numbers:
        made += [_patient(letter, number), _contact(number), _circle(letter, number)]
    return [{"meta": {"lastUpdated": "2026-01-01T08:00:00Z"}} | resource for resource in made]


def _codes(system: str, code: str, text: str) -> list[Resource]:
    return [{"coding": [{"system": system, "code": code}], "text": text}]


def _organizations(letter: str) -> list[Resource]:
    number = 350000014 if letter == "b" else 310000012
    return [
        {
            "resourceType": "Organization",
            "id": "group",
            "identifier": [{"system": _FINESS, "value": str(number)}],
            "name": "Groupement des Lices",
        },
        {
            "resourceType": "Organization",
            "id": "centre",
            "identifier": [{"system": _FINESS, "value": str(number + 8)}],
            "name": f"Centre de santé {letter.upper()}",
            "partOf": {"reference": "Organization/group"},
        },
    ]


def _professionals(letter: str) -> list[Resource]:
    made: list[Resource] = []
    for number, (family, code) in enumerate((("Le Bihan", "10"), ("Bihan", "40"))):
        rpps = f"1010191919{number}" if letter == "b" else f"1020191919{number}"
        made += [
            {
                "resourceType": "Practitioner",
                "id": f"doctor{number}",
                "identifier": [{"system": _RPPS, "value": rpps}],
                "name": [{"family": family, "given": ["Yann"]}],
            },
            {
                "resourceType": "PractitionerRole",
                "id": f"role{number}",
                "practitioner": {"reference": f"Practitioner/doctor{number}"},
                "organization": {"reference": "Organization/centre"},
                "code": _codes(_PROFESSIONS, code, ("Médecin", "Pharmacien")[number]),
            },
        ]
    return made


def _person(letter: str, number: int) -> str:
    person = number if letter in "bo" else number + 50  # nobody of those two regions
    return INS[person] if person < len(INS) else f"{person:013d}00"


def _patient(letter: str, number: int) -> Resource:
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "meta": {"lastUpdated": f"2026-01-{number + 1:02d}T08:00:00Z"},
        "extension": [{"url": _BIRTHPLACE, "valueAddress": {"city": _CITIES[number % 3]}}],
        "identifier": [{"system": INS_TEST, "value": _person(letter, number)}],
        "name": [{"family": _FAMILIES[number % 5], "given": ["Zoé"]}],
        "gender": ("female", "male")[number % 2],
        "birthDate": f"195{number % 10}-07-01",
        "address": [{"city": _CITIES[number % 3]}],
    }


def _contact(number: int) -> Resource:
    return {
        "resourceType": "RelatedPerson",
        "id": f"k{number}",
        "identifier": [{"system": "urn:example:contacts", "value": f"k{number}"}],
        "patient": {"reference": f"Patient/p{number}"},
        "relationship": _codes(_ROLES, ("GUARD", "QUAL", "CAREGIVER")[number % 3], "Proche"),
        "name": [{"family": ("Ducros", "Ducrossin", "Anne")[number % 3], "given": ["Anne"]}],
        "telecom": [{"system": "phone", "value": "+33299000000"}],
        "address": [{"city": _CITIES[(number + 1) % 3]}],
    }


def _circle(letter: str, number: int) -> Resource:
    started = f"2024-{number + 1:02d}-10"
    members = [f"RelatedPerson/k{number}", f"PractitionerRole/role{number % 2}"]
    members += ["Organization/centre"] if number % 3 else []
    circle: Resource = {
        "resourceType": "CareTeam",
        "id": f"c{number}",
        "meta": {"versionId": "1", "lastUpdated": f"2026-03-{number + 1:02d}T08:00:00.000Z"},
        "identifier": [{"system": CIRCLE_SYSTEM, "value": f"cercle-{letter}{number}"}],
        "status": ("active", "inactive", "suspended")[number % 3],
        "category": _codes(
            "http://loinc.org", ("LA27976-2", "LA28865-6")[number % 2], ("Soins", "Épisode")[number % 2]
        ),
        "name": f"Cercle {letter}{number}",
        "subject": {
            "reference": f"Patient/p{number}",
            "identifier": {"system": INS_TEST, "value": _person(letter, number)},
        },
        "period": {"start": started, **({"end": f"2025-{number + 1:02d}-10"} if number % 2 else {})},
        "participant": [
            {
                "member": {"reference": member},
                "period": {"start": started, "end": f"2026-{number + 1:02d}-01"},
            }
            for member in members
        ],
    }
    if number % 4:
        circle["managingOrganization"] = [
            {"reference": f"Organization/{('group', 'centre')[number % 2]}"},
        ]
    return circle


HELD: Mapping[str, list[Resource]] = {
    "bre": region("b", (0, 1, 4, 5, 8, 9, 10)),
    "occ": region("o", (2, 3, 6, 7, 11)),
}


@dataclass(frozen=True)
class Search:
    """`whole`: every page is followed. `post`: by POST `_search`."""

    target: str
    whole: bool = False
    post: bool = False


CRITERIA: Mapping[str, tuple[str, ...]] = {
    "_id": ("_id=bre.c5,occ.c3", "_id:not=bre.c5"),
    "identifier": (
        f"identifier={CIRCLE_SYSTEM}|cercle-b5",
        "identifier=cercle-b5,cercle-o3,cercle-b4",
        "identifier:not=cercle-b5",
    ),
    "start": ("start=ge2024-05-01", "start=lt2024-05-01", "start=2024-03-10", "start=sa2024-05-01"),
    "end": ("end=ge2025-05-01", "end:missing=true", "end:missing=false", "end=lt2025-05"),
    "status": (
        "status=active",
        "status=active,inactive",
        "status:not=active",
        "status=active&status=inactive",
    ),
    "_lastUpdated": ("_lastUpdated=ge2026-03-05T00:00:00Z", "_lastUpdated=lt2026-03-05"),
    "category": ("category=LA27976-2", "category=http://loinc.org|LA28865-6", "category:text=soins"),
    "participant-start": ("participant-start=ge2024-05-01", "participant-start=2024"),
    "participant-end": ("participant-end=lt2026-05-01",),
    "date": ("date=ge2025-06-01", "date=lt2024-06-01"),
    "participant": (
        "participant=RelatedPerson/bre.k5",
        "participant=bre.role0,occ.role1",
        "participant:PractitionerRole=bre.role0",
        "participant:missing=true",
    ),
    "patient": (
        "patient=Patient/bre.p5",
        "patient=bre.p5,occ.p3",
        f"patient:identifier={INS_TEST}|{5:013d}00",
    ),
    "subject": ("subject=bre.p4", "subject:Patient=occ.p3"),
    "managingOrganization": (
        "managingOrganization=Organization/bre.group",
        "managingOrganization:missing=true",
    ),
}
"""Searches of circles by each of their parameters."""

CHAINS = (
    f"patient.identifier={INS_TEST}|{INS[1]}",
    f"subject:Patient.identifier={4:013d}00",
    "patient.family=ducros",
    "patient.family:exact=Ducros",
    "patient.family:contains=cross",
    "patient.given=zoe&status=active",
    "patient.address=rennes",
    "patient.birthdate=1952-07-01",
    "patient.gender=female",
    "patient.birthplace=Quimper",
    "participant:RelatedPerson._id=bre.k5",
    "participant:RelatedPerson.name=ducros",
    "participant:RelatedPerson.name:exact=Ducros&participant:RelatedPerson.address=Tourcoing",
    "participant:RelatedPerson.relationship=GUARD",
    "participant:RelatedPerson.address=tourcoing",
    "participant:PractitionerRole._id=bre.role0",
    "participant:PractitionerRole.role=10",
    "participant:PractitionerRole.practitioner.name=Bihan",
    "participant:PractitionerRole.practitioner:Practitioner.identifier=10101919190",
    "participant:PractitionerRole.practitioner:Practitioner.name:exact=Le Bihan",
    "participant:Organization._id=bre.centre",
    f"participant:Organization.identifier={_FINESS}|350000022",
    "participant:Organization.name=centre de sante b",
    "participant:Organization.partof.name=groupement",
    "patient.family=nobody",
)

INCLUDES = (
    "_include=CareTeam:subject",
    "_include=CareTeam:participant&status=active",
    "_include=CareTeam:participant:RelatedPerson",
    "_include=*&_id=bre.c5,occ.c3",
    "_include=CareTeam:participant&_include:iterate=PractitionerRole:practitioner",
    "_include=CareTeam:managingOrganization&_include:iterate=Organization:partof",
    "_include:iterate=*&_id=bre.c5,occ.c3",
    "_include=CareTeam:subject&_revinclude:iterate=RelatedPerson:patient&_id=bre.c5",
)

CONTROL = (
    "_sort=_lastUpdated",
    "_sort=-_lastUpdated",
    "_sort=start",
    "_sort=-start",
    "_sort=status,-_lastUpdated",
    "_sort=-identifier",
    "_elements=name",
    "_elements=status,period&start=ge2024-05-01",
    "_summary=true",
    "_summary=data",
    "_summary=count",
    "_summary=count&status=active",
    "_count=0&patient.gender=female",
    "_total=accurate&_count=2&start=ge2024-03-01",
    "_total=none",
    f"_tag={TRE_R30}|53",
)

PAGED = (
    "_count=2",
    "_count=3&_sort=_lastUpdated",
    "_count=2&_sort=-start&status:not=active",
    "_count=3&_sort=status",
    "_count=2&_include=CareTeam:subject&_include=CareTeam:participant",
    "_count=2&patient.gender=female",
    "_count=4&start=ge2024-03-01&_elements=name",
)

ACTORS = (
    "Patient?family=ducros",
    "Patient?family:exact=Ducros",
    "Patient?gender=male&_sort=family",
    "Patient?birthplace=Rennes",
    "Patient?_id=bre.p5,occ.p3&_revinclude=RelatedPerson:patient",
    "RelatedPerson?relationship=GUARD",
    "RelatedPerson?patient=bre.p5",
    "Practitioner?name=bihan&_revinclude=PractitionerRole:practitioner",
    "PractitionerRole?practitioner.name=bihan&_include=PractitionerRole:practitioner",
    "Organization?partof=bre.group",
    "Organization?partof.name=groupement",
)

SEARCHES: tuple[Search, ...] = (
    *(Search(f"CareTeam?{text}") for texts in CRITERIA.values() for text in texts[:2]),
    *(Search(f"CareTeam?{text}") for text in (*CHAINS, *INCLUDES, *CONTROL)),
    *(Search(f"CareTeam?{text}", whole=True) for text in PAGED),
    *(Search(target) for target in ACTORS),
    Search(f"CareTeam?patient.identifier={INS_TEST}|{INS[1]}&_include=CareTeam:subject", post=True),
    Search("CareTeam?start=ge2024-03-01&_count=2", whole=True, post=True),
    Search("CareTeam/_history", whole=True),
    Search("CareTeam/_history?_count=2", whole=True),
    Search("CareTeam/bre.c5/_history"),
)


def about(parameter: str) -> tuple[Search, ...]:
    """The searches for which a manager without this parameter of its circles needs help."""
    return (
        *(Search(f"CareTeam?{text}") for text in CRITERIA[parameter]),
        Search(f"CareTeam?{CRITERIA[parameter][0]}&_count=1&_sort=start", whole=True),
        Search(f"CareTeam?{CRITERIA[parameter][0]}&_summary=count"),
        Search(f"CareTeam?{CRITERIA[parameter][0]}&_total=accurate&_elements=name&_include=CareTeam:subject"),
        Search(f"CareTeam?{CRITERIA[parameter][0]}&_elements=name"),
        Search(f"CareTeam?{CRITERIA[parameter][0]}", post=True),
        *(Search(f"CareTeam?{text}") for text in _CHAINS_BY.get(parameter, ())),
    )


_CHAINS_BY: Mapping[str, tuple[str, ...]] = {
    "patient": tuple(chain for chain in CHAINS if chain.startswith("patient.")),
    "subject": tuple(chain for chain in CHAINS if chain.startswith("subject")),
    "participant": tuple(chain for chain in CHAINS if chain.startswith("participant")),
}


async def pages_of(broker: Broker, search: Search) -> list[Resource]:
    """The answer: one page, or all; an OperationOutcome where it is refused."""
    target, _, query = search.target.partition("?")
    if search.post:
        form = [part.partition("=") for part in query.split("&")]
        answered = await broker.post(f"{target}/_search", {name: value for name, _, value in form})
    else:
        answered = await broker.get(f"{target}?{quote(query, safe='=&:,.-_*')}" if query else target)
    pages = [answered.json]
    while search.whole and (url := link(pages[-1], "next")) is not None:
        assert len(pages) < 50, "paging never ends"
        pages.append((await broker.get(url)).json)
    return pages


@dataclass(frozen=True)
class View:
    """What must be the same whoever answers, and the total, which may be absent."""

    pages: tuple[tuple[tuple[str, ...], frozenset[str]], ...]  # ids of the matches in order; of the includes
    bodies: Mapping[str, Resource]
    total: int | None
    count: int  # of the matches shown


def view(pages: list[Resource]) -> View:
    history = pages[0].get("type") == "history"
    entries = [entry["resource"] for page in pages for entry in page.get("entry", ()) if "resource" in entry]
    return View(
        pages=tuple(
            (tuple(_versions(page) if history else ids(page)), frozenset(ids(page, "include")))
            for page in pages
        ),
        bodies={f"{one['resourceType']}/{one['id']}": _body(one) for one in entries if "id" in one},
        total=pages[0].get("total"),
        count=sum(len(_versions(page) if history else ids(page)) for page in pages),
    )


def _versions(page: Resource) -> list[str]:
    return [entry["resource"]["id"] for entry in page.get("entry", ()) if "resource" in entry]


def _body(resource: Resource) -> Resource:
    """Without what names the address and the version at the manager; tags in one order."""
    meta = {
        key: value for key, value in resource.get("meta", {}).items() if key not in ("source", "versionId")
    }
    if "tag" in meta:
        meta["tag"] = sorted(meta["tag"], key=lambda tag: str(tag["code"]))
    return {**resource, "meta": meta}
