"""What a token says, checked (RFC 7519, section 4.1; RFC 9068; RFC 8705, section 3; RFC 8693, section 4.1). Pure.

That the issuer said it was proven before: by the signature, or by the issuer's own answer (introspection).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.access.challenge import refused
from broker.core.access.principal import Purpose, User
from broker.core.access.scopes import has_user_scope

Payload = Mapping[str, object]

RESERVED: Final = frozenset({"local", "broker", "anonymous"})
"""Names that the broker gives itself: no client goes by one."""

_CLIENT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
_MAX_SUBJECT, _MAX_TOKEN_ID, _MAX_SHOWN, _MAX_AUDIENCES, _MAX_PURPOSES = 255, 512, 200, 64, 8
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_INSTANTS = range(2**53)  # seconds; what a JSON number holds exactly


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """`leeway`: seconds by which clocks may differ. `bound`: tokens must be bound to a certificate. `one_time`: they
    must have a `jti`."""

    issuer: str
    audiences: frozenset[str]
    leeway: float = 30.0
    bound: bool = False
    one_time: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """`expires`: seconds since the epoch, None where the issuer says by introspection that it is active, and no more.
    `thumbprint`: of the certificate that the token is bound to."""

    client: str
    scope: str
    expires: float | None
    token_id: str | None = None
    thumbprint: str | None = None
    user: User | None = None
    purposes: tuple[Purpose, ...] = ()


def check_claims(payload: Payload, rules: ClaimRules, now: float, *, introspected: bool = False) -> Claims:
    """`now`: seconds since the epoch. Of an introspected token (RFC 7662) `iss`, `exp` and `iat` may be absent: the
    issuer itself was asked; what is there is checked all the same. Raises `AccessError` (401)."""
    if ("iss" in payload or not introspected) and payload.get("iss") != rules.issuer:
        raise refused("access.issuer")
    if rules.audiences.isdisjoint(audiences(payload.get("aud"))):
        raise refused("access.audience")
    expires = checked_instants(payload, rules.leeway, now, introspected=introspected)
    bound_to = _thumbprint(payload.get("cnf"))
    if rules.bound and bound_to is None:
        raise refused("access.unbound")
    token_id = optional_text(payload, "jti", _MAX_TOKEN_ID)
    if rules.one_time and token_id is None:
        raise refused("access.claim", claim="jti")
    scope = _scope(payload)
    client = _client(payload)
    user = _user(payload, client, scope, rules.issuer)
    return Claims(client, scope, expires, token_id, bound_to, user, _purposes(payload))


def checked_instants(
    payload: Payload, leeway: float, now: float, *, introspected: bool = False
) -> float | None:
    """`exp`, which is not over; `nbf` and `iat` are not to come. Raises `AccessError` (401)."""
    expires = _instant(payload, "exp", needed=not introspected)
    if expires is not None and now >= expires + leeway:
        raise refused("access.expired")
    not_before = _instant(payload, "nbf", needed=False)
    issued = _instant(payload, "iat", needed=not introspected)
    for instant in (not_before, issued):
        if instant is not None and instant > now + leeway:
            raise refused("access.early")
    return expires


def _instant(payload: Payload, claim: str, *, needed: bool) -> float | None:
    value = payload.get(claim)
    if value is None and not needed:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused("access.claim", claim=claim)
    if not math.isfinite(value) or int(value) not in _INSTANTS:
        raise refused("access.claim", claim=claim)
    return float(value)


def audiences(value: object) -> list[str]:
    """Of `aud`."""
    found = value if isinstance(value, list) else [value]
    return [one for one in found[:_MAX_AUDIENCES] if isinstance(one, str)]


def _thumbprint(confirmation: object) -> str | None:
    """Of `cnf`. One that names another proof of possession (`jkt`, `jwk`) cannot be checked: refused, not overlooked."""
    if confirmation is None:
        return None
    found = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
    if not isinstance(found, str) or _THUMBPRINT.fullmatch(found) is None:
        raise refused("access.claim", claim="cnf")
    return found


def _scope(payload: Payload) -> str:
    """`scope` with spaces between (RFC 8693, section 4.2); some issuers give a list, or call it `scp`."""
    value = payload.get("scope", payload.get("scp"))
    if isinstance(value, list):
        return " ".join(one for one in value if isinstance(one, str))
    return value if isinstance(value, str) else ""


def _client(payload: Payload) -> str:
    """Who uses the token: RFC 9068's `client_id`, OpenID's `azp`, the actor of an exchanged token, else its subject."""
    actor = payload.get("act")
    acting: Payload = actor if isinstance(actor, dict) else {}
    for value in (
        payload.get("client_id"),
        payload.get("azp"),
        acting.get("client_id"),
        acting.get("sub"),
        payload.get("sub"),
    ):
        if value is not None:
            if not isinstance(value, str) or _CLIENT.fullmatch(value) is None or value in RESERVED:
                raise refused("access.claim", claim="client_id")
            return value
    raise refused("access.claim", claim="client_id")


def person(payload: Payload, issuer: str) -> User | None:
    """Whom a token is about, whatever its subject is; None where it has none."""
    subject = optional_text(payload, "sub", _MAX_SUBJECT)
    if subject is None:
        return None
    national = _shown(payload.get("SubjectNameID")) or _shown(payload.get("idNat"))
    full = " ".join(
        part for part in (_shown(payload.get(one)) for one in ("given_name", "family_name")) if part
    )
    return User(issuer, subject, national, _shown(payload.get("name")) or full or None)


def _user(payload: Payload, client: str, scope: str, issuer: str) -> User | None:
    """The person behind the request. A token has one where it was exchanged for a person's (`act`), carries Pro Santé
    Connect's identity (`SubjectNameID`, `idNat`) or grants `user/…`; and its subject is not the client itself."""
    subject = person(payload, issuer)
    if subject is None or subject.subject == client:
        return None
    personal = isinstance(payload.get("act"), dict) or subject.identifier is not None
    return subject if personal or has_user_scope(scope) else None


def _purposes(payload: Payload) -> tuple[Purpose, ...]:
    """Codings, of IHE IUA's extension (ITI-71, "JSON Web Token Option") or a claim of that name. For the audit: what is no
    coding is left out, not refused."""
    extensions = payload.get("extensions")
    iua = extensions.get("ihe_iua") if isinstance(extensions, dict) else None
    found = iua.get("purpose_of_use") if isinstance(iua, dict) else payload.get("purpose_of_use")
    codings = found if isinstance(found, list) else [found]
    told = []
    for coding in codings[:_MAX_PURPOSES]:
        if not isinstance(coding, dict):
            continue
        code = _shown(coding.get("code"))
        if code is not None:
            told.append(Purpose(code, _shown(coding.get("system"))))
    return tuple(told)


def optional_text(payload: Payload, claim: str, limit: int) -> str | None:
    """Raises `AccessError` (401) where it is there and is no text to be shown."""
    value = payload.get(claim)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
        raise refused("access.claim", claim=claim)
    return value


def _shown(value: object) -> str | None:
    """For people and the audit: what cannot be shown is left out, not refused."""
    if not isinstance(value, str):
        return None
    return "".join(one for one in value[:_MAX_SHOWN] if one.isprintable()).strip() or None
