"""What the registry knows of a Gestionnaire (manager). Pure: no I/O, no clock.

A `Gestionnaire` is what an operator declares; `Skills` is what was learnt of it, from its statement and by probing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")
"""A manager's short name, the first part of every public id (federation, section 1)."""

TRE_R30 = "https://mos.esante.gouv.fr/NOS/TRE_R30-RegionOM/FHIR/TRE-R30-RegionOM"
"""Code system of the French regions, used as `meta.tag` for the region of a resource."""

REGIONS: Mapping[str, str] = {
    "01": "Guadeloupe",
    "02": "Martinique",
    "03": "Guyane",
    "04": "La Réunion",
    "06": "Mayotte",
    "11": "Île-de-France",
    "24": "Centre-Val de Loire",
    "27": "Bourgogne-Franche-Comté",
    "28": "Normandie",
    "32": "Hauts-de-France",
    "44": "Grand Est",
    "52": "Pays de la Loire",
    "53": "Bretagne",
    "75": "Nouvelle-Aquitaine",
    "76": "Occitanie",
    "84": "Auvergne-Rhône-Alpes",
    "93": "Provence-Alpes-Côte d'Azur",
    "94": "Corse",
}


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"  # kept in the registry, never asked


class SearchMethod(StrEnum):
    AUTO = "auto"  # POST _search unless the manager is known not to take it
    GET = "get"
    POST = "post"


class AuthType(StrEnum):
    NONE = "none"
    BEARER = "bearer"
    BASIC = "basic"
    OAUTH2 = "oauth2"
    MTLS = "mtls"


class TokenAuth(StrEnum):
    """How the broker proves at a token endpoint that it is the client it says it is."""

    BASIC = "client_secret_basic"  # RFC 6749, section 2.3.1
    POST = "client_secret_post"
    PRIVATE_KEY_JWT = "private_key_jwt"  # RFC 7523, section 2.2
    TLS = "tls_client_auth"  # RFC 8705, section 2.1


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the broker authenticates at a manager. Secrets are named (environment variable, file), never held.

    `cert_file` and `key_file` (PEM; the key may be in the file of the certificate) are the broker's client certificate,
    shown in the TLS handshake by `mtls` and, where they are given, beside a token or password too.

    `oauth2` is the client credentials grant (RFC 6749, section 4.4) at `token_url`. `token_auth` left out: what was
    given decides, an `assertion_key_file`, else a secret, else the client certificate. `assertion_audience` left out: the
    `token_url`; `assertion_alg` left out: what the key is for (RS256, ES256, ES384). `resource`: RFC 8707.
    `token_tls_ca`: who vouches for the token endpoint; left out, the manager's `tls_ca`.
    """

    type: AuthType = AuthType.NONE
    token_env: str | None = None
    token_file: str | None = None
    username: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    client_id: str | None = None
    client_secret_env: str | None = None
    client_secret_file: str | None = None
    token_url: str | None = None
    scope: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    token_auth: TokenAuth | None = None
    resource: str | None = None
    assertion_key_file: str | None = None
    assertion_kid: str | None = None
    assertion_alg: str | None = None
    assertion_audience: str | None = None
    token_tls_ca: str | None = None

    @property
    def at_token_endpoint(self) -> TokenAuth:
        if self.token_auth is not None:
            return self.token_auth
        if self.assertion_key_file:
            return TokenAuth.PRIVATE_KEY_JWT
        secret = self.client_secret_env or self.client_secret_file
        return TokenAuth.BASIC if secret else TokenAuth.TLS


class IdentityType(StrEnum):
    JWT = "jwt"


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """That a manager wants to know for whom the broker asks: a JWT signed with `key_file` (PEM, RSA or EC) goes with each
    request, of the client, its user and the request's id, with the claims that IHE IUA gives them.

    `header`: which carries it; `Authorization` makes it the bearer token of a manager that takes no other. `issuer` left
    out: the broker's public address. `purpose`: a code of HL7's v3-PurposeOfUse that stands for what clients ask, as agreed
    with the manager. `seconds`: how long it is good.
    """

    audience: str
    type: IdentityType = IdentityType.JWT
    key_file: str | None = None
    kid: str | None = None
    alg: str | None = None
    issuer: str | None = None
    header: str = "X-Forwarded-Identity"
    purpose: str | None = None
    seconds: int = 60


class Skills(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a manager can do. `None` means not known: then the broker bridges rather than trusts.

    `search_params` maps a resource type to the names of the search parameters that work there; a type that is absent
    is not known. `unproven` names those of them (`CareTeam.end`) that were counted on the statement's word alone, for
    want of something to try them with, and the modifiers (`:text`) that could not be tried and so are not trusted.
    `lacks` holds one stable key per thing that is missing (`chaining`, `param:CareTeam:end`, `modifier:exact`);
    `broker.core.lacks.describe_lacks` says them in words.
    """

    checked_at: str | None = None  # RFC 3339 instant of the last check
    unsettled: int = 0  # checks in a row that left questions open, for want of something to try them with
    software: str | None = None
    fhir_version: str | None = None
    formats: tuple[str, ...] = ()
    interactions: Mapping[str, tuple[str, ...]] = {}  # type → FHIR interaction codes it declares
    search_params: Mapping[str, tuple[str, ...]] = {}
    unproven: tuple[str, ...] = ()
    modifiers: tuple[str, ...] | None = (
        None  # of exact, contains, not, missing, text, identifier: those that work
    )
    chaining: bool | None = None  # chained criteria really filter
    include: bool | None = None  # _include brings the referenced resources
    iterate: bool | None = None  # _include:iterate too
    revinclude: bool | None = None
    sort: bool | None = None  # _sort=-_lastUpdated comes back in order
    post_search: bool | None = None  # POST {type}/_search answers what GET answers
    history_type: bool | None = None  # GET CareTeam/_history
    history_instance: bool | None = None
    read: bool | None = None  # GET CareTeam/{id}
    paging: bool | None = None  # a full page has a `next` link that leads on
    vread: bool | None = None  # GET CareTeam/{id}/_history/{vid}
    total: bool | None = None  # Bundle.total is given
    elements: bool | None = None
    broker: bool | None = None  # it is itself a federation broker
    federations: tuple[str, ...] = ()  # ids of the federations behind it, its own first
    max_page: int | None = None  # the largest page it was seen to give
    lacks: tuple[str, ...] = ()


class Gestionnaire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One registered manager.

    `dialect` overrides what was learnt: the name of a known server kind, or single skills by name.
    `territory` is a list of department codes. `timeout` is in seconds and bounds one request; None: the settings'.
    `optional`: its absence does not make an answer incomplete under `Prefer: partial=deny`. `identity`: it wants to know
    for whom it is asked. `tls_ca`: who vouches for its server, PEM; None: the system's authorities.
    """

    id: str
    name: str
    region: str
    base_url: str
    organization: str | None = None  # FINESS
    territory: tuple[str, ...] = ()
    status: Status = Status.ACTIVE
    timeout: float | None = None
    max_connections: int = 16
    optional: bool = False
    auth: Auth = Auth()
    identity: Identity | None = None
    tls_ca: str | None = None
    dialect: str | Mapping[str, bool | int] | None = None
    search_method: SearchMethod = SearchMethod.AUTO


class Registered(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Gestionnaire as the registry keeps it: the declaration, its revision, and what was learnt."""

    gestionnaire: Gestionnaire
    revision: int  # 1 for the first version, +1 for each change of the declaration or status
    updated_at: str  # RFC 3339
    skills: Skills | None = None
