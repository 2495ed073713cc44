"""What a broker that is reached by others must be given before it starts. Said to the operator, all at once."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from broker.errors import ConfigurationError
from broker.settings import AuthMode, Settings, is_loopback
from broker.settings_access import TokenUse


def check_access(settings: Settings) -> None:
    """Raises `ConfigurationError` config.access-control with everything that is missing."""
    problems = list(_problems(settings))
    if problems:
        raise ConfigurationError(
            "config.access-control",
            mode=settings.auth.value,
            problems_fr=" ; ".join(fr for fr, _ in problems),
            problems_en="; ".join(en for _, en in problems),
        )


def _problems(settings: Settings) -> Iterable[tuple[str, str]]:
    if settings.auth is AuthMode.NONE:
        return
    certificates = settings.tls_client_ca is not None or bool(settings.trusted_proxies)
    if settings.auth is AuthMode.OIDC:
        yield from _oidc_problems(settings)
        if settings.console_client_id is not None:
            yield from _console_problems(settings)
        if settings.oidc_bound and not certificates:
            yield _missing("CDS_TLS_CLIENT_CA", "CDS_TRUSTED_PROXIES")
    else:
        if settings.console_client_id is not None:
            yield (
                "CDS_CONSOLE_CLIENT_ID demande CDS_AUTH=oidc",
                "CDS_CONSOLE_CLIENT_ID needs CDS_AUTH=oidc",
            )
        if settings.clients is None:
            yield _missing("CDS_CLIENTS")
        if not certificates:
            yield _missing("CDS_TLS_CLIENT_CA", "CDS_TRUSTED_PROXIES")
    if settings.tls_cert is None and not settings.trusted_proxies and not is_loopback(settings.host):
        yield _missing("CDS_TLS_CERT", "CDS_TRUSTED_PROXIES")


def _oidc_problems(settings: Settings) -> Iterable[tuple[str, str]]:
    if settings.oidc_issuer is None:
        yield _missing("CDS_OIDC_ISSUER")
    if not settings.audiences:
        yield _missing("CDS_OIDC_AUDIENCE")
    if settings.oidc_introspection_url is not None:
        if settings.oidc_introspection_client is None:
            yield _missing("CDS_OIDC_INTROSPECTION_CLIENT")
        if settings.oidc_introspection_secret is None and settings.oidc_introspection_secret_file is None:
            yield _missing("CDS_OIDC_INTROSPECTION_SECRET_FILE")


def _console_problems(settings: Settings) -> Iterable[tuple[str, str]]:
    """What signing in from a browser takes: its tokens stay with the broker, so they are those of a client without a
    certificate, and serve for a whole session."""
    address = urlsplit(settings.base_url)
    if address.scheme != "https" and not is_loopback(address.hostname or ""):
        yield (
            "CDS_CONSOLE_CLIENT_ID demande une adresse https (CDS_PUBLIC_URL)",
            "CDS_CONSOLE_CLIENT_ID needs an https address (CDS_PUBLIC_URL)",
        )
    if settings.console_client_id in settings.audiences:
        yield (
            "CDS_OIDC_AUDIENCE est CDS_CONSOLE_CLIENT_ID : un jeton d'identité passerait pour un jeton d'accès",
            "CDS_OIDC_AUDIENCE is CDS_CONSOLE_CLIENT_ID: an ID token would pass for an access token",
        )
    for name, set_so in (
        ("CDS_OIDC_BOUND=true", settings.oidc_bound),
        ("CDS_OIDC_JTI=once", settings.oidc_jti is TokenUse.ONCE),
    ):
        if set_so:
            yield (
                f"{name} exclut CDS_CONSOLE_CLIENT_ID",
                f"{name} and CDS_CONSOLE_CLIENT_ID exclude each other",
            )


def _missing(*names: str) -> tuple[str, str]:
    return f"{' ou '.join(names)} manque", f"{' or '.join(names)} is missing"
