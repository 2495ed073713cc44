"""TLS as the broker serves it: 1.3, or 1.2 with forward secrecy and authenticated ciphers; nothing older
(ANS, "Sécurisation transport API REST" 1.2.0; RFC 9325).

Files are read when a context is made, and a new one is made on SIGHUP: connections that are open stay as they are, new
ones see the new chain, authorities and revocations.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from broker.errors import ConfigurationError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # for 1.2; those of 1.3 are all of that kind


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files. `key`: None where it is in the file of `cert`. `client_ca`: authorities of client certificates, None where
    none is asked for. `client_crl`: what they revoked."""

    cert: Path
    key: Path | None = None
    client_ca: Path | None = None
    client_crl: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Blocking. Raises `ConfigurationError` config.file, which names the setting."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            # An empty password makes an encrypted key fail here; without one OpenSSL asks the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise _unusable("CDS_TLS_CERT", error) from error
        if self.client_ca is not None:
            # Optional in the handshake: who shows none is told so in HTTP, and that is audited.
            context.verify_mode = ssl.CERT_OPTIONAL
            _load(context, self.client_ca, "CDS_TLS_CLIENT_CA")
        if self.client_crl is not None:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
            _load(context, self.client_crl, "CDS_TLS_CLIENT_CRL")
        return context


def _load(context: ssl.SSLContext, file: Path, setting: str) -> None:
    before = context.cert_store_stats()
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(setting, error) from error
    if context.cert_store_stats() == before:
        raise ConfigurationError("config.file", setting=setting, reason="PEM")


def _unusable(setting: str, error: OSError) -> ConfigurationError:
    reason = "PEM" if isinstance(error, ssl.SSLError) else error.strerror or type(error).__name__
    return ConfigurationError("config.file", setting=setting, reason=reason)
