"""The operations under `/registry` as data: the routes, the OpenAPI document and its tests are made of them.

Which statuses an operation answers, and with what, follows from the keys of messages that it names as its errors and
from the table of who may do what; see `broker.gateway.openapi_document`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from broker.audit.sink import AuditPage
from broker.core.audit.audited import AUDIT_PATH
from broker.gateway.problem import PROBLEMS_PATH, ProblemType
from broker.sync.conflict_service import DEFAULT_LIMIT, MAX_LIMIT, ConflictList, ConflictState
from broker.sync.service import LocatorStatus, ManagerInLocator
from broker.sync.sync_service import BootstrapStatus, SyncStatus
from registry.model import REGIONS, Gestionnaire, Registered, Status

COLLECTION: Final = "/registry/gestionnaires"
ONE: Final = COLLECTION + "/{id}"
OPENAPI_PATH: Final = "/registry/openapi.json"
PLAN_PATH: Final = "/registry/plan"
LOCATOR: Final = "/registry/locator"
SYNC: Final = "/registry/synchronisation"

JSON: Final = "application/json"
FHIR_JSON: Final = "application/fhir+json"
FORM: Final = "application/x-www-form-urlencoded"


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
class Parameter:
    """One that a client may send. `text`: French / English. `where`: query or header."""

    name: str
    schema: Mapping[str, Any]
    text: str
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `summary`: French / English. `handler`: the name of the method that serves it.

    `answer`: the type of a good answer's body, the name of a schema of FHIR, or None where it has no body. `errors`: keys
    of messages, of what goes wrong in this operation; what goes wrong in each is not named here.
    """

    id: str
    handler: str
    method: str
    path: str
    summary: str
    answer: Any
    status: int = 200
    media: str = JSON
    body: Any = None
    bodies: tuple[str, ...] = (JSON,)  # media types that are taken
    etag: str = ""  # how a revision is written in it: strong, weak, or none
    makes: bool = False  # the answer has a Location
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """What it belongs to: the second part of its path, or `description` for what describes the others."""
        part = self.path.split("/")[2]
        return "description" if "." in part or part == "problems" else part


_IF_MATCH: Final = Parameter(
    "If-Match",
    {"type": "string", "pattern": r'^(\*|(W/)?"[0-9]{1,15}")$', "examples": ['"3"']},
    "L'ETag lu, sinon 412 ; absent ou * : quelle que soit la révision"
    " / The ETag that was read, else 412; absent or *: whatever the revision",
    "header",
)

OPERATIONS: Final = (
    Operation(
        "listGestionnaires",
        "list_all",
        "GET",
        COLLECTION,
        "Lister les gestionnaires / List the managers",
        GestionnaireList,
        parameters=(
            Parameter("status", {"enum": list(Status)}, "De ce statut seulement / Of this status only"),
            Parameter(
                "region",
                {"enum": list(REGIONS)},
                "De cette région seulement (TRE_R30) / Of this region only (TRE_R30)",
            ),
        ),
        errors=("registry.bad-value",),
    ),
    Operation(
        "createGestionnaire",
        "create",
        "POST",
        COLLECTION,
        "Enregistrer un gestionnaire / Register a manager",
        Registered,
        status=201,
        body=Gestionnaire,
        etag="strong",
        makes=True,
        errors=("registry.exists", "registry.same-address", "registry.invalid"),
    ),
    Operation(
        "readGestionnaire",
        "read",
        "GET",
        ONE,
        "Lire un gestionnaire / Read a manager",
        Registered,
        etag="strong",
        errors=("registry.unknown",),
    ),
    Operation(
        "replaceGestionnaire",
        "replace",
        "PUT",
        ONE,
        "Modifier un gestionnaire ; status, auth et identity omis restent inchangés"
        " / Change a manager; status, auth and identity left out stay as they are",
        Registered,
        body=Gestionnaire,
        etag="strong",
        parameters=(_IF_MATCH,),
        errors=(
            "registry.bad-value",
            "registry.unknown",
            "registry.same-address",
            "registry.precondition",
            "registry.invalid",
        ),
    ),
    Operation(
        "removeGestionnaire",
        "remove",
        "DELETE",
        ONE,
        "Retirer un gestionnaire / Remove a manager",
        None,
        status=204,
        errors=("registry.unknown",),
    ),
    Operation(
        "suspendGestionnaire",
        "suspend",
        "POST",
        ONE + "/suspend",
        "Ne plus interroger un gestionnaire / Stop asking a manager",
        Registered,
        etag="strong",
        errors=("registry.unknown",),
    ),
    Operation(
        "resumeGestionnaire",
        "resume",
        "POST",
        ONE + "/resume",
        "Interroger à nouveau un gestionnaire / Ask a manager again",
        Registered,
        etag="strong",
        errors=("registry.unknown",),
    ),
    Operation(
        "checkGestionnaire",
        "check",
        "POST",
        ONE + "/check",
        "Découvrir ce que sait faire un gestionnaire / Find out what a manager can do",
        Registered,
        etag="strong",
        errors=(
            "registry.unknown",
            "manager.not-supported",
            *("manager.unreachable", "manager.refused", "manager.invalid", "manager.error"),
            *("registry.credentials", "registry.address"),
            "manager.busy",
            "manager.timeout",
        ),
    ),
    Operation(
        "listProblems",
        "problems",
        "GET",
        PROBLEMS_PATH,
        "Lister les types d'erreur / List the types of problems",
        list[ProblemType],
    ),
    Operation(
        "describe",
        "openapi",
        "GET",
        OPENAPI_PATH,
        "Ce document / This document",
        dict[str, Any],
    ),
)

