"""Who may do what: one table of every interaction that the broker offers, and what it takes (federation, section 7). Pure.

What is not in the table is refused. A FHIR interaction takes a permission on a resource type, as a SMART scope grants it
(SMART App Launch 2.2, "Scopes for requesting FHIR Resources": `r` reads one resource, its versions and its history, `s`
searches a type and reads its history); the rest takes a role. Which managers may be reached is a bound of its own, which
the services keep: see `Principal.reaches`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.access.challenge import refused
from broker.core.access.principal import Method, Permission, Principal, Role, Scopes
from broker.core.query import Criterion
from broker.core.value_tests import split_token
from broker.errors import AccessError
from registry.model import Gestionnaire

TYPE_OF_PATH: Final = "{type}"
_PERSON: Final = ("patient", "subject")

Route = tuple[str, str]
"""HTTP method, and path with its variables in braces."""


@dataclass(frozen=True, slots=True)
class Right:
    """A permission on the resource type `on`."""

    permission: Permission
    on: str = TYPE_OF_PATH


@dataclass(frozen=True, slots=True)
class Need:
    """What an interaction takes: every one of the `rights`, and the `roles`. Nothing at all: it is open to anybody.

    `by_entry`: each entry of a transaction takes a right of its own, `c` on its type to create, `u` to update.
    """

    rights: tuple[Right, ...] = ()
    roles: tuple[Role, ...] = ()
    by_entry: bool = False

    @property
    def is_public(self) -> bool:
        return not (self.rights or self.roles or self.by_entry)


@dataclass(frozen=True, slots=True)
class Interaction:
    """`code`: FHIR's code of the interaction where it has one (http://hl7.org/fhir/restful-interaction)."""

    code: str
    routes: tuple[Route, ...]
    need: Need


_SEARCH_CIRCLES = Right(Permission.SEARCH, "CareTeam")


def _typed(permission: Permission) -> Need:
    return Need((Right(permission),))


def _subscription(permission: Permission, *more: Right) -> Need:
    """`more`: what is asked for or told is the result of a search for circles."""
    return Need((Right(permission, "Subscription"), *more))


def _role(*roles: Role) -> Need:
    return Need(roles=roles)


_SEARCH, _READ = _typed(Permission.SEARCH), _typed(Permission.READ)

