"""What a broker that is reached by others must be given before it starts. Said to the operator, all at once."""

from __future__ import annotations

from collections.abc import Iterable

from broker.errors import ConfigurationError
from broker.settings import AuthMode, Settings, is_loopback


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
        if settings.oidc_bound and not certificates:
            yield _missing("CDS_TLS_CLIENT_CA", "CDS_TRUSTED_PROXIES")
    else:
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


def _missing(*names: str) -> tuple[str, str]:
    return f"{' ou '.join(names)} manque", f"{' or '.join(names)} is missing"
