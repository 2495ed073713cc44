"""Who calls, in a worker, put together. A part of the composition root."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from adapters.access.clients_file import read_clients
from adapters.access.introspected_tokens import IntrospectedTokens
from adapters.access.issuer_http import IssuerHttp
from adapters.access.issuer_keys import IssuerKeys
from adapters.access.issuer_sign_in import IssuerSignIn
from adapters.access.signed_tokens import IDENTITY, SignedTokens
from adapters.server_tls import ServerTls
from broker.access.authenticator import (
    Authenticator,
    CertificateAuthenticator,
    OpenAccess,
    TokenAuthenticator,
)
from broker.access.identification import Identification
from broker.access.sessions import Lifetime, Sessions
from broker.access.sign_in import SignIn
from broker.core.access.algorithms import parse_algorithms
from broker.core.access.claims import ClaimRules
from broker.core.access.clients import Clients
from broker.core.access.described import Recognised
from broker.core.access.principal import Method
from broker.core.access.sign_in import CALLBACK, SIGNED_OUT, Registration
from broker.core.hook_address import AddressRules
from broker.core.sealing import Sealer
from broker.gateway.peer import Peers
from broker.gateway.smart_routes import smart_routes
from broker.settings import AuthMode, Settings
from broker.settings_access import TokenUse
from broker.settings_serving import check_access
from broker.settings_sync import networks
from broker.wiring_ground import Ground, Part
from registry.lease_store import RedisLeases
from registry.session_store import RedisSessions


@dataclass(frozen=True, slots=True)
class Access(Part):
    """`keys`: of the issuer, where there is one. `sign_in`: where people can, at the console."""

    settings: Settings
    authenticator: Authenticator
    peers: Peers
    keys: IssuerKeys | None = None
    sign_in: SignIn | None = None

    @classmethod
    async def wired(cls, ground: Ground, stack: AsyncExitStack) -> Access:
        """What is opened closes with the stack. Raises `ConfigurationError`."""
        settings = ground.settings
        check_access(settings)
        peers = Peers(networks(settings.trusted_proxies), settings.proxy_cert_header)
        if settings.auth is AuthMode.NONE:
            return cls(settings, OpenAccess(), peers)
        clients = await _clients(settings)
        if settings.auth is AuthMode.MTLS:
            return cls(settings, CertificateAuthenticator(clients or Clients(), ground.clock), peers)
        http = IssuerHttp(AddressRules(networks(settings.oidc_networks)), authorities=settings.oidc_tls_ca)
        stack.push_async_callback(http.aclose)
        issuer = settings.oidc_issuer or ""
        keys = IssuerKeys(
            http, ground.clock, issuer, settings.oidc_jwks_url, max_age=settings.oidc_keys_max_age
        )
        stack.push_async_callback(keys.aclose)
        once = settings.oidc_jti is TokenUse.ONCE
        authenticator = TokenAuthenticator(
            ClaimRules(
                issuer,
                settings.audiences,
                leeway=settings.oidc_leeway,
                bound=settings.oidc_bound,
                one_time=once,
            ),
            SignedTokens(keys, parse_algorithms(settings.oidc_algorithms)),
            ground.clock,
            _introspected(ground, http, stack),
            clients,
            RedisLeases(ground.redis, keys=ground.keys) if once else None,
        )
        sign_in = _sign_in(ground, http, keys, authenticator, stack)
        return cls(settings, authenticator, peers, keys, sign_in)

    async def reread(self) -> None:
        """Take over the clients file as it is now. Raises `ConfigurationError`, and then all stays as it was."""
        clients = await _clients(self.settings)
        if clients is not None:
            self.authenticator.use(clients)

    def recognised(self) -> Recognised:
        """As it is told to callers, by what is known of the issuer now."""
        settings = self.settings
        if self.keys is None:
            method = Method.CERTIFICATE if settings.auth is AuthMode.MTLS else Method.NONE
            return Recognised(method)
        return Recognised(Method.TOKEN, settings.oidc_issuer, settings.oidc_bound, self.keys.told)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return smart_routes(self.recognised)

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        if self.keys is not None:
            yield self.keys.run()


async def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What is served with; None where TLS is not the broker's. Raises `ConfigurationError`."""
    if settings.tls_cert is None:
        return None
    files = ServerTls(settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tls_client_crl)
    return await asyncio.to_thread(files.context)


async def _clients(settings: Settings) -> Clients | None:
    return None if settings.clients is None else await asyncio.to_thread(read_clients, settings.clients)


def _introspected(ground: Ground, http: IssuerHttp, stack: AsyncExitStack) -> IntrospectedTokens | None:
    settings = ground.settings
    url = settings.oidc_introspection_url
    if url is None:
        return None
    tokens = IntrospectedTokens(http, ground.clock, url, _credentials(settings))
    stack.push_async_callback(tokens.aclose)
    return tokens


def _sign_in(
    ground: Ground, http: IssuerHttp, keys: IssuerKeys, authenticator: Authenticator, stack: AsyncExitStack
) -> SignIn | None:
    settings, clock = ground.settings, ground.clock
    client = settings.console_client_id
    if client is None:
        return None
    address = urlsplit(settings.base_url)
    console = f"{address.scheme}://{address.netloc}"
    registration = Registration(
        settings.oidc_issuer or "",
        client,
        console + CALLBACK,
        settings.console_scopes,
        tuple(settings.console_acr.split()),
    )
    provider = IssuerSignIn(http, clock, registration, _console_secret(settings))
    tokens = SignedTokens(keys, parse_algorithms(settings.oidc_algorithms), IDENTITY)
    identification = Identification(tokens, registration, clock, settings.oidc_leeway)
    sealer, leases = Sealer(ground.secrets), RedisLeases(ground.redis, keys=ground.keys)
    sessions = Sessions(
        authenticator,
        provider,
        identification,
        RedisSessions(ground.redis, keys=ground.keys),
        sealer,
        leases,
        clock,
        Lifetime(settings.console_session_idle, settings.console_session),
    )
    stack.push_async_callback(sessions.aclose)
    return SignIn(
        registration, provider, identification, sessions, sealer, leases, clock, console + SIGNED_OUT
    )


def _console_secret(settings: Settings) -> Callable[[], str] | None:
    secret, file = settings.console_client_secret, settings.console_client_secret_file
    if secret is not None:
        return secret.get_secret_value
    return None if file is None else lambda: file.read_text(encoding="utf-8").strip()


def _credentials(settings: Settings) -> Callable[[], tuple[str, str]]:
    client, secret = settings.oidc_introspection_client or "", settings.oidc_introspection_secret
    file = settings.oidc_introspection_secret_file or Path()
    if secret is not None:
        return lambda: (client, secret.get_secret_value())
    return lambda: (client, file.read_text(encoding="utf-8").strip())
