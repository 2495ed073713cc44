"""How callers are recognised, told to callers: `rest.security` of the CapabilityStatement, and the SMART configuration
(SMART App Launch 2.2, "Conformance"; FHIR R4, capabilitystatement.html). Pure.

What the issuer can do is told as far as the issuer itself tells it; of its own the broker says what scopes it understands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.core.access.policy import INTERACTIONS, TYPE_OF_PATH
from broker.core.access.principal import Method, Permission, Role
from broker.core.search_parameters import TYPES

Json = dict[str, Any]
Texts = tuple[str, str]

_SERVICES: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SUBSCRIPTION: Final = "Subscription"

_DESCRIPTIONS: Mapping[Method, Texts] = {
    Method.NONE: (
        "Aucune authentification : ce courtier ne répond que sur sa propre machine.",
        "No authentication: this broker answers on its own machine only.",
    ),
    Method.TOKEN: (
        (
            "Jeton d'accès OAuth 2.0 dans l'en-tête Authorization (Bearer), avec des portées SMART : "
            "system/CareTeam.rs, user/CareTeam.cru… Un jeton lié à un certificat (RFC 8705) ne sert qu'avec lui."
        ),
        (
            "OAuth 2.0 access token in the Authorization header (Bearer), with SMART scopes: "
            "system/CareTeam.rs, user/CareTeam.cru… A token bound to a certificate (RFC 8705) serves with it only."
        ),
    ),
    Method.CERTIFICATE: (
        "Certificat de client TLS, enregistré auprès de ce courtier.",
        "TLS client certificate, registered with this broker.",
    ),
}


@dataclass(frozen=True, slots=True)
class IssuerTold:
    """Of the issuer's discovery document (OpenID Connect Discovery 1.0, section 3; RFC 8414), what it says to clients.

    `names_itself`: in what it sends browsers back with (RFC 9207)."""

    jwks_uri: str | None = None
    token_endpoint: str | None = None
    authorization_endpoint: str | None = None
    introspection_endpoint: str | None = None
    revocation_endpoint: str | None = None
    end_session_endpoint: str | None = None
    names_itself: bool = False
    grant_types: Sequence[str] = ()
    challenge_methods: Sequence[str] = ()
    client_methods: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Recognised:
    """`issuer`: of tokens, None where none are taken. `bound`: every token must be bound to a certificate."""

    method: Method = Method.NONE
    issuer: str | None = None
    bound: bool = False
    told: IssuerTold = field(default_factory=IssuerTold)


def security(recognised: Recognised) -> tuple[Json, Texts]:
    """`CapabilityStatement.rest.security` without its description, and that in French and English."""
    found: Json = {"cors": False}
    addresses = _oauth_uris(recognised.told)
    if addresses:
        found = {"extension": [{"url": _OAUTH_URIS, "extension": addresses}], **found}
    codes = ["SMART-on-FHIR"] if recognised.method is Method.TOKEN else []
    if recognised.method is Method.CERTIFICATE or recognised.bound:
        codes.append("Certificates")
    if codes:
        found["service"] = [{"coding": [{"system": _SERVICES, "code": code}]} for code in codes]
    return found, _DESCRIPTIONS[recognised.method]


def smart_configuration(recognised: Recognised) -> Json | None:
    """`.well-known/smart-configuration`; None where no tokens are taken. What nobody told is left out."""
    if recognised.issuer is None:
        return None
    told = recognised.told
    capabilities = ["permission-v1", "permission-v2", "permission-user"]
    if "private_key_jwt" in told.client_methods:
        capabilities.append("client-confidential-asymmetric")
    if {"client_secret_basic", "client_secret_post"} & set(told.client_methods):
        capabilities.append("client-confidential-symmetric")
    known: Json = {
        "issuer": recognised.issuer,
        "jwks_uri": told.jwks_uri,
        "authorization_endpoint": told.authorization_endpoint,
        "token_endpoint": told.token_endpoint,
        "token_endpoint_auth_methods_supported": list(told.client_methods),
        "grant_types_supported": list(told.grant_types),
        "introspection_endpoint": told.introspection_endpoint,
        "revocation_endpoint": told.revocation_endpoint,
        "code_challenge_methods_supported": list(told.challenge_methods),
        "scopes_supported": scopes_supported(),
        "capabilities": capabilities,
    }
    return {name: value for name, value in known.items() if value}


def scopes_supported() -> list[str]:
    """All that the table of interactions asks for, by type, and the roles that open something."""
    letters: dict[str, set[Permission]] = {kind: set() for kind in (*TYPES, _SUBSCRIPTION)}
    roles: set[Role] = set()
    for one in INTERACTIONS:
        for right in one.need.rights:
            for kind in TYPES if right.on == TYPE_OF_PATH else (right.on,):
                letters[kind].add(right.permission)
        roles.update(one.need.roles)
    return [
        *(
            f"{level}/{kind}.{''.join(one.value for one in Permission if one in granted)}"
            for level in ("system", "user")
            for kind, granted in letters.items()
        ),
        *(f"cds/{role.value}" for role in Role if role in roles),
    ]


def _oauth_uris(told: IssuerTold) -> list[Json]:
    """The extension has no use without the address of tokens."""
    if told.token_endpoint is None:
        return []
    named = {
        "token": told.token_endpoint,
        "authorize": told.authorization_endpoint,
        "introspect": told.introspection_endpoint,
        "revoke": told.revocation_endpoint,
    }
    return [{"url": name, "valueUri": address} for name, address in named.items() if address is not None]
