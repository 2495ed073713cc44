"""Examples of the OpenAPI document, as values of the types that go over the wire: one that no longer fits does not run.

All of it is made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.audit.sink import AuditPage, AuditRecord
from broker.core.mcsd import endpoint, organization
from broker.gateway.problem import ProblemType
from broker.gateway.registry_operations import GestionnaireList, ManagerInPlan, SearchPlan, SearchToPlan
from broker.sync.conflict_service import ConflictingCircle, ConflictList, ConflictState, ListedConflict
from broker.sync.service import GenerationInLocator, LocatorStatus, ManagerInLocator
from broker.sync.sync_service import BootstrapStatus, SubscriberStatus, SyncStatus
from registry.bootstrap_model import BootstrapState
from registry.locator_model import CoverageState
from registry.model import Auth, AuthType, Gestionnaire, Registered, Skills, Status

_AT: Final = "2026-01-10T09:00:00.000Z"
_DECLARED: Final = Gestionnaire(
    "bre",
    "GCS e-Santé Bretagne",
    "53",
    "https://cds.bretagne.example/fhir",
    organization="350000001",
    territory=("22", "29", "35", "56"),
    auth=Auth(AuthType.BEARER, token_env="CDS_BRE_TOKEN"),  # noqa: S106  # the name of a variable
)
_REGISTERED: Final = Registered(
    _DECLARED, 3, _AT, Skills(checked_at=_AT, chaining=True, include=True, lacks=("modifier:exact",))
)
_IN_LOCATOR: Final = ManagerInLocator(
    "bre",
    "GCS e-Santé Bretagne",
    "53",
    Status.ACTIVE,
    CoverageState.COMPLETE,
    fresh=True,
    as_of=_AT,
    age=1.2,
    started=_AT,
    circles=24,
    total=24,
)
_LOCATOR: Final = LocatorStatus(
    freshness=30.0,
    circles=24,
    rotating=False,
    managers=(_IN_LOCATOR,),
    generations=(
        GenerationInLocator(
            1, "5f3a", laid_out_for=1_000_000, ours=True, dropping=False, complete=1, managers=1
        ),
    ),
)
_BOOTSTRAP: Final = BootstrapStatus(
    "nor", "abonnement-1", "bre", BootstrapState.RUNNING, read=12, sent=12, failed=0, total=24, problem=None
)

BODIES: Final[Mapping[str, Any]] = {
    "createGestionnaire": _DECLARED,
    "replaceGestionnaire": _DECLARED,
    "planSearch": SearchToPlan("CareTeam?status=active&patient.family=Exemple"),
}
"""By operation."""

ANSWERS: Final[Mapping[str, Any]] = {
    "listGestionnaires": GestionnaireList((_REGISTERED,)),
    **dict.fromkeys(
        (
            *("createGestionnaire", "readGestionnaire", "replaceGestionnaire", "resumeGestionnaire"),
            "checkGestionnaire",
        ),
        _REGISTERED,
    ),
    "suspendGestionnaire": Registered(
        Gestionnaire("bre", "GCS e-Santé Bretagne", "53", _DECLARED.base_url, status=Status.SUSPENDED), 4, _AT
    ),
    "listProblems": [
        ProblemType(
            "/registry/problems#registry.unknown",
            "Inconnu / Not found",
            404,
            "Gestionnaire inconnu : {slug}.",
            "Unknown manager: {slug}.",
        )
    ],
    "planSearch": SearchPlan(
        "CareTeam",
        ("status", "patient.family"),
        (),
        (
            ManagerInPlan(
                "bre",
                "GCS e-Santé Bretagne",
                "53",
                asked=True,
                reason="plan.all",
                fr="Interrogé : la recherche ne désigne personne en particulier.",
                en="Asked: the search names nobody in particular.",
                native=("status",),
                resolved_here=("patient.family",),
            ),
        ),
    ),
    "showLocator": _LOCATOR,
    "rotateLocatorKey": _LOCATOR,
    "crawlGestionnaire": _IN_LOCATOR,
    "listConflicts": ConflictList(
        (
            ListedConflict(
                "0123456789abcdef",
                ConflictState.OPEN,
                _AT,
                resolved=None,
                published=True,
                count=2,
                circles=(
                    ConflictingCircle("CareTeam/bre.cercle-3", "bre", "GCS e-Santé Bretagne", "53"),
                    ConflictingCircle("CareTeam/nor.cercle-90001", "nor", "GCS Normand'e-santé", "28"),
                ),
            ),
        ),
        1,
        _AT,
    ),
    "showSynchronisation": SyncStatus(
        "kafka", 0, None, "noeud-1", {}, {"active": 1}, (SubscriberStatus("nor", 0, 0.0, 0),), (_BOOTSTRAP,)
    ),
    "bootstrapSubscriber": [_BOOTSTRAP],
    "readAudit": AuditPage(
        "noeud-1", (AuditRecord("noeud-1-1", 12, {"resourceType": "AuditEvent", "recorded": _AT}),)
    ),
    "readOrganization": organization(_REGISTERED),
    "vreadOrganization": organization(_REGISTERED),
    "readEndpoint": endpoint(_REGISTERED),
    "vreadEndpoint": endpoint(_REGISTERED),
}
"""By operation; those that are not here answer what is long, or this very document."""

PARAMS: Final[Mapping[str, str | int]] = {
    "slug": "bre",
    "other": "nor",
    "name": "GCS e-Santé Bretagne",
    "region": "Bretagne",
    "parameter": "status",
    "expected": "active",
    "field": "region",
    "reason": "code TRE_R30 / TRE_R30 code",
    "limit": 65_536,
    "role": "registry.write",
    "right": "CareTeam.s",
    "detail": "auth.token_file: FileNotFoundError",
}
"""What fills the texts of the examples of errors."""
