"""What a route does, in the words of an AuditEvent (FHIR R4 `restful-interaction`, IHE BALP). Pure.

Kept for every route under `/fhir` and `/registry`. Not kept: what tells of nobody and is asked by machines all day
(health, metrics, the CapabilityStatement, the API's own description); who is refused it leaves a trace all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from broker.core.access.sign_in import CALLBACK, SIGN_OUT

FHIR: Final = "/fhir"
REGISTRY_FHIR: Final = "/registry/fhir"
AUDIT_PATH: Final = "/registry/audit"
_REGISTRY: Final = "/registry"
CONSOLE: Final = "/console"
_SILENT: Final = frozenset(
    {
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
        "/registry/fhir/metadata",
        "/registry/openapi.json",
        "/registry/problems",
    }
)


class Kind(StrEnum):
    """`AuditEvent.type`."""

    REST = "rest"  # a FHIR interaction
    ADMINISTRATION = "administration"  # of the registry, the locator, synchronisation
    DISCLOSURE = "disclosure"  # sent to a subscriber (DICOM 110106, Export)
    AUDIT_USED = "audit-used"  # somebody read the trail (DICOM 110101)
    AUTHENTICATION = "authentication"  # somebody signed in or out (DICOM 110114)


@dataclass(frozen=True, slots=True)
class Audited:
    """`code`: the `restful-interaction`, else what the broker calls it. `action`: C, R, U, D or E, as an AuditEvent has
    it.

    `profile`: the IHE BALP profile that a success conforms to, without its `Patient` variant. `queried`: what was
    asked is kept, as it came. `changes`: it may change something, and must then be answered truly whatever befalls
    its trace.
    """

    kind: Kind
    code: str
    action: str
    profile: str | None = None
    queried: bool = False
    changes: bool = False


_SEARCH = Audited(Kind.REST, "search-type", "E", "Query", queried=True)
_FHIR: Mapping[tuple[str, str], Audited] = {
    ("GET", "type"): _SEARCH,
    ("POST", "search"): _SEARCH,
    ("POST", "type"): Audited(Kind.REST, "create", "C", "Create", changes=True),
    ("GET", "id"): Audited(Kind.REST, "read", "R", "Read"),
    ("PUT", "id"): Audited(Kind.REST, "update", "U", "Update", changes=True),
    ("DELETE", "id"): Audited(Kind.REST, "delete", "D", "Delete", changes=True),
    ("GET", "version"): Audited(Kind.REST, "vread", "R", "Read"),
    ("GET", "history"): Audited(Kind.REST, "history-instance", "R", queried=True),
    ("GET", "type-history"): Audited(Kind.REST, "history-type", "R", queried=True),
    ("POST", "system"): Audited(Kind.REST, "transaction", "E", changes=True),
}
_OPERATION = Audited(Kind.REST, "operation", "E", queried=True)
_AUDIT_USED = Audited(Kind.AUDIT_USED, "audit", "R", queried=True)
_UNKNOWN = Audited(Kind.REST, "unknown", "E", queried=True)
_ACTIONS: Mapping[str, str] = {"GET": "R", "PUT": "U", "DELETE": "D"}
_METRICS: Final = "/metrics"
_CHOICES: Final = frozenset({"/console/preferences", "/console/purpose"})
_VERSIONS: Final = "/console/circle/{id}"
_LOGIN, _LOGOUT = "110122", "110123"  # DICOM, PS3.16, CID 402
_PEOPLE: Mapping[tuple[str, str], Audited] = {
    ("GET", CALLBACK): Audited(Kind.AUTHENTICATION, _LOGIN, "E"),
    ("POST", SIGN_OUT): Audited(Kind.AUTHENTICATION, _LOGOUT, "E", changes=True),
}
"""Never what was asked: there is a code in it."""
_PERSONAL: Mapping[tuple[str, str], Audited] = {
    ("POST", "/console/search"): _SEARCH,
    ("GET", _VERSIONS): _FHIR["GET", "history"],
    ("POST", _VERSIONS): _FHIR["GET", "history"],
    ("POST", "/console/audit"): _AUDIT_USED,
}


@lru_cache(maxsize=512)
def audited_as(method: str, route: str) -> Audited | None:
    """`route`: the canonical path of a route (`/fhir/{type}/{id}`), or any path where no route took it.

    None where no trace is kept.
    """
    method = "GET" if method == "HEAD" else method
    if _under(route, CONSOLE):
        return _console(method, route)
    if route in _SILENT or not _under(route, FHIR, _REGISTRY):
        return None
    if route == AUDIT_PATH:
        return _AUDIT_USED
    base = next((base for base in (FHIR, REGISTRY_FHIR) if _under(route, base)), None)
    if base is None:
        return _administration(method, route)
    parts = [part for part in route.removeprefix(base).split("/") if part]
    if parts and parts[-1].startswith("$"):
        return _OPERATION
    return _FHIR.get((method, _place(parts)), _UNKNOWN)


@lru_cache(maxsize=512)
def refused_as(method: str, route: str) -> Audited:
    """Of a request that leaves no trace unless who asks is refused: `audited_as` gave None."""
    if route == _METRICS or route in _SILENT:
        return _administration(method, route)
    return _UNKNOWN


def _administration(method: str, route: str) -> Audited:
    """Its code is its route, without what is variable in it: `registry/gestionnaires/suspend`."""
    code = "/".join(part for part in route.split("/") if part and not part.startswith("{"))
    # Asking for a plan or a look at the audit is a POST or a GET, and changes nothing; a plan holds a search.
    changes = method not in ("GET", "OPTIONS") and route != "/registry/plan"
    return Audited(Kind.ADMINISTRATION, code, _ACTIONS.get(method, "E"), queried=not changes, changes=changes)


def _console(method: str, route: str) -> Audited | None:
    """Pages that tell of nobody leave no trace; those that tell of somebody do, as what is asked for them would, and what
    is changed by a form, as what it changes would."""
    personal = _PERSONAL.get((method, route)) or _PEOPLE.get((method, route))
    if personal is not None:
        return personal
    if method == "GET" or route in _CHOICES:
        return None
    return _administration(method, route)


def _place(parts: list[str]) -> str:
    """Where under a FHIR base: only the shape counts, so that a path that no route took has one too."""
    match parts:
        case []:
            return "system"
        case [_]:
            return "type"
        case [_, "_search"]:
            return "search"
        case [_, "_history"]:
            return "type-history"
        case [_, _]:
            return "id"
        case [_, _, "_history"]:
            return "history"
        case [_, _, "_history", _]:
            return "version"
        case _:
            return "other"


def _under(path: str, *bases: str) -> bool:
    return any(path == base or path.startswith(base + "/") for base in bases)
