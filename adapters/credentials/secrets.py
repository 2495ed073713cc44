"""Secrets by name: of an environment variable, or of a file that an orchestrator may replace under a running process."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Final

from adapters.credentials.errors import unusable
from registry.model import Auth, AuthType, Gestionnaire

MAX_BYTES: Final = 1 << 20
"""Of a file of secrets, keys or certificates."""

Stamp = tuple[int, ...]
"""What changes when a file is written or replaced, or a link leads elsewhere: device, inode, size, times."""


def authorization(auth: Auth, environ: Mapping[str, str]) -> str | None:
    """The `Authorization` header that stays the same: bearer (RFC 6750) and basic (RFC 7617); else None. Reads files.

    Raises `ConfigurationError` where the secret is not named, missing or empty, or cannot stand in a header.
    """
    if auth.type is AuthType.BEARER:
        return "Bearer " + secret("token", auth.token_env, auth.token_file, environ)
    if auth.type is AuthType.BASIC:
        password = secret("password", auth.password_env, auth.password_file, environ)
        pair = f"{auth.username or ''}:{password}"
        return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return None


def secret(field: str, variable: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    """One line. `field`: what it is called in a registration, without `_env` and `_file`. Raises `ConfigurationError`."""
    if variable:
        value, where = environ.get(variable, ""), f"auth.{field}_env"
    elif file:
        where = f"auth.{field}_file"
        try:
            value = contents(file, where).decode("utf-8")
        except UnicodeDecodeError:
            raise unusable(where, "UTF-8") from None
    else:
        raise unusable(f"auth.{field}_env", "missing")
    value = value.strip()
    if not value:
        raise unusable(where, "empty")
    if not value.isprintable() or (field == "token" and not value.isascii()):
        raise unusable(where, "not one line of text" if field != "token" else "not a header value")
    return value


def contents(file: str, field: str) -> bytes:
    """Of a file that a registration names. Raises `ConfigurationError`."""
    check_file(file, field)
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        raise unusable(field, type(error).__name__) from None


def check_file(file: str, field: str) -> None:
    """A plain file of a size to be read: a pipe or a device could keep its reader for ever. Raises `ConfigurationError`."""
    try:
        found = Path(file).stat()
    except (OSError, ValueError) as error:
        raise unusable(field, type(error).__name__) from None
    if not S_ISREG(found.st_mode):
        raise unusable(field, "not a file")
    if found.st_size > MAX_BYTES:
        raise unusable(field, "too large")


def tls_files(manager: Gestionnaire) -> tuple[str, ...]:
    """What its TLS contexts are made of."""
    auth = manager.auth
    return _named(manager.tls_ca, auth.token_tls_ca, auth.cert_file, auth.key_file)


def secret_files(manager: Gestionnaire) -> tuple[str, ...]:
    """The files of secrets and of keys to sign with."""
    auth, identity = manager.auth, manager.identity
    signing = None if identity is None else identity.key_file
    return _named(
        auth.token_file, auth.password_file, auth.client_secret_file, auth.assertion_key_file, signing
    )


def _named(*files: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(file for file in files if file))


def stamps(files: Iterable[str]) -> Mapping[str, Stamp | None]:
    """As the files are now; None where there is none. Blocking."""
    return {file: _stamp(file) for file in files}


def _stamp(file: str) -> Stamp | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - one call, on the way of a request
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
