"""The file of clients, read at start and on SIGHUP."""

from __future__ import annotations

import tomllib
from pathlib import Path

from broker.core.access.clients import Clients, WrongClientsError, parse_clients
from broker.errors import ConfigurationError


def read_clients(path: Path) -> Clients:
    """Blocking. Raises `ConfigurationError`: `config.file` if unreadable, `config.clients` with every problem."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "UTF-8"
        raise ConfigurationError("config.file", setting="CDS_CLIENTS", reason=reason) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            "config.clients", file=path.name, problems_fr=f"TOML : {error}", problems_en=f"TOML: {error}"
        ) from error
    try:
        return parse_clients(document)
    except WrongClientsError as error:
        raise ConfigurationError(
            "config.clients",
            file=path.name,
            problems_fr=" ; ".join(f"{one.field} : {one.fr}" for one in error.problems),
            problems_en="; ".join(f"{one.field}: {one.en}" for one in error.problems),
        ) from error
