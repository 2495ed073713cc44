"""Who asks, by what a request presents: a token of the issuer, a certificate, or the loopback address.

A token that was found good is kept, by its digest, until it expires and for a minute at most: verifying a signature costs
as much as many searches in the index. What binds it to a certificate is checked at each request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.access.ports import Tokens
from broker.core.access.certificates import Certificate, read_certificate, thumbprint
from broker.core.access.challenge import bad_certificate, no_token, refused
from broker.core.access.claims import ClaimRules, Claims, check_claims
from broker.core.access.clients import Client, Clients
from broker.core.access.principal import LOCAL, Method, Principal, Purpose, Scopes, User
from broker.core.access.scopes import both, parse_scopes
from broker.errors import AccessError
from broker.ports import Clock, Leases

MAX_TOKEN: Final = 8_192
"""Characters of a token; an honest one has one or two thousand, and many proxies take no more than this."""

KEPT_SECONDS: Final = 60.0
"""For so long a token, or a certificate's client, is not looked at again."""

KEPT_OPAQUE_SECONDS: Final = 15.0
"""The same for a token that the issuer was asked about: it may be revoked at any time."""

KEPT: Final = 10_000
"""Tokens kept at most; the one longest unused goes first."""

_LONGEST_SEEN = 7 * 86_400  # seconds

