"""TLS towards managers and their token endpoints: whom to trust, and the broker's own certificate."""

from __future__ import annotations

import ssl

from adapters.credentials.errors import unusable
from adapters.credentials.secrets import check_file
from registry.model import Auth, AuthType, Gestionnaire

Tls = ssl.SSLContext | bool
"""True: the default context, of the system's authorities."""


def manager_tls(manager: Gestionnaire) -> Tls:
    """Blocking: reads files. Raises `ConfigurationError`."""
    return _context(manager.tls_ca, "tls_ca", manager.auth)


def token_tls(manager: Gestionnaire) -> Tls:
    """The same for the manager's token endpoint."""
    auth = manager.auth
    if auth.token_tls_ca:
        return _context(auth.token_tls_ca, "auth.token_tls_ca", auth)
    return _context(manager.tls_ca, "tls_ca", auth)


def _context(authorities: str | None, field: str, auth: Auth) -> Tls:
    """TLS 1.2 at least (ANS, "Sécurisation transport API REST")."""
    if not authorities and not auth.cert_file and auth.type is not AuthType.MTLS:
        return True
    named = ((authorities, field), (auth.cert_file, "auth.cert_file"), (auth.key_file, "auth.key_file"))
    for file, where in named:
        if file:
            check_file(file, where)
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise unusable(field, type(error).__name__) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if auth.cert_file:
        try:
            # An empty password makes an encrypted key fail here; without one OpenSSL asks the terminal.
            context.load_cert_chain(auth.cert_file, auth.key_file, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise unusable("auth.cert_file", type(error).__name__) from None
    elif auth.type is AuthType.MTLS:
        raise unusable("auth.cert_file", "missing")
    return context
