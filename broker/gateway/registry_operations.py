"""The operations of the registry's JSON API as data: the routes and the OpenAPI document are both made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from broker import __version__
from broker.audit.sink import AuditPage
from broker.core.access.policy import POLICY
from broker.core.audit.audited import AUDIT_PATH
from broker.gateway.problem import CONTENT_TYPE as PROBLEM_TYPE
from broker.gateway.problem import PROBLEMS_PATH, Problem, ProblemType
from broker.sync.conflict_service import DEFAULT_LIMIT, MAX_LIMIT, ConflictList, ConflictState
from broker.sync.service import LocatorStatus, ManagerInLocator
from broker.sync.sync_service import BootstrapStatus, SubscriberStatus, SyncStatus
from registry.model import REGIONS, Gestionnaire, Registered, Status

COLLECTION: Final = "/registry/gestionnaires"
ONE: Final = COLLECTION + "/{id}"
OPENAPI_PATH: Final = "/registry/openapi.json"
PLAN_PATH: Final = "/registry/plan"
LOCATOR: Final = "/registry/locator"
SYNC: Final = "/registry/synchronisation"


class GestionnaireList(msgspec.Struct, frozen=True):
    """The answer to the listing, in the order of the slugs."""

    gestionnaires: tuple[Registered, ...]


class SearchToPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`search`: a type and its parameters, as in a URL: `CareTeam?patient.family=…`."""

    search: str


class ManagerInPlan(msgspec.Struct, frozen=True):
    """One manager in the plan of a search. `reason` is a key of the table of messages, `fr` and `en` its texts.

    Criteria by name, never with their values: `native` ones it applies itself; `resolved_here` are chains that the
    broker resolves for it in steps; `filtered_here` ones the broker applies to its results.
    """

    id: str
    name: str
    region: str
    asked: bool
    reason: str
    fr: str
    en: str
    native: tuple[str, ...] = ()
    resolved_here: tuple[str, ...] = ()
    filtered_here: tuple[str, ...] = ()
    includes_here: bool = False
    sorted_here: bool = False


class SearchPlan(msgspec.Struct, frozen=True):
    """Who a search asks. `ignored` names the parameters that were not understood. Managers by slug."""

    type: str
    criteria: tuple[str, ...]
    ignored: tuple[str, ...]
    managers: tuple[ManagerInPlan, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `answer` is the type of a good answer's JSON, None where it has no body."""

    id: str  # the name of the handler too
    method: str
    path: str
    summary: str
    status: int
    answer: Any
    body: Any = None
    etag: bool = False
    if_match: bool = False
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    paging: Mapping[str, Any] = field(default_factory=dict)  # further parameters of the query: their schemas
    errors: tuple[int, ...] = ()


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_all",
        "GET",
        COLLECTION,
        "Lister les gestionnaires / List the managers",
        200,
        GestionnaireList,
        filters={"status": tuple(Status), "region": tuple(REGIONS)},
        errors=(400, 503),
    ),
    Operation(
        "create",
        "POST",
        COLLECTION,
        "Enregistrer un gestionnaire / Register a manager",
        201,
        Registered,
        body=Gestionnaire,
        etag=True,
        errors=(400, 409, 413, 415, 422, 503),
    ),
    Operation(
        "read",
        "GET",
        ONE,
        "Lire un gestionnaire / Read a manager",
        200,
        Registered,
        etag=True,
        errors=(404, 503),
    ),
    Operation(
        "replace",
        "PUT",
        ONE,
        "Modifier un gestionnaire ; status, auth et identity omis restent inchangés"
        " / Change a manager; status, auth and identity left out stay as they are",
        200,
        Registered,
        body=Gestionnaire,
        etag=True,
        if_match=True,
        errors=(400, 404, 409, 412, 413, 415, 422, 503),
    ),
    Operation(
        "remove",
        "DELETE",
        ONE,
        "Retirer un gestionnaire / Remove a manager",
        204,
        None,
        errors=(404, 503),
    ),
    Operation(
        "suspend",
        "POST",
        ONE + "/suspend",
        "Ne plus interroger un gestionnaire / Stop asking a manager",
        200,
        Registered,
        etag=True,
        errors=(404, 503),
    ),
    Operation(
        "resume",
        "POST",
        ONE + "/resume",
        "Interroger à nouveau un gestionnaire / Ask a manager again",
        200,
        Registered,
        etag=True,
        errors=(404, 503),
    ),
    Operation(
        "check",
        "POST",
        ONE + "/check",
        "Découvrir ce que sait faire un gestionnaire / Find out what a manager can do",
        200,
        Registered,
        etag=True,
        errors=(404, 501, 502, 503, 504),
    ),
    Operation(
        "problems",
        "GET",
        PROBLEMS_PATH,
        "Lister les types d'erreur / List the types of problems",
        200,
        list[ProblemType],
    ),
    Operation(
        "openapi",
        "GET",
        OPENAPI_PATH,
        "Ce document / This document",
        200,
        dict[str, Any],
    ),
)


