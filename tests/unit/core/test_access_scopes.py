"""What scopes grant, and what they do not."""

from __future__ import annotations

import pytest

from broker.core.access.principal import Role, Scopes
from broker.core.access.scopes import both, meaningless, parse_scopes


def letters(scopes: Scopes) -> dict[str, str]:
    return {name: "".join(one for one in "cruds" if one in granted) for name, granted in scopes.fhir.items()}


@pytest.mark.parametrize(
    ("granted", "found"),
    [
        ("system/CareTeam.rs", {"CareTeam": "rs"}),
        ("system/CareTeam.cu", {"CareTeam": "cu"}),
        ("system/CareTeam.cruds", {"CareTeam": "cruds"}),
        ("system/*.read", {"*": "rs"}),
        ("system/*.write", {"*": "cud"}),
        ("system/Patient.*", {"Patient": "cruds"}),
        ("system/CareTeam.r system/CareTeam.s", {"CareTeam": "rs"}),
        ("system/CareTeam.sr", {}),
        ("system/CareTeam.rr", {}),
        ("system/CareTeam.", {}),
        ("system/CareTeam", {}),
        ("system/CareTeam.x", {}),
        ("system/careTeam.rs", {}),
        ("System/CareTeam.rs", {}),
        ("system/CareTeam.rs?category=x", {}),
        ("system/CareTeam.rs\n", {}),
        ("system/**.rs", {}),
        ("patient/CareTeam.rs", {}),
        ("user/CareTeam.rs", {}),
        ("openid profile offline_access fhirUser", {}),
        ("", {}),
        ("  system/CareTeam.rs  ", {"CareTeam": "rs"}),
        (["system/CareTeam.rs"], {"CareTeam": "rs"}),
        (" ".join(["x"] * 256 + ["system/CareTeam.rs"]), {}),
    ],
)
def test_what_a_client_is_granted(granted: str | list[str], found: dict[str, str]) -> None:
    assert letters(parse_scopes(granted, user=False)) == found


def test_a_persons_rights_take_a_person() -> None:
    assert letters(parse_scopes("user/CareTeam.rs system/Patient.r", user=True)) == {
        "CareTeam": "rs",
        "Patient": "r",
    }


def test_roles() -> None:
    assert parse_scopes("cds/registry.write cds/metrics cds/everything cds/", user=False).roles == {
        Role.REGISTRY_WRITE,
        Role.METRICS,
    }


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("system/*.cruds", "system/CareTeam.rs", {"CareTeam": "rs"}),
        ("system/CareTeam.rs system/Patient.r", "system/*.s", {"CareTeam": "s"}),
        ("system/*.rs", "system/*.r system/CareTeam.s", {"*": "r", "CareTeam": "rs"}),
        ("system/CareTeam.c", "system/CareTeam.r", {}),
        ("system/*.rs", "", {}),
    ],
)
def test_what_is_granted_by_both(one: str, other: str, found: dict[str, str]) -> None:
    first, second = parse_scopes(one, user=False), parse_scopes(other, user=False)
    assert letters(both(first, second)) == letters(both(second, first)) == found


def test_roles_are_granted_by_both_too() -> None:
    one, other = parse_scopes("cds/metrics cds/console", user=False), parse_scopes("cds/console", user=False)
    assert both(one, other).roles == {Role.CONSOLE}


def test_scopes_that_grant_nothing_are_a_mistake_in_a_file() -> None:
    assert meaningless(["system/CareTeam.rs", "cds/metrics", "user/*.r"]) == []
    assert meaningless(["system/CareTeam.sr", "openid"]) == ["system/CareTeam.sr", "openid"]