_JWT = re.compile(r"e[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
"""RFC 7519: three parts, the first of which is a JSON object. All of an unsigned one has this form too, and is refused."""

_CREDENTIALS = re.compile(r"(?i:bearer) +([A-Za-z0-9\-._~+/]+=*) *")
"""RFC 6750, section 2.1; a scheme is compared without case (RFC 9110, section 11.1)."""


@dataclass(frozen=True, slots=True)
class Presented:
    """`authorization`: the header. `certificate_der`: of the TLS connection, or as a trusted proxy says. `address`: of the
    client, for the audit and the limits; it proves nothing."""

    authorization: str | None = field(default=None, repr=False)
    certificate_der: bytes | None = field(default=None, repr=False)
    address: str = ""


class Authenticator(Protocol):
    async def principal(self, presented: Presented) -> Principal:
        """Raises `AccessError` (401, 403, 503), `StoreError`."""
        ...

    def use(self, clients: Clients) -> None:
        """Go by this directory from now on, also for who was recognised before."""
        ...


class OpenAccess:
    """`CDS_AUTH=none`: everybody on the loopback address is the one local client."""

    async def principal(self, presented: Presented) -> Principal:
        del presented
        return LOCAL

    def use(self, clients: Clients) -> None:
        del clients


@dataclass(frozen=True, slots=True)
class _Known:
    """`until`: monotonic seconds."""

    principal: Principal
    claims: Claims
    until: float


@dataclass
class TokenAuthenticator:
    """`CDS_AUTH=oidc`. `signed`: JWTs; `opaque`: any other token, None where there is no introspection.

    `clients`: None where every client of the issuer is taken, for what its tokens grant. `once`: where a token may be
    used once only: whoever takes its name first has used it."""

    rules: ClaimRules
    signed: Tokens
    clock: Clock
    opaque: Tokens | None = None
    clients: Clients | None = None
    once: Leases | None = None
    _kept: OrderedDict[bytes, _Known] = field(default_factory=OrderedDict, init=False, repr=False)

    def use(self, clients: Clients) -> None:
        self.clients = clients
        self._kept.clear()

    async def principal(self, presented: Presented) -> Principal:
        token = _token(presented.authorization)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = self._kept.get(digest)
        if known is None or known.until <= self.clock.monotonic():
            known = await self._judged(token)
            self._keep(digest, known)
        else:
            self._kept.move_to_end(digest)
        bound_to = known.claims.thumbprint
        if bound_to is not None:
            _check_binding(bound_to, presented.certificate_der)
        if self.once is not None:  # last: whoever has the token and not its certificate must not use it up
            await self._first_use(self.once, known.claims)
        return known.principal

    async def _judged(self, token: str) -> _Known:
        clients = self.clients
        kind, seconds = self._kind(token)
        introspected = kind is self.opaque
        payload = await kind.payload(token)
        now = self.clock.now().timestamp()
        claims = check_claims(payload, self.rules, now, introspected=introspected)
        if claims.expires is not None:
            seconds = min(seconds, claims.expires + self.rules.leeway - now)
        # Judged by a directory that was replaced meanwhile: good for this request, and not kept.
        until = self.clock.monotonic() + (seconds if clients is self.clients else 0.0)
        return _Known(_principal(claims, clients), claims, until)

    def _kind(self, token: str) -> tuple[Tokens, float]:
        """Who can tell whether it is the issuer's, and for how long that is good."""
        if _JWT.fullmatch(token):
            return self.signed, KEPT_SECONDS
        if self.opaque is None:
            raise refused("access.malformed")
        return self.opaque, KEPT_OPAQUE_SECONDS

    def _keep(self, digest: bytes, known: _Known) -> None:
        if self.once is not None:
            return  # it will not come again
        self._kept[digest] = known
        self._kept.move_to_end(digest)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def _first_use(self, once: Leases, claims: Claims) -> None:
        name = hashlib.sha256(f"{self.rules.issuer}\n{claims.token_id}".encode()).hexdigest()
        expires = claims.expires if claims.expires is not None else float("inf")
        left = expires + self.rules.leeway - self.clock.now().timestamp()
        if not await once.take(f"token:{name}", seconds=max(1, int(min(left, _LONGEST_SEEN)) + 1)):
            raise refused("access.replayed")


@dataclass
class CertificateAuthenticator:
    """`CDS_AUTH=mtls`: the certificate of the connection is a registered client's."""

    clients: Clients
    clock: Clock
    _kept: OrderedDict[bytes, tuple[Certificate, Principal]] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def use(self, clients: Clients) -> None:
        self.clients = clients
        self._kept.clear()

    async def principal(self, presented: Presented) -> Principal:
        der = presented.certificate_der
        if der is None:
            raise bad_certificate("access.certificate-missing")
        digest = hashlib.sha256(der).digest()
        known = self._kept.get(digest)
        if known is None:
            known = self._kept[digest] = self._recognised(der)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        certificate, principal = known
        if not certificate.valid_at(self.clock.now()):
            raise bad_certificate("access.certificate")
        return principal

    def _recognised(self, der: bytes) -> tuple[Certificate, Principal]:
        try:
            certificate = read_certificate(der)
        except ValueError:
            raise bad_certificate("access.certificate") from None
        client = self.clients.of_certificate(certificate)
        if client is None:
            raise AccessError("access.unknown-client")
        scopes = Scopes() if client.scopes is None else client.scopes
        return certificate, _registered(client, Method.CERTIFICATE, scopes)


def _token(authorization: str | None) -> str:
    if authorization is None:
        raise no_token()
    if len(authorization) > MAX_TOKEN + len("Bearer "):
        raise refused("access.too-large", error="invalid_request", limit=MAX_TOKEN)
    found = _CREDENTIALS.fullmatch(authorization)
    if found is None:  # another scheme, or nothing that a token can be
        scheme = authorization.partition(" ")[0].lower()
        raise refused("access.malformed", error="invalid_request") if scheme == "bearer" else no_token()
    return found[1]


def _check_binding(bound_to: str, der: bytes | None) -> None:
    """RFC 8705, section 3. Whether the certificate is still valid was for the handshake to see."""
    if der is None or not hmac.compare_digest(bound_to, thumbprint(der)):
        raise refused("access.binding")


def _principal(claims: Claims, clients: Clients | None) -> Principal:
    granted = parse_scopes(claims.scope, user=claims.user is not None)
    if clients is None:
        return Principal(claims.client, Method.TOKEN, granted, user=claims.user, purposes=claims.purposes)
    client = clients.by_id.get(claims.client)
    if client is None:
        stranger = AccessError("access.unknown-client")
        if (
            claims.thumbprint is None
        ):  # what is bound is proven by its certificate alone, which is looked at later
            stranger.proven = claims.client
        raise stranger
    scopes = granted if client.scopes is None else both(granted, client.scopes)
    return _registered(client, Method.TOKEN, scopes, claims.user, claims.purposes)


def _registered(
    client: Client,
    method: Method,
    scopes: Scopes,
    user: User | None = None,
    purposes: tuple[Purpose, ...] = (),
) -> Principal:
    return Principal(
        client.id,
        method,
        scopes,
        managers=client.managers,
        regions=client.regions,
        manager=client.manager,
        user=user,
        rate=client.rate,
        purposes=purposes,
    )