PLAN: Final = Operation(
    "plan",
    "POST",
    PLAN_PATH,
    "Expliquer qui une recherche interroge, et pourquoi / Explain who a search asks, and why",
    200,
    SearchPlan,
    body=SearchToPlan,
    errors=(400, 404, 413, 415, 503),
)
"""Served by `broker.gateway.plan_api`, which has the searches to ask."""

LOCATOR_OPERATIONS: Final = (
    Operation(
        "status",
        "GET",
        LOCATOR,
        "Montrer ce que l'index connaît de chaque gestionnaire / Show what the index holds of each manager",
        200,
        LocatorStatus,
        errors=(503,),
    ),
    Operation(
        "crawl",
        "POST",
        LOCATOR + "/{id}/crawl",
        "Parcourir à nouveau un gestionnaire depuis le début / Crawl a manager anew from the start",
        202,
        ManagerInLocator,
        errors=(404, 409, 503),
    ),
    Operation(
        "rotate_key",
        "POST",
        LOCATOR + "/rotate-key",
        "Refaire l'index sous le secret présent, l'ancien répondant entre-temps"
        " / Fill the index anew under the present secret, the old one answering meanwhile",
        202,
        LocatorStatus,
        errors=(503,),
    ),
)
"""Served by `broker.gateway.locator_api`."""

CONFLICTS: Final = Operation(
    "conflicts",
    "GET",
    "/registry/conflicts",
    "Lister les personnes à plusieurs cercles, du plus ancien conflit au plus récent ; sans dire qui elles sont"
    " / List the persons who have several circles, the oldest conflict first; not who they are",
    200,
    ConflictList,
    filters={"state": tuple(ConflictState)},
    paging={
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        "after": {"type": "string", "description": "`next` de la page précédente / of the page before"},
    },
    errors=(400, 503),
)
"""Served by `broker.gateway.conflict_api`."""

SYNC_OPERATIONS: Final = (
    Operation(
        "sync_status",
        "GET",
        SYNC,
        "Montrer où en est la synchronisation / Show how synchronisation is doing",
        200,
        SyncStatus,
        errors=(503,),
    ),
    Operation(
        "sync_bootstrap",
        "POST",
        SYNC + "/{id}/bootstrap",
        "Renvoyer l'état présent à un abonné / Send the present state to a subscriber again",
        202,
        tuple[BootstrapStatus, ...],
        errors=(404, 409, 503),
    ),
)
"""Served by `broker.gateway.sync_api`."""

_INSTANT: Final = {"type": "string", "format": "date-time"}

AUDIT: Final = Operation(
    "audit",
    "GET",
    AUDIT_PATH,
    "Lire les traces d'accès que tient ce nœud, de la plus récente à la plus ancienne"
    " / Read the trail of accesses that this node keeps, newest first",
    200,
    AuditPage,
    paging={
        "since": _INSTANT,
        "until": _INSTANT,
        "client": {"type": "string"},
        "person": {"type": "string", "description": "Patient/{id}"},
        "request": {"type": "string", "description": "X-Request-Id"},
        "count": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
        "after": {"type": "string", "description": "`next` de la page précédente / of the page before"},
    },
    errors=(400, 404, 503),
)
"""Served by `broker.gateway.audit_api`."""


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1 for all operations; the schemas are those of the structs that the code encodes."""
    types = [
        Gestionnaire,
        Registered,
        GestionnaireList,
        SearchToPlan,
        SearchPlan,
        LocatorStatus,
        ManagerInLocator,
        ConflictList,
        SyncStatus,
        SubscriberStatus,
        BootstrapStatus,
        AuditPage,
        Problem,
        ProblemType,
    ]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in (*OPERATIONS, PLAN, *LOCATOR_OPERATIONS, CONFLICTS, *SYNC_OPERATIONS, AUDIT):
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cds-broker: registre des gestionnaires / registry of managers",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": operation.summary}
    if operation.answer is not None:
        good["content"] = {"application/json": {"schema": _schema(operation.answer)}}
    if operation.etag:
        good["headers"] = {
            "ETag": {"description": "Révision / Revision", "schema": {"type": "string", "examples": ['"3"']}}
        }
    problem = {"description": "RFC 9457", "content": {PROBLEM_TYPE: {"schema": _schema(Problem)}}}
    interaction = POLICY.get((operation.method, operation.path))
    refused = () if interaction is not None and interaction.need.is_public else (401, 403)
    document: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": {
            str(operation.status): good,
            **{str(status): problem for status in sorted({*refused, *operation.errors})},
        },
    }
    if parameters := _parameters(operation):
        document["parameters"] = parameters
    if operation.body is not None:
        document["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(operation.body)}},
        }
    return document


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    if "{id}" in operation.path:
        slug = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,15}$"}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": slug})
    for name, values in operation.filters.items():
        schema = {"type": "string", "enum": list(values)}
        parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    for name, schema in operation.paging.items():
        parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    if operation.if_match:
        parameters.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "schema": {"type": "string"},
                "description": "L'ETag lu, sinon 412 / The ETag that was read, else 412",
            }
        )
    return parameters


def _schema(of: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([of], ref_template="#/components/schemas/{name}")
    return schema
