"""What the issuer says of itself: OpenID Connect Discovery 1.0, section 3; RFC 8414; RFC 9207, section 3."""

from __future__ import annotations

import re

import msgspec

from adapters.access.issuer_http import IssuerError, IssuerHttp
from broker.core.access.described import IssuerTold

_ADDRESS = re.compile(r"https?://[\x21-\x7e]{1,2000}")


class _Discovered(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _Told(msgspec.Struct, frozen=True):
    """What the same document says to clients; whatever of it is missing or odd, the keys are good all the same."""

    token_endpoint: str | None = None
    authorization_endpoint: str | None = None
    introspection_endpoint: str | None = None
    revocation_endpoint: str | None = None
    end_session_endpoint: str | None = None
    authorization_response_iss_parameter_supported: bool = False
    grant_types_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()


async def discovered(http: IssuerHttp, issuer: str) -> IssuerTold:
    """With the address of its keys. Raises `IssuerError`."""
    body = await http.get(issuer.rstrip("/") + "/.well-known/openid-configuration")
    try:
        found = msgspec.json.decode(body, type=_Discovered)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise IssuerError("unreadable discovery document") from None
    if found.issuer != issuer:  # section 4.3: identical, or it speaks for somebody else
        raise IssuerError("discovery document of another issuer")
    return _told(body, found.jwks_uri)


def _told(body: bytes, jwks_uri: str) -> IssuerTold:
    try:
        told = msgspec.json.decode(body, type=_Told)
    except msgspec.ValidationError:
        return IssuerTold(jwks_uri=jwks_uri)
    return IssuerTold(
        jwks_uri=jwks_uri,
        token_endpoint=_address(told.token_endpoint),
        authorization_endpoint=_address(told.authorization_endpoint),
        introspection_endpoint=_address(told.introspection_endpoint),
        revocation_endpoint=_address(told.revocation_endpoint),
        end_session_endpoint=_address(told.end_session_endpoint),
        names_itself=told.authorization_response_iss_parameter_supported,
        grant_types=told.grant_types_supported,
        challenge_methods=told.code_challenge_methods_supported,
        client_methods=told.token_endpoint_auth_methods_supported,
    )


def _address(text: str | None) -> str | None:
    """Passed on to clients: nothing but an address."""
    return text if text is not None and _ADDRESS.fullmatch(text) else None
