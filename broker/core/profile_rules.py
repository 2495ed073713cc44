"""The rules of the guide's profiles, as data: for each type, where, which message, and what breaks it.

Read from the built package `ans.fhir.fr.cds` 2.0.1 (snapshots of cds-ihe-careteam, cds-fr-related-person and
cds-organization). The profiles of Patient, Practitioner and PractitionerRole (fr-core-patient 2.1.0, as-practitioner
and as-practitionerrole 1.1.0) are in other packages: what is taken from those warns and refuses nothing. Cardinalities
and codes of R4 itself are `structure`'s, but for the types that a reference may point to. Bindings that are preferred
or need a terminology server (roles of TRE_R259 and TRE_R260, types of organisations) are left to the manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.profile_predicates import (
    Predicate,
    at_most_one,
    of_identifier_type,
    of_system,
    required,
    single,
    subsetted,
    targets,
    unnamed_official,
    wrong_ins,
)

_R260: Final = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
_R216: Final = "https://mos.esante.gouv.fr/NOS/TRE_R216-HL7RoleCode/FHIR/TRE-R216-HL7RoleCode"
_R345: Final = (
    "https://mos.esante.gouv.fr/NOS/TRE_R345-TypeIdentifiantAutre/FHIR/TRE-R345-TypeIdentifiantAutre"
)
_FR_TYPES: Final = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"


@dataclass(frozen=True, slots=True)
class Rule:
    """`member` of every element at `context` (member names joined by dots, none for the resource).

    `key` is a row of `MESSAGES`, whose severity says whether it refuses. Without `member` the element itself is told.
    """

    context: str
    member: str
    key: str
    broken: Predicate


_ANY: Final = (Rule("meta.tag", "", "write.rule.subsetted", subsetted),)

_CARE_TEAM: Final = (
    Rule("", "meta", "write.rule.careteam-meta", required),
    Rule("", "identifier", "write.rule.careteam-identifier", single),
    Rule("identifier", "value", "write.rule.identifier-value", required),
    Rule("", "status", "write.rule.careteam-status", required),
    Rule("", "name", "write.rule.careteam-name", required),
    Rule("", "subject", "write.rule.careteam-subject", required),
    Rule("", "subject", "write.rule.careteam-subject-type", targets("Patient")),
    Rule("", "period", "write.rule.careteam-period", required),
    Rule("period", "start", "write.rule.careteam-start", required),
    Rule("participant", "member", "write.rule.careteam-member", required),
    Rule(
        "participant",
        "member",
        "write.rule.careteam-member-type",
        targets("PractitionerRole", "RelatedPerson", "Organization"),
    ),
    Rule("participant.period", "start", "write.rule.careteam-participant-start", required),
    Rule("participant", "onBehalfOf", "write.rule.reference-type", targets("Organization")),
    Rule("", "managingOrganization", "write.rule.reference-type", targets("Organization")),
    Rule("", "encounter", "write.rule.reference-type", targets("Encounter")),
    Rule("", "reasonReference", "write.rule.reference-type", targets("Condition")),
    Rule("subject.identifier", "value", "write.ins-key", wrong_ins),
)

_RELATED_PERSON: Final = (
    Rule("", "identifier", "write.rule.relatedperson-identifier", single),
    Rule("", "patient", "write.rule.reference-type", targets("Patient")),
    Rule("", "relationship", "write.rule.relatedperson-role", of_system(_R260, 1, 1)),
    Rule("", "relationship", "write.rule.relatedperson-relation", of_system(_R216, 0, 1)),
    Rule("", "name", "write.rule.relatedperson-name", single),
    Rule("name", "family", "write.rule.relatedperson-family", required),
    Rule("name", "given", "write.rule.relatedperson-given", at_most_one),
    Rule("name", "prefix", "write.rule.relatedperson-prefix", at_most_one),
    Rule("", "telecom", "write.rule.relatedperson-telecom", required),
    Rule("telecom", "system", "write.rule.telecom-system", required),
    Rule("telecom", "value", "write.rule.telecom-value", required),
    Rule("identifier", "value", "write.ins-key", wrong_ins),
    Rule("patient.identifier", "value", "write.ins-key", wrong_ins),
)

_ORGANIZATION: Final = (
    Rule("", "identifier", "write.rule.organization-idnst", of_identifier_type(_FR_TYPES, "IDNST")),
    Rule("", "identifier", "write.rule.organization-oi", of_identifier_type(_R345, "42")),
    Rule("telecom", "system", "write.rule.telecom-system", required),
    Rule("telecom", "value", "write.rule.telecom-value", required),
    Rule("", "partOf", "write.rule.reference-type", targets("Organization")),
    Rule("", "endpoint", "write.rule.reference-type", targets("Endpoint")),
)

_PATIENT: Final = (
    Rule("identifier", "value", "write.ins-key", wrong_ins),
    Rule("name", "family", "write.official-name", unnamed_official),
    Rule("name", "given", "write.official-name", unnamed_official),
    Rule(
        "",
        "generalPractitioner",
        "write.rule.reference-type",
        targets("Organization", "Practitioner", "PractitionerRole"),
    ),
    Rule("", "managingOrganization", "write.rule.reference-type", targets("Organization")),
    Rule("contact", "organization", "write.rule.reference-type", targets("Organization")),
    Rule("link", "other", "write.rule.reference-type", targets("Patient", "RelatedPerson")),
)

_PRACTITIONER: Final = (
    Rule("qualification", "issuer", "write.rule.reference-type", targets("Organization")),
)

_PRACTITIONER_ROLE: Final = (
    Rule("", "practitioner", "write.rule.reference-type", targets("Practitioner")),
    Rule("", "organization", "write.rule.reference-type", targets("Organization")),
    Rule("", "location", "write.rule.reference-type", targets("Location")),
    Rule("", "healthcareService", "write.rule.reference-type", targets("HealthcareService")),
    Rule("", "endpoint", "write.rule.reference-type", targets("Endpoint")),
)

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "CareTeam": _ANY + _CARE_TEAM,
    "RelatedPerson": _ANY + _RELATED_PERSON,
    "Organization": _ANY + _ORGANIZATION,
    "Patient": _ANY + _PATIENT,
    "Practitioner": _ANY + _PRACTITIONER,
    "PractitionerRole": _ANY + _PRACTITIONER_ROLE,
}
"""In the order in which they are told. A type that is not of the guide has none."""
