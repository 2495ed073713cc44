"""The form of a manager says what a declaration says, and nothing of its secrets."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from broker.console.registry_form import EDITED, differing, edited, values_of, wrongs
from registry.model import Auth, AuthType, Gestionnaire, Identity, SearchMethod, Status
from registry.validation import InvalidDeclarationError, declaration

WHOLE = Gestionnaire(
    "bre",
    "Bretagne",
    "53",
    "https://cds.bretagne.example/fhir",
    organization="350000012",
    territory=("22", "29", "35", "56"),
    status=Status.SUSPENDED,
    timeout=2.5,
    max_connections=8,
    optional=True,
    auth=Auth(AuthType.BASIC, username="broker", password_file="/run/secrets/bre"),
    identity=Identity("https://cds.bretagne.example", key_file="/run/secrets/key.pem"),
    tls_ca="/etc/ssl/bre.pem",
    dialect={"sort": False, "max_page": 50, "param:CareTeam:end": True},
    search_method=SearchMethod.POST,
)
BARE = Gestionnaire("nor", "Normandie", "28", "http://127.0.0.1:9/fhir")


@pytest.mark.parametrize("one", [WHOLE, BARE], ids=["whole", "bare"])
def test_what_is_shown_and_sent_back_changes_nothing(one: Gestionnaire) -> None:
    raw = {**edited(one, values_of(one))}
    assert {"auth", "identity", "status"} & raw.keys() == set()  # left out: the registry keeps them
    made = declaration(raw)
    for name in (*EDITED, "id", "tls_ca"):
        assert getattr(made, name) == getattr(one, name), name


def test_nothing_secret_is_in_the_form() -> None:
    shown = " ".join(values_of(WHOLE).values())
    for secret in ("/run/secrets", "key.pem", "broker"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"timeout": " 1,5 "}, "timeout", 1.5),
        ({"timeout": ""}, "timeout", None),
        ({"max_connections": "4"}, "max_connections", 4),
        ({"max_connections": ""}, "max_connections", 16),
        ({"optional": ""}, "optional", False),
        ({"dialect": "hapi"}, "dialect", "hapi"),
        ({"dialect": ""}, "dialect", None),
        ({"dialect": "sort=true, max_page=20"}, "dialect", {"sort": True, "max_page": 20}),
        ({"territory": "2a,2b"}, "territory", ("2A", "2B")),
        ({"territory": ""}, "territory", ()),
        ({"organization": ""}, "organization", None),
        ({"search_method": "get"}, "search_method", SearchMethod.GET),
        ({"base_url": "https://Other.example/fhir/"}, "base_url", "https://other.example/fhir"),
    ],
    ids=str,
)
def test_a_field_becomes_what_it_says(fields: Mapping[str, str], name: str, value: object) -> None:
    made = declaration({**edited(WHOLE, {**values_of(WHOLE), **fields})})
    assert getattr(made, name) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("region", "99"),
        ("base_url", "ftp://x.example"),
        ("organization", "12"),
        ("territory", "35 99"),
        ("timeout", "soon"),
        ("timeout", "0"),
        ("max_connections", "2.5"),
        ("max_connections", "0"),
        ("max_connections", "many"),
        ("dialect", "unheard-of"),
        ("dialect", "sort=maybe"),
        ("dialect", "fly=true"),
        ("search_method", "delete"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(field: str, value: str) -> None:
    with pytest.raises(InvalidDeclarationError) as caught:
        declaration({**edited(WHOLE, {**values_of(WHOLE), field: value})})
    told_fr, told_en = wrongs(caught.value, "fr"), wrongs(caught.value, "en")
    assert {one.field for one in told_fr} == {field}
    assert [one.text for one in told_fr] != [one.text for one in told_en]


def test_what_stands_in_the_registry_is_told_where_it_differs() -> None:
    sent = {**values_of(WHOLE), "name": "Breizh", "optional": "", "timeout": " 2.5 "}
    assert differing(WHOLE, sent) == {"name": "Bretagne", "optional": "true"}
    assert differing(WHOLE, values_of(WHOLE)) == {}
