"""The registry as a page shows it: managers, what they lack in words, and the form by which one is added. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.core.lacks import describe_lacks
from broker.core.outcome import Language
from registry.model import REGIONS, AuthType, Registered, Status
from registry.validation import InvalidDeclarationError

FIELDS: Final = (
    "id",
    "name",
    "region",
    "base_url",
    "organization",
    "territory",
    "timeout",
    "auth",
    "token_env",
)
"""Of the form: the names that a declaration has, but for those of `auth`."""
_AUTH: Final = (AuthType.NONE, AuthType.BEARER)
HINTED: Final = tuple(name for name in FIELDS if name not in ("name", "region"))
"""Of which the form says more than their name."""
AUTHS: Final = tuple(one.value for one in _AUTH)


@dataclass(frozen=True, slots=True)
class RegistryLine:
    """`lacks`: None where it was never checked."""

    slug: str
    name: str
    region: str
    base_url: str
    suspended: bool
    software: str | None
    checked: str | None
    lacks: Sequence[str] | None
    unsettled: bool


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a declaration: the field of the form (`id`…; empty for the whole), and why."""

    field: str
    text: str


def line(registered: Registered, language: Language) -> RegistryLine:
    manager, skills = registered.gestionnaire, registered.skills
    checked = None if skills is None else skills.checked_at
    return RegistryLine(
        manager.id,
        manager.name,
        REGIONS.get(manager.region, manager.region),
        manager.base_url,
        manager.status is Status.SUSPENDED,
        None if skills is None else skills.software,
        checked,
        None if skills is None or checked is None else _in(language, describe_lacks(skills)),
        skills is not None and skills.unsettled > 0,
    )


def _in(language: Language, pairs: Sequence[tuple[str, str]]) -> Sequence[str]:
    return [fr if language == "fr" else en for fr, en in pairs]


def declared(fields: Mapping[str, str]) -> Mapping[str, Any]:
    """The declaration that a form stands for, as the registry's API takes it; what was left empty is left out."""
    given = {name: fields.get(name, "").strip() for name in FIELDS}
    raw: dict[str, Any] = {name: given[name] for name in ("id", "name", "region", "base_url") if given[name]}
    if given["organization"]:
        raw["organization"] = given["organization"]
    if given["territory"]:
        raw["territory"] = given["territory"].replace(",", " ").split()
    if given["timeout"]:
        raw["timeout"] = _number(given["timeout"])
    if given["auth"] == AuthType.BEARER.value:
        raw["auth"] = {"type": "bearer", "token_env": given["token_env"]}
    elif given["auth"] not in ("", AuthType.NONE.value):
        raw["auth"] = {"type": given["auth"]}
    return raw


def wrongs(error: InvalidDeclarationError, language: Language) -> Sequence[Wrong]:
    found = []
    for problem in error.problems:
        name = problem.field
        head, _, rest = name.partition(".")
        place = rest if head == "auth" and rest in FIELDS else head
        found.append(Wrong(place if place in FIELDS else "", problem.fr if language == "fr" else problem.en))
    return found


def _number(text: str) -> float | str:
    """As it stands where it is none: the registry says so."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text
