"""Scopes: what a token, or the directory of clients, grants (SMART App Launch 2.2, "Scopes"). Pure.

Read: `system/CareTeam.rs`, `user/*.cruds` (SMART 2), `system/Patient.read`, `.write`, `.*` (SMART 1), and `cds/<role>`.
Whatever else stands among them grants nothing: `openid` and the like, `patient/…` (no patient is in context here), and
scopes restricted by parameters (`system/CareTeam.rs?category=…`): what cannot be kept to is not granted in part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from broker.core.access.principal import ANY_TYPE, Permission, Role, Scopes

MAX_SCOPES: Final = 256
"""Scopes that are looked at; no honest token has as many."""

_FHIR = re.compile(r"(system|user)/(\*|[A-Z][A-Za-z]{0,63})\.(read|write|\*|(?=[cruds])c?r?u?d?s?)")
_ROLES: Final[Mapping[str, Role]] = {f"cds/{role.value}": role for role in Role}
_V1: Final[Mapping[str, str]] = {"read": "rs", "write": "cud", "*": "cruds"}


def parse_scopes(granted: str | Iterable[str], *, user: bool) -> Scopes:
    """`granted`: with spaces between, or one by one. `user`: whether a person stands behind the request; without one
    `user/…` means nobody's rights and grants nothing."""
    tokens = granted.split(" ") if isinstance(granted, str) else list(granted)
    fhir: dict[str, frozenset[Permission]] = {}
    roles = set()
    for one in tokens[:MAX_SCOPES]:
        role = _ROLES.get(one)
        if role is not None:
            roles.add(role)
            continue
        found = _FHIR.fullmatch(one)
        if found is None or (found[1] == "user" and not user):
            continue
        letters = frozenset(Permission(letter) for letter in _V1.get(found[3], found[3]))
        fhir[found[2]] = fhir.get(found[2], frozenset()) | letters
    return Scopes(fhir, frozenset(roles))


def meaningless(granted: Iterable[str]) -> list[str]:
    """Those that grant nothing to anybody: in a file that an operator wrote, a mistake."""
    return [one for one in granted if one not in _ROLES and _FHIR.fullmatch(one) is None]


def has_user_scope(granted: str) -> bool:
    """Whether the issuer granted rights of a person."""
    return any(one.startswith("user/") for one in granted.split(" ")[:MAX_SCOPES])


def both(one: Scopes, other: Scopes) -> Scopes:
    """What is granted by both: a token's scopes within those that its client is registered for."""
    types = one.fhir.keys() | other.fhir.keys()
    fhir = {name: _granted(one, name) & _granted(other, name) for name in types}
    return Scopes({name: letters for name, letters in fhir.items() if letters}, one.roles & other.roles)


def _granted(scopes: Scopes, name: str) -> frozenset[Permission]:
    return scopes.fhir.get(name, frozenset()) | scopes.fhir.get(ANY_TYPE, frozenset())
