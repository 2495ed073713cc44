"""How the broker says who it is to a manager. Secrets come from the environment or files."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from pathlib import Path

from broker.errors import ConfigurationError
from registry.model import Auth, AuthType, Gestionnaire


def authorization(auth: Auth, environ: Mapping[str, str]) -> str | None:
    """The `Authorization` header for bearer (RFC 6750) and basic (RFC 7617); None for none and mtls. Reads
    files.

    Raise `ConfigurationError` where the secret is not named, missing or empty, or cannot stand in a header.
    """
    match auth.type:
        case AuthType.NONE | AuthType.MTLS:
            return None
        case AuthType.BEARER:
            return "Bearer " + _secret("token", auth.token_env, auth.token_file, environ)
        case AuthType.BASIC:
            password = _secret("password", auth.password_env, auth.password_file, environ)
            pair = f"{auth.username or ''}:{password}"
            return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
        case AuthType.OAUTH2:
            raise _wrong("auth.type", "oauth2 is not offered by this version")


def has_rotating_secret(auth: Auth) -> bool:
    """True where the secret is in a file: an orchestrator replaces those under a running process."""
    return bool(auth.token_file or auth.password_file)


def tls_context(manager: Gestionnaire) -> ssl.SSLContext | None:
    """The TLS context of a manager that has its own authority or wants a client certificate; None: the
    default.

    TLS 1.2 at least (ANS, "Sécurisation transport API REST"). Reads files. Raise `ConfigurationError`.
    """
    auth = manager.auth
    if not manager.tls_ca and auth.type is not AuthType.MTLS:
        return None
    try:
        context = ssl.create_default_context(cafile=manager.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise _wrong("tls_ca", type(error).__name__) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if auth.type is AuthType.MTLS:
        if not auth.cert_file:
            raise _wrong("auth.cert_file", "missing")
        try:
            # An empty password makes an encrypted key fail here; without one OpenSSL asks the terminal.
            context.load_cert_chain(auth.cert_file, auth.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise _wrong("auth.cert_file", type(error).__name__) from error
    return context


def _secret(field: str, variable: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    if variable:
        value, where = environ.get(variable, ""), f"auth.{field}_env"
    elif file:
        where = f"auth.{field}_file"
        try:
            value = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(where, type(error).__name__) from error
    else:
        raise _wrong(f"auth.{field}_env", "missing")
    value = value.strip()
    if not value:
        raise _wrong(where, "empty")
    if field == "token" and not (value.isascii() and value.isprintable()):
        raise _wrong(where, "not a header value")
    return value


def _wrong(field: str, reason: str) -> ConfigurationError:
    return ConfigurationError("registry.invalid", field=field, reason=reason)
