"""Signing in to the console: OpenID Connect's authorization code flow with PKCE, as far as it is decided here. Pure.

(OpenID Connect Core 1.0, section 3.1; RFC 6749, section 4.1; RFC 7636; RFC 9207; RFC 9700, section 2.1.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from broker.errors import AccessError, RequestError

HOME: Final = "/console"
SIGN_IN, CALLBACK = "/console/login", "/console/callback"
SIGN_OUT, SIGNED_OUT = "/console/logout", "/console/signed-out"

PENDING_SECONDS: Final = 600
"""For so long somebody may take to show the issuer who they are."""

_PAGE = re.compile(r"/console(?:/[A-Za-z0-9\-._~]{1,64}){0,6}")
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")
_MAX_VALUE = 4_096
_MAX_FIELDS = 16
_READ = ("code", "state", "iss", "error")
_VISIBLE = re.compile(r"[\x20-\x7e]*")

ERRORS: Final = frozenset({
    "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "login_required",
    "interaction_required", "consent_required", "account_selection_required", "invalid_client", "invalid_grant",
    "unsupported_grant_type", "unmet_authentication_requirements",
})  # fmt: skip
"""Codes that are told to people and to the log: of RFC 6749, sections 4.1.2.1 and 5.2, of OpenID Connect Core, section
3.1.2.6. Whatever else an issuer says is its own, and told to nobody."""

_AWAY = frozenset({"temporarily_unavailable", "server_error"})


@dataclass(frozen=True, slots=True)
class Registration:
    """What the console is to the issuer. `contexts`: of authentication (`acr`), one of which must have been met; none: how
    people show who they are is for the issuer to say."""

    issuer: str
    client: str
    redirect_uri: str
    scope: str
    contexts: tuple[str, ...] = ()


class Pending(msgspec.Struct, frozen=True, array_like=True):
    """A sign-in that was begun, kept by the browser that began it. `page`: that was asked for. `until`: seconds since the
    epoch."""

    state: str
    nonce: str
    verifier: str
    page: str
    until: float


@dataclass(frozen=True, slots=True)
class Returned:
    """What the issuer sends the browser back with."""

    state: str
    code: str | None = None
    error: str | None = None
    issuer: str | None = None


def challenge(verifier: str) -> str:
    """RFC 7636, section 4.2, method S256."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def authorization_url(endpoint: str, registration: Registration, pending: Pending) -> str:
    """Where the browser is sent to. `endpoint` may have a query of its own (RFC 6749, section 3.1)."""
    asked = {
        "response_type": "code",
        "client_id": registration.client,
        "redirect_uri": registration.redirect_uri,
        "scope": registration.scope,
        "state": pending.state,
        "nonce": pending.nonce,
        "code_challenge": challenge(pending.verifier),
        "code_challenge_method": "S256",
    }
    if registration.contexts:
        asked["acr_values"] = " ".join(registration.contexts)
    return with_query(endpoint, asked)


def sign_out_url(endpoint: str, registration: Registration, back: str, identity: str | None) -> str:
    """Where the session at the issuer ends (OpenID Connect RP-Initiated Logout 1.0, section 2). `identity`: the ID token
    that names it."""
    asked = {"client_id": registration.client, "post_logout_redirect_uri": back}
    if identity is not None:
        asked["id_token_hint"] = identity
    return with_query(endpoint, asked)


def with_query(address: str, asked: dict[str, str]) -> str:
    joint = "" if address.endswith(("?", "&")) else "&" if "?" in address else "?"
    return address + joint + urlencode(asked)


def page_of(text: str) -> str:
    """A page of the console to go to, whatever was asked for: never another site, nor signing in or out."""
    leads_on = text not in (SIGN_IN, CALLBACK, SIGN_OUT, SIGNED_OUT)
    return text if _PAGE.fullmatch(text) and not _DOTS.search(text) and leads_on else HOME


def read_returned(query: str) -> Returned:
    """`query`: as it came. Raises `RequestError` where it is no authorization response (RFC 6749, section 4.1.2), or says
    something twice."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise RequestError("console.login-malformed") from None
    given = [(name, value) for name, value in pairs if name in _READ]
    found = dict(given)
    harmless = all(len(value) <= _MAX_VALUE and _VISIBLE.fullmatch(value) for value in found.values())
    if len(found) < len(given) or not harmless or not found.get("state"):
        raise RequestError("console.login-malformed")
    if ("code" in found) == ("error" in found):
        raise RequestError("console.login-malformed")
    return Returned(found["state"], found.get("code"), found.get("error"), found.get("iss"))


def check_returned(returned: Returned, pending: Pending, now: float, issuer: str, *, promised: bool) -> str:
    """The code. `promised`: whether the issuer says that it names itself (RFC 9207, section 2.4): then it must, also in an
    error. Raises `AccessError`, `RequestError`."""
    if not hmac.compare_digest(returned.state.encode(), pending.state.encode()) or now > pending.until:
        raise RequestError("console.login-state")
    if returned.issuer != issuer and (promised or returned.issuer is not None):
        raise RequestError("console.login-issuer")
    if returned.code is None:
        raise told(returned.error or "")
    return returned.code


def told(error: str) -> AccessError:
    """What the issuer answered in place of what it was asked for."""
    if error == "access_denied":
        return AccessError("console.login-denied")
    if error in _AWAY:
        return AccessError("console.login-unavailable")
    return AccessError("console.login-failed", code=error if error in ERRORS else "?")
