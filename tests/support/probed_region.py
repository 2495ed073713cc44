"""Made-up circles and actors with a value for every search parameter of the guide: what a check can try all
with.
"""

from __future__ import annotations

from typing import Any

from tests.support.fhir_builders import CIRCLE_SYSTEM, INS, INS_TEST

Resource = dict[str, Any]

KEYS = ("ducros", "martin", "ducrosse")
_NOS = "https://mos.esante.gouv.fr/NOS/"
_FINESS = "https://finess.esante.gouv.fr"
_CENTRE = {"system": _FINESS, "value": "350000022"}
_TAG = {"system": "urn:example:tags", "code": "made-up"}


def _meta(number: int) -> Resource:
    return {
        "lastUpdated": f"2026-03-{number + 1:02d}T08:00:00.000Z",
        "profile": ["https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"],
        "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"}],
        "tag": [_TAG],
    }


def _codes(system: str, code: str) -> list[Resource]:
    return [{"coding": [{"system": system, "code": code}]}]


def _patient(number: int, key: str) -> Resource:
    birthplace = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"
    return {
        "resourceType": "Patient",
        "id": key,
        "extension": [{"url": birthplace, "valueAddress": {"city": "Quimper", "country": "FR"}}],
        "identifier": [{"system": INS_TEST, "value": INS[number]}],
        "active": True,
        "name": [{"family": key.title(), "given": ["Zoé"]}],
        "gender": "female",
        "birthDate": f"195{number}-07-01",
        "address": [{"city": "Rennes", "postalCode": "35000"}],
    }


def _contact(key: str) -> Resource:
    return {
        "resourceType": "RelatedPerson",
        "id": f"contact-{key}",
        "identifier": [{"system": "urn:example:contacts", "value": key}],
        "patient": {"reference": f"Patient/{key}"},
        "relationship": _codes(_NOS + "TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass", "GUARD"),
        "name": [{"family": "Le Bihan", "given": ["Anne"]}],
        "telecom": [{"system": "phone", "value": "+33299000000"}],
        "address": [{"city": "Tourcoing"}],
    }


def _professionals() -> list[Resource]:
    return [
        {
            "resourceType": "Organization",
            "id": "group",
            "identifier": [{"system": _FINESS, "value": "350000014"}],
            "name": "Groupement des Lices",
            "address": [{"city": "Rennes"}],
        },
        {
            "resourceType": "Organization",
            "id": "centre",
            "identifier": [_CENTRE],
            "name": "Centre de santé des Lices",
            "partOf": {"reference": "Organization/group"},
            "address": [{"city": "Rennes"}],
        },
        {
            "resourceType": "Practitioner",
            "id": "doctor",
            "identifier": [{"system": "https://rpps.esante.gouv.fr", "value": "10101919190"}],
            "name": [{"family": "Le Goff", "given": ["Yann"]}],
        },
        {
            "resourceType": "PractitionerRole",
            "id": "role",
            "identifier": [{"system": "urn:example:roles", "value": "1"}],
            "practitioner": {"reference": "Practitioner/doctor"},
            "organization": {"reference": "Organization/centre"},
            "code": _codes(_NOS + "TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante", "10"),
        },
    ]


def _circle(number: int, key: str) -> Resource:
    centre = {"reference": "Organization/centre", "identifier": _CENTRE}
    members = ({"reference": "PractitionerRole/role"}, {"reference": f"RelatedPerson/contact-{key}"}, centre)
    period = {"start": f"2024-01-1{number}", "end": f"2027-01-1{number}"}
    return {
        "resourceType": "CareTeam",
        "id": f"circle-{key}",
        "meta": _meta(number),
        "identifier": [{"system": CIRCLE_SYSTEM, "value": f"cercle-{key}"}],
        "status": "active",
        "category": [{**_codes("http://loinc.org", "LA27976-2")[0], "text": "Cercle de soins"}],
        "name": f"Cercle {key}",
        "subject": {"reference": f"Patient/{key}"},
        "period": period,
        "participant": [{"member": member, "period": period} for member in members],
        "managingOrganization": [centre],
    }


def probed_region() -> list[Resource]:
    """Three circles, each of its own person and instant, after the actors that they refer to."""
    people = [_patient(number, key) for number, key in enumerate(KEYS)]
    contacts = [_contact(key) for key in KEYS]
    circles = [_circle(number, key) for number, key in enumerate(KEYS)]
    return [*people, *_professionals(), *contacts, *circles]