PLAN: Final = Operation(
    "planSearch",
    "plan",
    "POST",
    PLAN_PATH,
    "Expliquer qui une recherche interroge, et pourquoi / Explain who a search asks, and why",
    SearchPlan,
    body=SearchToPlan,
    bodies=(JSON, FORM),
    errors=("registry.bad-value", "request.bad-value", "request.unknown-type"),
)
"""Served by `broker.gateway.plan_api`, which has the searches to ask."""

LOCATOR_OPERATIONS: Final = (
    Operation(
        "showLocator",
        "status",
        "GET",
        LOCATOR,
        "Montrer ce que l'index connaît de chaque gestionnaire / Show what the index holds of each manager",
        LocatorStatus,
    ),
    Operation(
        "crawlGestionnaire",
        "crawl",
        "POST",
        LOCATOR + "/{id}/crawl",
        "Parcourir à nouveau un gestionnaire depuis le début / Crawl a manager anew from the start",
        ManagerInLocator,
        status=202,
        errors=("registry.unknown", "registry.suspended"),
    ),
    Operation(
        "rotateLocatorKey",
        "rotate_key",
        "POST",
        LOCATOR + "/rotate-key",
        "Refaire l'index sous le secret présent, l'ancien répondant entre-temps"
        " / Fill the index anew under the present secret, the old one answering meanwhile",
        LocatorStatus,
        status=202,
    ),
)
"""Served by `broker.gateway.locator_api`."""

CONFLICTS: Final = Operation(
    "listConflicts",
    "conflicts",
    "GET",
    "/registry/conflicts",
    "Lister les personnes à plusieurs cercles, du plus ancien conflit au plus récent ; sans dire qui elles sont"
    " / List the persons who have several circles, the oldest conflict first; not who they are",
    ConflictList,
    parameters=(
        Parameter(
            "state",
            {"enum": list(ConflictState), "default": ConflictState.OPEN},
            "De cet état / Of this state",
        ),
        Parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            "Combien sur la page / How many on the page",
        ),
        Parameter(
            "after",
            {"type": "string", "pattern": "^[0-9]{1,15}-[0-9a-f]{16}$"},
            "`next` de la page précédente / `next` of the page before",
        ),
    ),
    errors=("registry.bad-value",),
)
"""Served by `broker.gateway.conflict_api`."""

SYNC_OPERATIONS: Final = (
    Operation(
        "showSynchronisation",
        "sync_status",
        "GET",
        SYNC,
        "Montrer où en est la synchronisation / Show how synchronisation is doing",
        SyncStatus,
    ),
    Operation(
        "bootstrapSubscriber",
        "sync_bootstrap",
        "POST",
        SYNC + "/{id}/bootstrap",
        "Renvoyer l'état présent à un abonné / Send the present state to a subscriber again",
        tuple[BootstrapStatus, ...],
        status=202,
        errors=("registry.unknown", "sync.no-subscription"),
    ),
)
"""Served by `broker.gateway.sync_api`."""

_INSTANT: Final = {"type": "string", "format": "date-time"}

AUDIT: Final = Operation(
    "readAudit",
    "audit",
    "GET",
    AUDIT_PATH,
    "Lire les traces d'accès que tient ce nœud, de la plus récente à la plus ancienne"
    " / Read the trail of accesses that this node keeps, newest first",
    AuditPage,
    parameters=(
        Parameter("since", _INSTANT, "À partir de cet instant / From this instant on"),
        Parameter("until", _INSTANT, "Avant cet instant / Before this instant"),
        Parameter("client", {"type": "string"}, "De ce client / Of this client"),
        Parameter(
            "person",
            {"type": "string", "examples": ["Patient/bre.patient-1"]},
            "Sur cette personne, par référence / About this person, by reference",
        ),
        Parameter("request", {"type": "string"}, "De cette requête, par X-Request-Id / Of this X-Request-Id"),
        Parameter(
            "count",
            {"type": "integer", "minimum": 1, "maximum": 999_999_999, "default": 50},
            "Combien sur la page, 200 au plus étant donnés / How many on the page; 200 at most are given",
        ),
        Parameter(
            "after",
            {"type": "string"},
            "`next` de la page précédente / `next` of the page before",
        ),
    ),
    errors=("request.unknown-parameter", "request.bad-value", "audit.not-here", "audit.file"),
)
"""Served by `broker.gateway.audit_api`."""
