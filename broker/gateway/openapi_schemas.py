"""The schemas of the OpenAPI document: those of the structs that the code encodes, with the bounds that it checks.

msgspec tells the shapes. What is checked beyond them is taken from where it is checked, so that it is written once; of
FHIR resources only what tells them apart is said, the rest being FHIR's own to define.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from broker.core.dialects import BOOLEAN_SKILLS, NUMBER_SKILLS, PRESETS
from broker.core.lacks import MODIFIERS
from broker.core.search_parameters import PARAMETERS
from broker.gateway.openapi_declaration import declaration_schemas
from broker.gateway.openapi_texts import FIELDS, SCHEMAS
from registry.declared_access import ALGORITHMS, CODE, ENV_NAME, HEADER, MAX_IDENTITY_SECONDS, SCOPE
from registry.model import REGIONS, SLUG
from registry.validation import DEPARTMENT, FINESS, MAX_CONNECTIONS, MAX_TIMEOUT

Schema = dict[str, Any]

TEMPLATE: Final = "#/components/schemas/{name}"


def whole(pattern: re.Pattern[str], *, ignore_case: bool = False) -> str:
    """A pattern that is matched from begin to end, as JSON Schema writes it (ECMA 262, which knows no flags)."""
    text = pattern.pattern
    if ignore_case:
        text = re.sub(r"[A-Z]-[A-Z]|[A-Z]+", lambda found: found[0] + found[0].lower(), text)
    return f"^(?:{text})$"


SLUG_SCHEMA: Final = {"type": "string", "pattern": whole(SLUG), "examples": ["bre", "nor"]}

_INSTANT: Final = {"format": "date-time"}
_COUNT: Final = {"minimum": 0}
_VARIABLE: Final = {"pattern": whole(ENV_NAME), "examples": ["CDS_BRE_TOKEN"]}
_ALGORITHM: Final = {"enum": sorted(ALGORITHMS)}
_SKILL: Final = "^(?:{}|modifier:(?:{}))$".format(
    "|".join(f"param:{kind}:(?:{'|'.join(sorted(table))})" for kind, table in PARAMETERS.items()),
    "|".join(MODIFIERS),
)
_DIALECT: Final[Schema] = {
    "anyOf": [
        {"enum": sorted(PRESETS)},
        {
            "type": "object",
            "properties": {
                **{name: {"type": "boolean"} for name in sorted(BOOLEAN_SKILLS)},
                **{name: {"type": "integer", "minimum": 1} for name in sorted(NUMBER_SKILLS)},
            },
            "patternProperties": {_SKILL: {"type": "boolean"}},
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}

_BOUNDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Gestionnaire.id": {"pattern": whole(SLUG), "examples": ["bre"]},
    "Gestionnaire.name": {
        "minLength": 1,
        "maxLength": 200,
        "pattern": r"\S",
        "examples": ["GCS e-Santé Bretagne"],
    },
    "Gestionnaire.region": {"enum": list(REGIONS)},
    "Gestionnaire.base_url": {
        "format": "uri",
        "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s?#@]+$",
        "examples": ["https://cds.bretagne.example/fhir"],
    },
    "Gestionnaire.organization": {"pattern": whole(FINESS, ignore_case=True), "examples": ["350000001"]},
    "Gestionnaire.territory": {
        "items": {"type": "string", "pattern": whole(DEPARTMENT, ignore_case=True), "not": {"const": "20"}},
        "examples": [["22", "29", "35", "56"]],
    },
    "Gestionnaire.timeout": {"exclusiveMinimum": 0, "maximum": MAX_TIMEOUT},
    "Gestionnaire.max_connections": {"minimum": 1, "maximum": MAX_CONNECTIONS},
    "Gestionnaire.dialect": _DIALECT,
    "Auth.token_env": _VARIABLE,
    "Auth.password_env": _VARIABLE,
    "Auth.client_secret_env": _VARIABLE,
    "Auth.token_url": {"format": "uri"},
    "Auth.scope": {"pattern": whole(SCOPE), "examples": ["system/CareTeam.rs"]},
    "Auth.assertion_alg": _ALGORITHM,
    "Identity.audience": {"pattern": r"\S"},
    "Identity.alg": _ALGORITHM,
    "Identity.header": {"pattern": whole(HEADER)},
    "Identity.purpose": {"pattern": whole(CODE), "examples": ["COC"]},
    "Identity.seconds": {"minimum": 5, "maximum": MAX_IDENTITY_SECONDS},
    "Registered.revision": {"minimum": 1, "examples": [3]},
    "Registered.updated_at": _INSTANT,
    "Skills.checked_at": _INSTANT,
    "Skills.unsettled": _COUNT,
    "SearchToPlan.search": {"examples": ["CareTeam?status=active"]},
    "LocatorStatus.circles": _COUNT,
    "ManagerInLocator.as_of": _INSTANT,
    "ManagerInLocator.started": _INSTANT,
    "ManagerInLocator.age": _COUNT,
    "ManagerInLocator.circles": _COUNT,
    "ConflictList.total": _COUNT,
    "ConflictList.as_of": _INSTANT,
    "ListedConflict.since": _INSTANT,
    "ListedConflict.resolved": _INSTANT,
    "ListedConflict.count": {"minimum": 1},
    "SyncStatus.engine": {"enum": ["kafka", "redis-streams"]},
    "SyncStatus.outbox_depth": _COUNT,
    "SyncStatus.outbox_seconds": _COUNT,
    "AuditRecord.number": _COUNT,
    "AuditRecord.event": {
        "required": ["resourceType"],
        "properties": {"resourceType": {"const": "AuditEvent"}},
    },
    "Problem.type": {"format": "uri-reference"},
    "Problem.status": {"minimum": 400, "maximum": 599},
    "ProblemType.status": {"minimum": 400, "maximum": 599},
}
"""What the code checks, or promises, beyond the types, by `Schema.field`."""

_FHIR: Final[Mapping[str, Mapping[str, Schema]]] = {
    "Bundle": {
        "type": {"enum": ["searchset", "history"]},
        "total": {"type": "integer", "minimum": 0},
        "link": {"type": "array", "items": {"type": "object", "required": ["relation", "url"]}},
        "entry": {"type": "array", "items": {"type": "object"}},
    },
    "Organization": {"id": SLUG_SCHEMA, "name": {"type": "string"}},
    "Endpoint": {
        "id": SLUG_SCHEMA,
        "status": {"enum": ["active", "suspended"]},
        "address": {"type": "string", "format": "uri"},
    },
    "CapabilityStatement": {
        "fhirVersion": {"const": "4.0.1"},
        "rest": {"type": "array", "items": {"type": "object"}},
    },
    "OperationOutcome": {
        "issue": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["severity", "code"]},
        }
    },
}
"""Of each FHIR resource, the elements that every one of ours has."""


def component_schemas(types: Iterable[Any]) -> Mapping[str, Schema]:
    """By name. `types`: of what goes over the wire; what they are made of comes with them."""
    _, found = msgspec.json.schema_components(types, ref_template=TEMPLATE)
    schemas: dict[str, Schema] = {name: _told(name, schema) for name, schema in found.items()}
    for name, elements in _FHIR.items():
        schemas[name] = _told(
            name,
            {
                "type": "object",
                "required": ["resourceType", *(one for one in elements if one not in ("entry", "link"))],
                "properties": {"resourceType": {"const": name}, **elements},
                "externalDocs": {"url": f"http://hl7.org/fhir/R4/{name.lower()}.html"},
            },
        )
    return dict(sorted({**schemas, **declaration_schemas(schemas, TEMPLATE)}.items()))


def schema_of(of: Any) -> Schema:
    """Of an answer or a body: a reference into the components where it is a type of its own."""
    if isinstance(of, str):
        return {"$ref": TEMPLATE.format(name=of)}
    (schema,), _ = msgspec.json.schema_components([of], ref_template=TEMPLATE)
    return schema


def _told(name: str, schema: Mapping[str, Any]) -> Schema:
    """A schema with the texts and bounds of its own and of its fields."""
    told: Schema = {**schema, "description": SCHEMAS[name]}
    if "properties" in schema:
        told["properties"] = {
            field: _field(f"{name}.{field}", field, of) for field, of in schema["properties"].items()
        }
    return told


def _field(place: str, field: str, schema: Mapping[str, Any]) -> Schema:
    text = FIELDS.get(place) or FIELDS[field]
    return {**_bounded(schema, _BOUNDS.get(place, {})), "description": text}


def _bounded(schema: Mapping[str, Any], bounds: Mapping[str, Any]) -> Schema:
    """Bounds go with the type that they are of; null stays as it is."""
    if "anyOf" not in schema or "anyOf" in bounds:
        return {**schema, **bounds}
    branches = [one if one.get("type") == "null" else {**one, **bounds} for one in schema["anyOf"]]
    return {**schema, "anyOf": branches}
