"""The search parameters of the guide, as data (cds.md, section 2; FHIR R4 definitions for the rest).

`paths` are element paths below the resource; every repeating element on the way is spread out. A path step
`ext[URL]` takes the extensions of that URL. `target` types bound what a reference may point to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ParamType(StrEnum):
    TOKEN = "token"  # noqa: S105 - a kind of parameter, no secret
    DATE = "date"
    REFERENCE = "reference"
    STRING = "string"
    URI = "uri"


@dataclass(frozen=True, slots=True)
class SearchParameter:
    name: str
    type: ParamType
    paths: tuple[str, ...]
    targets: tuple[str, ...] = ()
    definition: str = ""


TYPES = ("CareTeam", "Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Organization")
"""The resource types that the guide's managers hold."""

_CDS = "https://interop.esante.gouv.fr/ig/fhir/cds/SearchParameter/"
_R4 = "http://hl7.org/fhir/SearchParameter/"
_BIRTHPLACE = "ext[http://hl7.org/fhir/StructureDefinition/patient-birthPlace].valueAddress"

T, D, R, S, U = ParamType.TOKEN, ParamType.DATE, ParamType.REFERENCE, ParamType.STRING, ParamType.URI
_MEMBERS = ("PractitionerRole", "RelatedPerson", "Organization", "Patient", "Practitioner")


def _table(*parameters: SearchParameter) -> dict[str, SearchParameter]:
    return {parameter.name: parameter for parameter in parameters}


def _p(
    name: str, kind: ParamType, *paths: str, targets: tuple[str, ...] = (), definition: str = ""
) -> SearchParameter:
    return SearchParameter(name, kind, paths, targets, definition)


COMMON: dict[str, SearchParameter] = _table(
    _p("_id", T, "id", definition=_R4 + "Resource-id"),
    _p("_lastUpdated", D, "meta.lastUpdated", definition=_R4 + "Resource-lastUpdated"),
    _p("_tag", T, "meta.tag", definition=_R4 + "Resource-tag"),
    _p("_security", T, "meta.security", definition=_R4 + "Resource-security"),
    _p("_profile", U, "meta.profile", definition=_R4 + "Resource-profile"),
    _p("_source", U, "meta.source", definition=_R4 + "Resource-source"),
)

PARAMETERS: Mapping[str, Mapping[str, SearchParameter]] = {
    "CareTeam": COMMON
    | _table(
        _p("identifier", T, "identifier", definition=_R4 + "clinical-identifier"),
        _p("start", D, "period.start", definition=_CDS + "cds-careteam-start"),
        _p("end", D, "period.end", definition=_CDS + "cds-careteam-end"),
        _p("status", T, "status", definition=_R4 + "CareTeam-status"),
        _p("category", T, "category", definition=_R4 + "CareTeam-category"),
        _p(
            "participant-start",
            D,
            "participant.period.start",
            definition=_CDS + "cds-careteam-participant-start",
        ),
        _p("participant-end", D, "participant.period.end", definition=_CDS + "cds-careteam-participant-end"),
        _p("date", D, "period", definition=_R4 + "clinical-date"),
        _p(
            "participant",
            R,
            "participant.member",
            targets=_MEMBERS,
            definition=_R4 + "CareTeam-participant",
        ),
        _p("patient", R, "subject", targets=("Patient",), definition=_R4 + "clinical-patient"),
        _p("subject", R, "subject", targets=("Patient",), definition=_R4 + "CareTeam-subject"),
        _p(
            "managingOrganization",
            R,
            "managingOrganization",
            targets=("Organization",),
            definition=_CDS + "cds-careteam-managing-organization",
        ),
    ),
    "Patient": COMMON
    | _table(
        _p("identifier", T, "identifier", definition=_R4 + "Patient-identifier"),
        _p("family", S, "name.family", definition=_R4 + "individual-family"),
        _p("given", S, "name.given", definition=_R4 + "individual-given"),
        _p("name", S, "name", definition=_R4 + "Patient-name"),
        _p("address", S, "address", definition=_R4 + "individual-address"),
        _p("birthdate", D, "birthDate", definition=_R4 + "individual-birthdate"),
        _p("gender", T, "gender", definition=_R4 + "individual-gender"),
        _p("birthplace", S, _BIRTHPLACE, definition=_CDS + "cds-patient-birthplace"),
        _p("active", T, "active", definition=_R4 + "Patient-active"),
    ),
    "RelatedPerson": COMMON
    | _table(
        _p("identifier", T, "identifier", definition=_R4 + "RelatedPerson-identifier"),
        _p("name", S, "name", definition=_R4 + "RelatedPerson-name"),
        _p("relationship", T, "relationship", definition=_R4 + "RelatedPerson-relationship"),
        _p("address", S, "address", definition=_R4 + "individual-address"),
        _p("patient", R, "patient", targets=("Patient",), definition=_R4 + "RelatedPerson-patient"),
    ),
    "Practitioner": COMMON
    | _table(
        _p("identifier", T, "identifier", definition=_R4 + "Practitioner-identifier"),
        _p("name", S, "name", definition=_R4 + "Practitioner-name"),
        _p("family", S, "name.family", definition=_R4 + "individual-family"),
        _p("given", S, "name.given", definition=_R4 + "individual-given"),
    ),
    "PractitionerRole": COMMON
    | _table(
        _p("identifier", T, "identifier", definition=_R4 + "PractitionerRole-identifier"),
        _p(
            "practitioner",
            R,
            "practitioner",
            targets=("Practitioner",),
            definition=_R4 + "PractitionerRole-practitioner",
        ),
        _p(
            "organization",
            R,
            "organization",
            targets=("Organization",),
            definition=_R4 + "PractitionerRole-organization",
        ),
        _p("role", T, "code", definition=_R4 + "PractitionerRole-role"),
    ),
    "Organization": COMMON
    | _table(
        _p("identifier", T, "identifier", definition=_R4 + "Organization-identifier"),
        _p("name", S, "name", "alias", definition=_R4 + "Organization-name"),
        _p("partof", R, "partOf", targets=("Organization",), definition=_R4 + "Organization-partof"),
        _p("address", S, "address", definition=_R4 + "Organization-address"),
    ),
}

ALIASES: Mapping[str, str] = {
    "CDSCareTeamStart": "start",
    "CDSCareTeamEnd": "end",
    "CDSCareTeamParticipantStart": "participant-start",
    "CDSCareTeamParticipantEnd": "participant-end",
    "CareTeamManagingOrganization": "managingOrganization",
}
"""Parameter names that the Consommateur statement gives where the code is meant (cds.md, section 2)."""

MODIFIERS: Mapping[ParamType, frozenset[str]] = {
    ParamType.TOKEN: frozenset({"not", "text", "missing"}),
    ParamType.DATE: frozenset({"missing"}),
    ParamType.REFERENCE: frozenset(
        {"identifier", "missing"}
    ),  # and a target type: `participant:RelatedPerson`
    ParamType.STRING: frozenset({"exact", "contains", "missing"}),
    ParamType.URI: frozenset({"missing"}),
}

DATE_PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")


def lookup(resource_type: str, name: str) -> SearchParameter | None:
    """The parameter of that name, or of that Consommateur alias, on a type; None where there is none."""
    table = PARAMETERS.get(resource_type, COMMON)
    found = table.get(name)
    if found is None and resource_type == "CareTeam":
        found = table.get(ALIASES.get(name, ""))
    return found
