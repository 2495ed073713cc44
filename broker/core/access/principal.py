"""Who asks, and what they were granted (federation, section 7). Pure: how it was proven is not told here.

A `Principal` accompanies a request from the gateway to the managers. `Scopes` are what was granted on FHIR types (SMART
App Launch 2, "Scopes"), and the roles of those who administer. `managers` and `regions` bound the managers reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.model import Gestionnaire


class Method(StrEnum):
    """How a client was recognised."""

    NONE = "none"  # loopback, by explicit choice; or the broker itself
    TOKEN = "token"  # noqa: S105 - a name, no secret
    CERTIFICATE = "certificate"


class Permission(StrEnum):
    """The letters of a SMART 2 scope."""

    CREATE = "c"
    READ = "r"
    UPDATE = "u"
    DELETE = "d"
    SEARCH = "s"


class Role(StrEnum):
    """What is granted beside FHIR, as scopes `cds/<role>`."""

    REGISTRY_READ = "registry.read"
    REGISTRY_WRITE = "registry.write"
    SYNC_READ = "sync.read"
    SYNC_WRITE = "sync.write"
    AUDIT_READ = "audit.read"
    CONSOLE = "console"
    METRICS = "metrics"


ANY_TYPE = "*"


@dataclass(frozen=True, slots=True)
class Scopes:
    """`fhir`: granted permissions by resource type, `*` for any type."""

    fhir: Mapping[str, frozenset[Permission]] = field(default_factory=dict)
    roles: frozenset[Role] = frozenset()

    def allows(self, permission: Permission, resource_type: str) -> bool:
        fhir = self.fhir
        return permission in fhir.get(resource_type, ()) or permission in fhir.get(ANY_TYPE, ())


EVERYTHING = Scopes({ANY_TYPE: frozenset(Permission)}, frozenset(Role))


@dataclass(frozen=True, slots=True)
class User:
    """The person behind a request, as the token's issuer names them; `identifier` is an RPPS or the like."""

    issuer: str
    subject: str
    identifier: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Purpose:
    """To what end somebody asks, as a code: of v3-PurposeOfUse, or of what their issuer goes by."""

    code: str
    system: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """`client`: the client's id. `managers`, `regions`: those that it reaches, None for all; a manager is reached where it
    is in one of the two that are given. `manager`: the Gestionnaire that the client itself is: its topic, its default home.
    `rate`: requests a second, None for everybody's. `purposes`: those that the token was issued for.
    """

    client: str
    method: Method = Method.NONE
    scopes: Scopes = EVERYTHING
    managers: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    manager: str | None = None
    user: User | None = None
    rate: float | None = None
    purposes: tuple[Purpose, ...] = ()

    @property
    def reaches_all(self) -> bool:
        return self.managers is None and self.regions is None

    def reaches(self, manager: Gestionnaire) -> bool:
        if self.managers is None and self.regions is None:
            return True
        return manager.id in (self.managers or ()) or manager.region in (self.regions or ())

    @property
    def caller(self) -> str:
        """Whom page links and keys of idempotency belong to: the client, and the person behind it."""
        return self.client if self.user is None else f"{self.client}\n{self.user.issuer}\n{self.user.subject}"


LOCAL = Principal("local")
"""Whoever is on the loopback address under `CDS_AUTH=none`."""

BROKER = Principal("broker")
"""The broker itself: crawls, settling, publishing, and what it must know before it may answer a client."""

ANONYMOUS = Principal("anonymous", scopes=Scopes())
"""Whoever asks for what is open to all, where anything else takes credentials."""
