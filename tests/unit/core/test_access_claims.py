"""What a token says: each check at its edge, and whom it speaks of."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.access.challenge import bearer, no_token, refused
from broker.core.access.claims import ClaimRules, check_claims
from broker.core.access.principal import User
from broker.core.messages import MESSAGES
from broker.errors import AccessError

ISSUER, AUDIENCE, NOW = "https://issuer.example", "https://broker.example", 1_800_000_000.0
RULES = ClaimRules(ISSUER, frozenset({AUDIENCE}), leeway=30)


def payload(**given: Any) -> dict[str, object]:
    usual = {"iss": ISSUER, "aud": AUDIENCE, "client_id": "dmp", "sub": "dmp", "iat": NOW, "exp": NOW + 60}
    return {name: value for name, value in (usual | given).items() if value is not None}


def refusal(claims: dict[str, object], rules: ClaimRules = RULES, **how: bool) -> str:
    with pytest.raises(AccessError) as caught:
        check_claims(claims, rules, NOW, **how)
    assert caught.value.challenge is not None
    assert MESSAGES[caught.value.key].status == 401
    return caught.value.key


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"exp": NOW - 30}, "access.expired"),
        ({"nbf": NOW + 31}, "access.early"),
        ({"iat": NOW + 31}, "access.early"),
        ({"exp": True}, "access.claim"),
        ({"exp": float("inf")}, "access.claim"),
        ({"exp": float("nan")}, "access.claim"),
        ({"exp": 2**80}, "access.claim"),
        ({"exp": -1}, "access.claim"),
        ({"nbf": "0"}, "access.claim"),
        ({"iat": None}, "access.claim"),
        ({"iss": [ISSUER]}, "access.issuer"),
        ({"iss": ISSUER + "/"}, "access.issuer"),
        ({"aud": {AUDIENCE: 1}}, "access.audience"),
        ({"aud": [[AUDIENCE]]}, "access.audience"),
        ({"aud": [AUDIENCE.upper()]}, "access.audience"),
        ({"aud": ["x"] * 64 + [AUDIENCE]}, "access.audience"),
        ({"jti": ""}, "access.claim"),
        ({"jti": 5}, "access.claim"),
        ({"jti": "x" * 513}, "access.claim"),
        ({"cnf": "A" * 43}, "access.claim"),
        ({"cnf": {"x5t#S256": "short"}}, "access.claim"),
        ({"client_id": ""}, "access.claim"),
        ({"client_id": " dmp"}, "access.claim"),
        ({"client_id": "d" * 201}, "access.claim"),
        ({"client_id": "anonymous"}, "access.claim"),
        ({"client_id": ["dmp"]}, "access.claim"),
        ({"client_id": None, "sub": None}, "access.claim"),
    ],
)
def test_what_is_refused(given: dict[str, Any], key: str) -> None:
    assert refusal(payload(**given)) == key


@pytest.mark.parametrize(
    "given",
    [
        {"exp": NOW - 29.5},
        {"nbf": NOW + 30},
        {"iat": NOW + 30},
        {"aud": ["https://x.example", AUDIENCE]},
        {"nbf": 0},
    ],
)
def test_what_is_taken_at_the_edge(given: dict[str, Any]) -> None:
    assert check_claims(payload(**given), RULES, NOW).client == "dmp"


def test_the_issuer_was_asked_itself_about_an_introspected_token() -> None:
    bare: dict[str, object] = {"active": True, "aud": AUDIENCE, "client_id": "dmp"}
    assert check_claims(bare, RULES, NOW, introspected=True).expires is None
    assert refusal(bare) == "access.issuer"
    assert refusal(bare | {"iss": "https://else.example"}, introspected=True) == "access.issuer"
    assert refusal(bare | {"exp": NOW - 30}, introspected=True) == "access.expired"
    assert refusal({"active": True, "client_id": "dmp"}, introspected=True) == "access.audience"


def test_what_may_be_asked_of_every_token() -> None:
    assert refusal(payload(), ClaimRules(ISSUER, frozenset({AUDIENCE}), bound=True)) == "access.unbound"
    assert refusal(payload(), ClaimRules(ISSUER, frozenset({AUDIENCE}), one_time=True)) == "access.claim"
    bound = check_claims(
        payload(cnf={"x5t#S256": "A" * 43}), ClaimRules(ISSUER, frozenset({AUDIENCE}), bound=True), NOW
    )
    assert bound.thumbprint == "A" * 43


@pytest.mark.parametrize(
    ("given", "client"),
    [
        ({"azp": "other"}, "dmp"),
        ({"client_id": None, "azp": "other"}, "other"),
        ({"client_id": None, "act": {"sub": "acting"}, "sub": "person"}, "acting"),
        ({"client_id": None, "sub": "alone"}, "alone"),
    ],
)
def test_who_uses_a_token(given: dict[str, Any], client: str) -> None:
    assert check_claims(payload(**given), RULES, NOW).client == client


@pytest.mark.parametrize(
    ("given", "user"),
    [
        ({}, None),
        ({"sub": "service-account-1"}, None),
        ({"sub": "u1", "act": {"sub": "dmp"}}, User(ISSUER, "u1")),
        ({"sub": "u1", "scope": "openid user/CareTeam.rs"}, User(ISSUER, "u1")),
        ({"sub": "dmp", "scope": "user/CareTeam.rs"}, None),
        (
            {"sub": "u1", "SubjectNameID": "899700218896", "given_name": "Jeanne", "family_name": "Essai"},
            User(ISSUER, "u1", "899700218896", "Jeanne Essai"),
        ),
        (
            {"sub": "u1", "idNat": "899700218896", "name": "Jeanne\r\nSet-Cookie: x"},
            User(ISSUER, "u1", "899700218896", "JeanneSet-Cookie: x"),
        ),
    ],
)
def test_the_person_behind_a_request(given: dict[str, Any], user: User | None) -> None:
    assert check_claims(payload(**given), RULES, NOW).user == user


@pytest.mark.parametrize("scope", ["a b", ["a", "b"]])
def test_scopes_come_as_a_text_or_a_list(scope: object) -> None:
    assert check_claims(payload(scope=scope), RULES, NOW).scope == "a b"
    assert check_claims(payload(scp=scope), RULES, NOW).scope == "a b"
    assert check_claims(payload(scope=5), RULES, NOW).scope == ""


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_claims = st.sampled_from(
    [
        "iss",
        "aud",
        "sub",
        "client_id",
        "azp",
        "act",
        "cnf",
        "iat",
        "nbf",
        "exp",
        "jti",
        "scope",
        "scp",
        "name",
        "idNat",
    ]
)


@given(st.dictionaries(_claims, _json, max_size=8), st.booleans())
def test_whatever_the_claims_are_they_are_taken_or_refused(odd: dict[str, Any], introspected: bool) -> None:
    try:
        found = check_claims(payload() | odd, RULES, NOW, introspected=introspected)
    except AccessError:
        return
    assert re.fullmatch(r"[\x20-\x7e]{1,200}", found.client)
    assert "\n" not in (found.user.subject if found.user else "")


def test_a_challenge_is_a_header_whatever_is_said_in_it() -> None:
    assert no_token().challenge == 'Bearer realm="cds-broker"'
    odd = bearer("invalid_token", 'a "b"\r\nSet-Cookie: é', scope="system/CareTeam.s")
    assert odd == (
        'Bearer realm="cds-broker", error="invalid_token", error_description="a ?b???Set-Cookie: ?",'
        ' scope="system/CareTeam.s"'
    )
    for key, row in MESSAGES.items():
        if key.startswith("access.") and row.status == 401:
            assert re.fullmatch(r"[\x20-\x7e]+", refused(key, claim="exp", limit=1).challenge or "")


TREAT = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ({"extensions": {"ihe_iua": {"purpose_of_use": [TREAT]}}}, ["TREAT"]),
        ({"purpose_of_use": [TREAT, {"code": "ETREAT"}]}, ["TREAT", "ETREAT"]),
        ({"purpose_of_use": TREAT}, ["TREAT"]),
        ({"purpose_of_use": [TREAT] * 50}, ["TREAT"] * 8),
        ({"purpose_of_use": ["TREAT", None, {"code": 5}, {"system": "x"}, [TREAT]]}, []),
        ({"purpose_of_use": "TREAT", "extensions": [TREAT]}, []),
        ({"extensions": {"ihe_iua": "TREAT"}}, []),
        ({}, []),
    ],
)
def test_to_what_end_is_taken_where_it_is_a_coding(given: dict[str, object], codes: list[str]) -> None:
    found = check_claims(payload(**given), RULES, NOW).purposes
    assert [one.code for one in found] == codes
    assert all(one.system in (TREAT["system"], None) for one in found)
