"""For whom the broker asks a manager, as the claims of a JWT (RFC 7519). Pure.

They are named as others know them: `client_id` (RFC 8693), `sub_id` (RFC 9493, of a person, whose `sub` says nothing without
its issuer), and IHE IUA's extension (ITI-71, "JSON Web Token Option") for who the person is and to what end. `request_id` is
this broker's own, the X-Request-Id that its trail of accesses knows.
"""

from __future__ import annotations

from typing import Final

from broker.core.access.principal import BROKER, Principal, User
from registry.model import Identity

PURPOSES: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
"""Code system of the value set v3-PurposeOfUse."""

_ITSELF: Final = "HSYSADMIN"
"""Purpose of what the broker asks of its own accord: filling its index, finding out what became of a write."""

Claims = dict[str, object]


def forwarded_claims(
    identity: Identity, principal: Principal, *, issuer: str, request_id: str | None, now: int, token_id: str
) -> Claims:
    """`issuer`: the broker, where `identity` names no other. `now`: seconds since the epoch."""
    user = principal.user
    claims: Claims = {
        "iss": identity.issuer or issuer,
        "aud": identity.audience,
        "sub": principal.client if user is None else user.subject,
        "client_id": principal.client,
        "iat": now,
        "exp": now + identity.seconds,
        "jti": token_id,
    }
    if request_id is not None:
        claims["request_id"] = request_id
    if user is not None:
        claims["sub_id"] = {"format": "iss_sub", "iss": user.issuer, "sub": user.subject}
    told = _told_of(user) | _purpose(identity, principal)
    if told:
        claims["extensions"] = {"ihe_iua": told}
    return claims


def _told_of(user: User | None) -> Claims:
    if user is None:
        return {}
    told = {"subject_name": user.name, "national_provider_identifier": user.identifier}
    return {name: value for name, value in told.items() if value is not None}


def _purpose(identity: Identity, principal: Principal) -> Claims:
    """The caller's own, as its token has it; else what the manager's registration says of all."""
    if principal.purposes:
        own = [
            {"code": one.code} if one.system is None else {"system": one.system, "code": one.code}
            for one in principal.purposes
        ]
        return {"purpose_of_use": own}
    code = _ITSELF if principal is BROKER else identity.purpose
    return {} if code is None else {"purpose_of_use": [{"system": PURPOSES, "code": code}]}