INTERACTIONS: Final[tuple[Interaction, ...]] = (
    Interaction(
        "capabilities",
        (("GET", "/fhir/metadata"), ("GET", "/fhir/.well-known/smart-configuration")),
        Need(),
    ),
    Interaction("search-type", (("GET", "/fhir/{type}"), ("POST", "/fhir/{type}/_search")), _SEARCH),
    Interaction("read", (("GET", "/fhir/{type}/{id}"),), _READ),
    Interaction("vread", (("GET", "/fhir/{type}/{id}/_history/{vid}"),), _READ),
    Interaction("history-instance", (("GET", "/fhir/{type}/{id}/_history"),), _READ),
    Interaction("history-type", (("GET", "/fhir/{type}/_history"),), _SEARCH),
    Interaction("create", (("POST", "/fhir/{type}"),), _typed(Permission.CREATE)),
    Interaction("update", (("PUT", "/fhir/{type}/{id}"),), _typed(Permission.UPDATE)),
    Interaction("transaction", (("POST", "/fhir"), ("POST", "/fhir/")), Need(by_entry=True)),
    Interaction(
        "$locate",
        (("GET", "/fhir/CareTeam/$locate"), ("POST", "/fhir/CareTeam/$locate")),
        Need((_SEARCH_CIRCLES,)),
    ),
    Interaction(
        "create", (("POST", "/fhir/Subscription"),), _subscription(Permission.CREATE, _SEARCH_CIRCLES)
    ),
    Interaction(
        "search-type",
        (("GET", "/fhir/Subscription"), ("POST", "/fhir/Subscription/_search")),
        _subscription(Permission.SEARCH),
    ),
    Interaction("$status", (("GET", "/fhir/Subscription/$status"),), _subscription(Permission.SEARCH)),
    Interaction("read", (("GET", "/fhir/Subscription/{id}"),), _subscription(Permission.READ)),
    Interaction("$status", (("GET", "/fhir/Subscription/{id}/$status"),), _subscription(Permission.READ)),
    Interaction(
        "$events",
        (("GET", "/fhir/Subscription/{id}/$events"),),
        _subscription(Permission.READ, _SEARCH_CIRCLES),
    ),
    Interaction(
        "update", (("PUT", "/fhir/Subscription/{id}"),), _subscription(Permission.UPDATE, _SEARCH_CIRCLES)
    ),
    Interaction("delete", (("DELETE", "/fhir/Subscription/{id}"),), _subscription(Permission.DELETE)),
    Interaction(
        "registry",
        (("GET", "/registry/gestionnaires"), ("GET", "/registry/gestionnaires/{id}")),
        _role(Role.REGISTRY_READ),
    ),
    Interaction(
        "registry-fhir",
        (
            ("GET", "/registry/fhir/metadata"),
            ("GET", "/registry/fhir/{kind}"),
            ("GET", "/registry/fhir/{kind}/_history"),
            ("GET", "/registry/fhir/{kind}/{id}"),
            ("GET", "/registry/fhir/{kind}/{id}/_history"),
            ("GET", "/registry/fhir/{kind}/{id}/_history/{vid}"),
        ),
        _role(Role.REGISTRY_READ),
    ),
    Interaction(
        "registry-change",
        (
            ("POST", "/registry/gestionnaires"),
            ("PUT", "/registry/gestionnaires/{id}"),
            ("DELETE", "/registry/gestionnaires/{id}"),
            ("POST", "/registry/gestionnaires/{id}/suspend"),
            ("POST", "/registry/gestionnaires/{id}/resume"),
            ("POST", "/registry/gestionnaires/{id}/check"),
        ),
        _role(Role.REGISTRY_WRITE),
    ),
    Interaction(
        "plan",
        (("POST", "/registry/plan"),),
        Need((_SEARCH_CIRCLES,), (Role.REGISTRY_READ,)),
    ),
    Interaction("locator", (("GET", "/registry/locator"),), _role(Role.REGISTRY_READ)),
    Interaction(
        "locator-change",
        (("POST", "/registry/locator/{id}/crawl"), ("POST", "/registry/locator/rotate-key")),
        _role(Role.REGISTRY_WRITE),
    ),
    Interaction("conflicts", (("GET", "/registry/conflicts"),), _role(Role.SYNC_READ)),
    Interaction("synchronisation", (("GET", "/registry/synchronisation"),), _role(Role.SYNC_READ)),
    Interaction(
        "synchronisation-change",
        (("POST", "/registry/synchronisation/{id}/bootstrap"),),
        _role(Role.SYNC_WRITE),
    ),
    Interaction("audit", (("GET", "/registry/audit"),), _role(Role.AUDIT_READ)),
    Interaction("console-files", (("GET", "/console/static/{digest}/{name}"),), Need()),
    Interaction(
        "console-sign-in",
        (
            ("GET", "/console/login"),
            ("GET", "/console/callback"),
            ("POST", "/console/logout"),
            ("GET", "/console/signed-out"),
        ),
        Need(),
    ),
    Interaction(
        "console",
        (("GET", "/console"), ("GET", "/console/events"), ("POST", "/console/preferences")),
        _role(Role.CONSOLE),
    ),
    Interaction("console-registry", (("GET", "/console/registry"),), _role(Role.REGISTRY_READ, Role.CONSOLE)),
    Interaction(
        "console-registry-change",
        (
            ("GET", "/console/registry/{id}/edit"),
            ("GET", "/console/registry/{id}/remove"),
            ("POST", "/console/registry"),
            ("POST", "/console/registry/{id}/edit"),
            ("POST", "/console/registry/{id}/check"),
            ("POST", "/console/registry/{id}/suspend"),
            ("POST", "/console/registry/{id}/resume"),
            ("POST", "/console/registry/{id}/remove"),
        ),
        _role(Role.REGISTRY_WRITE, Role.CONSOLE),
    ),
    Interaction(
        "console-synchronisation",
        (("GET", "/console/synchronisation"),),
        _role(Role.SYNC_READ, Role.CONSOLE),
    ),
    Interaction(
        "console-synchronisation-change",
        (("POST", "/console/synchronisation/{slug}/replay"),),
        _role(Role.SYNC_WRITE, Role.CONSOLE),
    ),
    Interaction(
        "console-purpose", (("GET", "/console/purpose"), ("POST", "/console/purpose")), _role(Role.CONSOLE)
    ),
    Interaction(
        "console-search",
        (("GET", "/console/search"), ("POST", "/console/search")),
        Need((_SEARCH_CIRCLES,), (Role.CONSOLE,)),
    ),
    Interaction(
        "console-circle",
        (("GET", "/console/circle/{id}"), ("POST", "/console/circle/{id}")),
        Need((_SEARCH_CIRCLES, Right(Permission.READ, "CareTeam")), (Role.CONSOLE,)),
    ),
    Interaction(
        "console-audit",
        (("GET", "/console/audit"), ("POST", "/console/audit")),
        _role(Role.AUDIT_READ, Role.CONSOLE),
    ),
    Interaction("descriptions", (("GET", "/registry/openapi.json"), ("GET", "/registry/problems")), Need()),
    Interaction("health", (("GET", "/health/live"), ("GET", "/health/ready")), Need()),
    Interaction("metrics", (("GET", "/metrics"),), _role(Role.METRICS)),
)
"""Each line of it is a line of the README, made by `broker.commands.policy_table`."""

