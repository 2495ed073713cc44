"""The parts of resources that `_summary` gives (FHIR R4, search.html#summary)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MANDATORY: Final[Mapping[str, frozenset[str]]] = {"RelatedPerson": frozenset({"patient"})}
"""Elements of cardinality 1..1 in FHIR R4, by type: present in every subset."""

_PERSON: Final = frozenset({"identifier", "active", "name", "telecom", "address", "gender", "birthDate"})

SUMMARY: Final[Mapping[str, frozenset[str]]] = {
    "CareTeam": frozenset(
        {"identifier", "status", "category", "name", "subject", "encounter", "period", "managingOrganization"}
    ),
    "Patient": _PERSON | {"deceasedBoolean", "deceasedDateTime", "managingOrganization", "link"},
    "Practitioner": _PERSON,
    "PractitionerRole": frozenset(
        {
            "identifier",
            "active",
            "period",
            "practitioner",
            "organization",
            "code",
            "specialty",
            "location",
            "telecom",
        }
    ),
    "RelatedPerson": _PERSON | {"patient", "relationship"},
    "Organization": frozenset({"identifier", "active", "type", "name", "partOf"}),
}
"""Elements marked as summary in the definitions of FHIR R4, by type."""
