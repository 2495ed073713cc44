"""The HMAC secret of the locator, given or generated once beside an embedded store; and those that it stands in for."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from broker.errors import ConfigurationError
from broker.settings import MIN_SECRET, Settings

FILE_NAME = "locator.secret"


def locator_secret(settings: Settings) -> bytes:
    """The secret, at least 16 bytes. Blocking: for the start of the process.

    With an embedded store and none given, one is generated under `CDS_DATA_DIR`, mode 0600, the same for
    every process that shares the directory. With a real server it must be given: every node needs the same
    one. Raises `ConfigurationError`.
    """
    if settings.locator_secret is not None:
        return settings.locator_secret.get_secret_value().encode()
    if settings.locator_secret_file is not None:
        return _read(settings.locator_secret_file)
    if not settings.embedded_store:
        raise ConfigurationError("config.secret-missing")
    return _generated(settings.data_dir / FILE_NAME)


def previous_secrets(settings: Settings) -> tuple[bytes, ...]:
    """Those whose index still answers while one of the present secret is filled. Raises `ConfigurationError`."""
    given: list[bytes] = []
    if settings.locator_previous_secret is not None:
        given.append(settings.locator_previous_secret.get_secret_value().encode())
    if settings.locator_previous_secret_file is not None:
        given.append(_read(settings.locator_previous_secret_file, "CDS_LOCATOR_PREVIOUS_SECRET_FILE"))
    return tuple(given)


def audit_secrets(settings: Settings, secrets: Sequence[bytes]) -> tuple[bytes, ...]:
    """Of the chain of traces, the present one first. `secrets`: those of the locator, which stand in where none is
    given; old traces were sealed under the one of then. Raises `ConfigurationError`."""
    if settings.audit_secret is not None:
        return (settings.audit_secret.get_secret_value().encode(), *secrets)
    if settings.audit_secret_file is not None:
        return (_read(settings.audit_secret_file, "CDS_AUDIT_SECRET_FILE"), *secrets)
    return tuple(secrets)


def federation_secrets(settings: Settings, secrets: Sequence[bytes]) -> tuple[bytes, ...]:
    """Of page links and of the federation's name, the present one first: with one of its own, a new secret of the locator
    alters neither. `secrets`: those of the locator, under which links may have been made. Raises `ConfigurationError`."""
    if settings.federation_secret is not None:
        return (settings.federation_secret.get_secret_value().encode(), *secrets)
    if settings.federation_secret_file is not None:
        return (_read(settings.federation_secret_file, "CDS_FEDERATION_SECRET_FILE"), *secrets)
    return tuple(secrets)


def _read(path: Path, setting: str = "CDS_LOCATOR_SECRET_FILE") -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            "config.file", setting=setting, reason=error.strerror or type(error).__name__
        ) from error
    if len(secret) < MIN_SECRET:
        raise ConfigurationError("config.secret-short", limit=MIN_SECRET)
    return secret


def _generated(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # mode 0600
            draft = Path(name)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                # A hard link appears whole or not at all, and never replaces: of several processes one wins.
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
    except OSError as error:
        raise ConfigurationError(
            "config.file", setting="CDS_DATA_DIR", reason=error.strerror or type(error).__name__
        ) from error
    return _read(path)