POLICY: Final[Mapping[Route, Interaction]] = {route: one for one in INTERACTIONS for route in one.routes}


def check(principal: Principal, need: Need, resource_type: str = "") -> None:
    """Raises `AccessError` (403), which names the first right that is lacking. `resource_type`: that of the path."""
    scopes = principal.scopes
    for role in need.roles:
        if role not in scopes.roles:
            raise lacking_role(principal, role)
    for right in need.rights:
        kind = resource_type if right.on == TYPE_OF_PATH else right.on
        if not scopes.allows(right.permission, kind):
            raise lacking(principal, right.permission, kind)
    if need.by_entry and not may_write(scopes):
        raise lacking(principal, Permission.CREATE, "CareTeam")


def may_write(scopes: Scopes) -> bool:
    """Whether there is any entry of a transaction that these scopes allow."""
    return any({Permission.CREATE, Permission.UPDATE} & granted for granted in scopes.fhir.values())


def may_see(scopes: Scopes, resource_type: str) -> bool:
    """Whether a resource of a type may be shown where it was not asked for by name: as an include, or found by a
    condition."""
    return scopes.allows(Permission.READ, resource_type) or scopes.allows(Permission.SEARCH, resource_type)


def is_search(criteria: Iterable[Criterion]) -> bool:
    """Whether a condition of a write looks for more than business identifiers.

    By these the broker looks itself before it creates anything, whatever the client says: so they tell it nothing more.
    Any other condition is a search of the client's, and takes `s`.
    """
    return not all(map(_names_by_identifier, criteria))


def _names_by_identifier(criterion: Criterion) -> bool:
    """Of the resource itself, or of the person that it is about; a value without a code is anybody's."""
    if criterion.modifier == "identifier":
        named = not criterion.chain and criterion.parameter.name in _PERSON
    else:
        own = criterion.parameter.name == "identifier" and criterion.modifier is None
        named = own and [link.parameter.name for link in criterion.chain] in ([], ["patient"], ["subject"])
    return named and all(split_token(value)[1] for value in criterion.values)


def lacking(principal: Principal, permission: Permission, resource_type: str) -> AccessError:
    """Of a permission: `access.scope`."""
    right = f"{resource_type}.{permission}"
    level = "system" if principal.user is None else "user"
    return _insufficient(principal, "access.scope", f"{level}/{right}", right=right)


def lacking_role(principal: Principal, role: Role) -> AccessError:
    return _insufficient(principal, "access.role", f"cds/{role}", role=role.value)


def out_of_reach(manager: Gestionnaire) -> AccessError:
    """A manager that a client does not reach."""
    return AccessError("access.manager", slug=manager.id, name=manager.name, region=manager.region)


def _insufficient(principal: Principal, key: str, scope: str, **params: str) -> AccessError:
    if principal.method is not Method.TOKEN:
        return AccessError(key, **params)
    return refused(key, error="insufficient_scope", scope=scope, **params)
