"""Codes that made-up resources carry: roles, professions, categories, and the systems they are from."""

from __future__ import annotations

from typing import Final

R259: Final = (
    "https://mos.esante.gouv.fr/NOS/TRE_R259-HL7ParticipationFunction/FHIR/TRE-R259-HL7ParticipationFunction"
)
R260: Final = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
G15: Final = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"
R13: Final = "https://mos.esante.gouv.fr/NOS/TRE_R13-Commune/FHIR/TRE-R13-Commune"
INSEE: Final = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-address-insee-code"
BIRTHPLACE: Final = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"
PATIENT_INS: Final = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-patient-ins"
RELIABILITY: Final = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-identity-reliability"
GIVEN_LIST: Final = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-patient-birth-list-given-name"

PHYSICIAN: Final = ("10", "Médecin")
PROFESSIONS: Final = (
    PHYSICIAN,
    ("60", "Infirmier"),
    ("21", "Pharmacien"),
    ("70", "Masseur-Kinésithérapeute"),
    ("91", "Orthophoniste"),
)
CONTACTS: Final = (
    ("GUARD", "Responsable légal"),
    ("QUAL", "Personne de confiance"),
    ("CAREGIVER", "Aidant"),
)
PCP: Final = (R259, "PCP", "Médecin traitant")
PROVIDER: Final = (R260, "PROV", "Professionnel de santé")
LOINC: Final = "http://loinc.org"
CATEGORIES: Final = {
    1: ("LA27977-0", "Episode of care-focused care team"),
    2: ("LA28865-6", "Longitudinal care-coordination focused care team"),
}
"""By a circle's number modulo 3; the others have none. From the value set that CareTeam.category suggests."""
