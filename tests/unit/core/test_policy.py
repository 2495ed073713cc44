"""The policy by itself: what is lacking is named, and what counts as a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core.access.policy import (
    INTERACTIONS,
    POLICY,
    Need,
    Right,
    check,
    is_search,
    may_see,
    may_write,
)
from broker.core.access.principal import Method, Permission, Principal, Role, Scopes, User
from broker.core.condition import read_condition
from broker.core.messages import MESSAGES
from broker.errors import AccessError
from tests.support.access import scopes


def refusal(principal: Principal, need: Need, resource_type: str = "") -> AccessError:
    with pytest.raises(AccessError) as raised:
        check(principal, need, resource_type)
    return raised.value


def test_every_route_stands_once() -> None:
    assert sum(len(one.routes) for one in INTERACTIONS) == len(POLICY)


def test_what_is_lacking_is_named() -> None:
    need = Need((Right(Permission.READ), Right(Permission.SEARCH, "CareTeam")), (Role.SYNC_READ,))
    client = Principal("c", Method.TOKEN, Scopes())
    role = refusal(client, need, "Patient")
    assert (role.key, role.params) == ("access.role", {"role": "sync.read"})
    assert role.challenge is not None
    assert 'error="insufficient_scope"' in role.challenge
    assert 'scope="cds/sync.read"' in role.challenge
    read = refusal(replace(client, scopes=scopes("sync.read", "CareTeam.rs")), need, "Patient")
    assert (read.key, read.params) == ("access.scope", {"right": "Patient.r"})
    user = replace(client, scopes=scopes("sync.read", "Patient.r"), user=User("iss", "sub"))
    search = refusal(user, need, "Patient")
    assert search.challenge is not None
    assert 'scope="user/CareTeam.s"' in search.challenge
    check(replace(client, scopes=scopes("sync.read", "Patient.r", "CareTeam.s")), need, "Patient")
    assert refusal(Principal("c", Method.CERTIFICATE, Scopes()), need, "Patient").challenge is None
    assert {role.key, read.key} <= MESSAGES.keys()


@pytest.mark.parametrize(
    ("granted", "writes", "sees"),
    [
        ((), False, False),
        (("Patient.rsd",), False, True),
        (("Patient.c",), True, False),
        (("*.us",), True, True),
    ],
)
def test_what_scopes_open(granted: tuple[str, ...], *, writes: bool, sees: bool) -> None:
    assert may_write(scopes(*granted)) is writes
    assert may_see(scopes(*granted), "Patient") is sees


@pytest.mark.parametrize(
    ("condition", "search"),
    [
        ("identifier=urn:s|1", False),
        ("identifier=1", False),
        ("identifier=urn:s|1,urn:s|2", False),
        ("patient.identifier=urn:s|1", False),
        ("subject:identifier=urn:s|1", False),
        ("identifier=urn:s|1&patient.identifier=urn:t|2", False),
        ("identifier=urn:s|", True),
        ("identifier=urn:s|1,urn:t|", True),
        ("identifier:not=urn:s|1", True),
        ("identifier=urn:s|1&status=active", True),
        ("patient.family=Exemple", True),
        ("participant:identifier=urn:s|1", True),
        ("participant:PractitionerRole.practitioner:Practitioner.identifier=urn:s|1", True),
        ("_id=bre.1", True),
    ],
)
def test_what_is_no_more_than_a_name(condition: str, *, search: bool) -> None:
    assert is_search(read_condition("CareTeam", condition)) is search
