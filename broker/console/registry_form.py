"""The form of a manager: what it shows of a declaration, the declaration that it stands for, what is wrong where. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from broker.core.outcome import Language
from registry.model import AuthType, Gestionnaire, SearchMethod
from registry.validation import InvalidDeclarationError

IDENTITY: Final = ("id", "name", "region", "base_url", "organization", "territory")
ASKING: Final = ("timeout", "max_connections", "search_method", "dialect", "optional")
ACCESS: Final = ("auth", "token_env")
FIELDS: Final = (*IDENTITY, *ASKING, *ACCESS)
"""Of the form: the names that a declaration has, but for those of `auth`."""
EDITED: Final = tuple(name for name in (*IDENTITY, *ASKING) if name != "id")
"""Of the form by which a manager is changed. Its short name stays, its credentials are not of the console."""
HINTED: Final = tuple(name for name in FIELDS if name not in ("name", "region"))
"""Of which the form says more than their name."""
AUTHS: Final = (AuthType.NONE.value, AuthType.BEARER.value)
METHODS: Final = tuple(one.value for one in SearchMethod)
ON: Final = "true"
"""What a ticked box sends."""

_NUMBERS: Final = ("timeout", "max_connections")
_INDEX = re.compile(r"\[\d+\]$")
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a declaration: the field of the form (`id`…; empty for the whole), and why."""

    field: str
    text: str


def declared(fields: Mapping[str, str]) -> Mapping[str, Any]:
    """The declaration that a form stands for, as the registry's API takes it; what was left empty is left out."""
    given = {name: fields.get(name, "").strip() for name in FIELDS}
    raw = _plain(given, ("id", *EDITED))
    if given["auth"] == AuthType.BEARER.value:
        raw["auth"] = {"type": "bearer", "token_env": given["token_env"]}
    elif given["auth"] not in ("", AuthType.NONE.value):
        raw["auth"] = {"type": given["auth"]}
    return raw


def edited(current: Gestionnaire, fields: Mapping[str, str]) -> Mapping[str, Any]:
    """`current` with what the form says of it; what the form does not show stays, credentials without being named."""
    given = {name: fields.get(name, "").strip() for name in EDITED}
    kept: dict[str, Any] = msgspec.to_builtins(current)
    for name in (*EDITED, "auth", "identity", "status"):  # the registry keeps these where they are left out
        kept.pop(name, None)
    return kept | _plain(given, EDITED)


def values_of(current: Gestionnaire) -> Mapping[str, str]:
    """A declaration as the fields of `EDITED` show it."""
    return {
        "name": current.name,
        "region": current.region,
        "base_url": current.base_url,
        "organization": current.organization or "",
        "territory": " ".join(current.territory),
        "timeout": "" if current.timeout is None else f"{current.timeout:g}",
        "max_connections": str(current.max_connections),
        "search_method": current.search_method.value,
        "dialect": _dialect_text(current.dialect),
        "optional": ON if current.optional else "",
    }


def differing(current: Gestionnaire, fields: Mapping[str, str]) -> Mapping[str, str]:
    """What stands in the registry, of the fields in which a form says something else."""
    return {
        name: value for name, value in values_of(current).items() if value != fields.get(name, "").strip()
    }


def wrongs(error: InvalidDeclarationError, language: Language) -> Sequence[Wrong]:
    found = []
    for problem in error.problems:
        name = _INDEX.sub("", problem.field)
        head, _, rest = name.partition(".")
        place = rest if head == "auth" and rest in FIELDS else head
        found.append(Wrong(place if place in FIELDS else "", problem.fr if language == "fr" else problem.en))
    return found


def _plain(given: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in names:
        value = given[name]
        if not value:
            continue
        if name == "territory":
            made[name] = value.replace(",", " ").split()
        elif name in _NUMBERS:
            made[name] = _number(value)
        elif name == "dialect":
            made[name] = _dialect(value)
        elif name == "optional":
            made[name] = value == ON
        else:
            made[name] = value
    return made


def _number(text: str) -> float | str:
    """As it stands where it is none: the registry says so."""
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text


def _dialect(text: str) -> str | Mapping[str, bool | int | str]:
    """The name of a kind of server, or skills one by one: `sort=false max_page=50`."""
    if "=" not in text:
        return text
    skills: dict[str, bool | int | str] = {}
    for one in text.replace(",", " ").split():
        name, _, value = one.partition("=")
        skills[name] = {"true": True, "false": False}.get(
            value, int(value) if _WHOLE.fullmatch(value) else value
        )
    return skills


def _dialect_text(dialect: str | Mapping[str, bool | int] | None) -> str:
    if dialect is None or isinstance(dialect, str):
        return dialect or ""
    return " ".join(f"{name}={str(value).lower()}" for name, value in dialect.items())
