"""The sandbox's CapabilityStatement, made from the tables that the search itself uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapters.sandbox.options import SandboxOptions
from broker.core.search_parameters import (
    DATE_PREFIXES,
    MODIFIERS,
    PARAMETERS,
    TYPES,
    ParamType,
    SearchParameter,
)

INSTANTIATES: Final = "https://interop.esante.gouv.fr/ig/fhir/cds/CapabilityStatement/CDSGestionnaire"
_GUIDE: Final = "https://interop.esante.gouv.fr/ig/fhir/cds/ImplementationGuide/ans.fhir.fr.cds"

PROFILES: Final[Mapping[str, str]] = {
    "CareTeam": "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam",
    "Patient": "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-patient",
    "Practitioner": "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-practitioner",
    "PractitionerRole": "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-practitionerrole",
    "RelatedPerson": "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-fr-related-person",
    "Organization": "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-organization",
}
"""The profiles that the guide's statement names, by type."""


def statement(options: SandboxOptions, *, base: str, started: str, version: str) -> dict[str, Any]:
    """The CapabilityStatement (kind instance) of a sandbox at `base`. `started` is a FHIR dateTime."""
    offered = SandboxOptions(allow_delete=options.allow_delete) if options.lying_statement else options
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "experimental": True,
        "date": started,
        "kind": "instance",
        "instantiates": [INSTANTIATES],
        "software": {"name": "cds-broker sandbox", "version": version},
        "implementation": {
            "description": "Gestionnaire d'essai : personnes et cercles inventés",
            "url": base,
        },
        "fhirVersion": "4.0.1",
        "format": ["json", "xml"],
        "implementationGuide": [_GUIDE],
        "rest": [
            {
                "mode": "server",
                "documentation": _documentation(offered),
                "resource": [_resource(kind, offered) for kind in TYPES],
                "interaction": [{"code": "transaction"}],
            }
        ],
    }


def _documentation(options: SandboxOptions) -> str:
    search = "GET" if options.no_post_search else "GET, POST _search"
    chains = "" if options.chains_match_nothing else " Chained criteria of any depth."
    controls = ["_count", "_summary", "_total"]
    controls += [] if options.ignores_sort else ["_sort"]
    controls += [] if options.ignores_elements else ["_elements"]
    return (
        f"Search by {search}.{chains} {', '.join(sorted(controls))}. Page size: at most {options.max_page}."
    )


def _resource(kind: str, options: SandboxOptions) -> dict[str, Any]:
    codes = ["create", "read", "vread", "update", "history-instance", "search-type"]
    codes += [] if options.no_type_history else ["history-type"]
    codes += ["delete"] if options.allow_delete else []
    resource: dict[str, Any] = {
        "type": kind,
        "profile": PROFILES[kind],
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["literal", "logical"],
    }
    if not options.ignores_include:
        resource["searchInclude"] = ["*", *_references(kind)]
        resource["searchRevInclude"] = [
            reference for source in TYPES for reference in _references(source, pointing_to=kind)
        ]
    named = options.ignored_params
    resource["searchParam"] = [_parameter(p) for p in PARAMETERS[kind].values() if p.name not in named]
    return {name: value for name, value in resource.items() if value != []}


def _references(kind: str, *, pointing_to: str | None = None) -> list[str]:
    return [
        f"{kind}:{parameter.name}"
        for parameter in PARAMETERS[kind].values()
        if parameter.type is ParamType.REFERENCE and (pointing_to is None or pointing_to in parameter.targets)
    ]


def _parameter(parameter: SearchParameter) -> dict[str, Any]:
    modifiers = sorted(MODIFIERS[parameter.type])
    if len(parameter.targets) > 1:
        modifiers += parameter.targets
    documentation = f"Modifiers: {', '.join(modifiers)}."
    if parameter.type is ParamType.DATE:
        documentation += f" Prefixes: {', '.join(DATE_PREFIXES)}."
    return {
        "name": parameter.name,
        "definition": parameter.definition,
        "type": parameter.type.value,
        "documentation": documentation,
    }
