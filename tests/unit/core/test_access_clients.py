"""The directory of clients: what it takes, what it refuses, and whom a certificate is of."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker.core.access.certificates import der_of_pem, read_certificate, thumbprint
from broker.core.access.clients import Clients, WrongClientsError, parse_clients
from tests.support.certificates import Authority


def clients(text: str) -> Clients:
    return parse_clients(tomllib.loads(text))


def test_a_client_with_everything() -> None:
    found = clients(
        """
        [[client]]
        id = "dmp"
        certificate_subject = "CN=dmp,O=GIE,C=FR"
        scopes = ["system/CareTeam.rs", "cds/metrics"]
        managers = ["bre"]
        regions = ["53"]
        manager = "bre"
        rate = 50
        """
    ).by_id["dmp"]
    assert (found.managers, found.regions) == (frozenset({"bre"}), frozenset({"53"}))
    assert (found.manager, found.rate) == ("bre", 50)
    assert found.scopes is not None
    assert set(found.scopes.fhir) == {"CareTeam"}


def test_what_is_absent_bounds_nothing() -> None:
    found = clients('[[client]]\nid = "dmp"').by_id["dmp"]
    assert (found.scopes, found.managers, found.regions) == (None, None, None)
    assert clients("") == Clients()


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ({}, "client[0]"),
        ({"id": "broker"}, "client[0].id"),
        ({"id": ""}, "client[0].id"),
        ({"id": "a\nb"}, "client[0].id"),
        ({"id": "é"}, "client[0].id"),
        ({"id": 5}, "client[0]"),
        ({"id": "a", "colour": "red"}, "client[0]"),
        ({"id": "a", "scopes": "system/CareTeam.rs"}, "client[0]"),
        ({"id": "a", "scopes": ["system/CareTeam.sr"]}, "client[0].scopes"),
        ({"id": "a", "managers": ["Bre"]}, "client[0].managers"),
        ({"id": "a", "manager": "b/e"}, "client[0].managers"),
        ({"id": "a", "regions": ["99"]}, "client[0].regions"),
        ({"id": "a", "rate": 0}, "client[0].rate"),
        ({"id": "a", "rate": float("nan")}, "client[0].rate"),
        ({"id": "a", "certificate_subject": "dmp"}, "client[0].certificate_subject"),
        ({"id": "a", "certificate_subject": ""}, "client[0].certificate_subject"),
        ({"id": "a", "certificate_issuer": "CN=a"}, "client[0].certificate_issuer"),
        ({"id": "a", "certificate_sha256": "ab"}, "client[0].certificate_sha256"),
    ],
)
def test_what_is_wrong_is_named_and_no_value_repeated(table: dict[str, Any], field: str) -> None:
    with pytest.raises(WrongClientsError) as caught:
        parse_clients({"client": [table]})
    assert [one.field for one in caught.value.problems] == [field]


@pytest.mark.parametrize("document", [[], {"clients": []}, {"client": {}}, {"client": [], "x": 1}])
def test_anything_else_is_no_directory(document: object) -> None:
    with pytest.raises(WrongClientsError):
        parse_clients(document)


@pytest.mark.parametrize(
    "same",
    [
        'id = "a"',
        'id = "b"\ncertificate_subject = "CN=x"',
        f'id = "b"\ncertificate_sha256 = "{"AB:" * 31}AB"',
    ],
)
def test_two_clients_are_not_one(same: str) -> None:
    first = f'[[client]]\nid = "a"\ncertificate_subject = "CN=x"\ncertificate_sha256 = "{"ab" * 32}"\n'
    with pytest.raises(WrongClientsError) as caught:
        clients(f"{first}[[client]]\n{same}")
    assert caught.value.problems[0].en == "already taken"


def test_whose_a_certificate_is() -> None:
    authority, other = Authority("AC ORG"), Authority("AC ELSE")
    der = authority.client("dmp", organization="GIE").der
    read = read_certificate(der)
    by_subject = clients('[[client]]\nid = "s"\ncertificate_subject = "CN=dmp,O=GIE"')
    assert by_subject.of_certificate(read) == by_subject.by_id["s"]
    narrowed = clients(
        '[[client]]\nid = "s"\ncertificate_subject = "CN=dmp,O=GIE"\ncertificate_issuer = "CN=AC ORG"'
    )
    assert narrowed.of_certificate(read) == narrowed.by_id["s"]
    assert narrowed.of_certificate(read_certificate(other.client("dmp", organization="GIE").der)) is None
    assert by_subject.of_certificate(read_certificate(authority.client("dmp").der)) is None, (
        "a part of the name"
    )
    pinned = clients(f'[[client]]\nid = "p"\ncertificate_sha256 = "{read.sha256.hex(":")}"')
    assert pinned.of_certificate(read) == pinned.by_id["p"]


def test_what_is_read_of_a_certificate() -> None:
    made = Authority("AC").client("dmp")
    read = read_certificate(made.der)
    now = dt.datetime.now(dt.UTC)
    assert read.valid_at(now)
    assert not read.valid_at(now + dt.timedelta(days=30))
    assert der_of_pem(made.pem) == made.der
    assert len(thumbprint(made.der)) == 43
    for odd in (b"", b"x", made.der[:-1], made.der + b"x"):
        with pytest.raises(ValueError, match="no certificate"):
            read_certificate(odd)


@pytest.mark.parametrize(
    "odd",
    ["", "x", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"],
)
def test_what_is_no_pem(odd: str) -> None:
    with pytest.raises(ValueError, match="not"):
        der_of_pem(odd)


def test_two_certificates_are_not_one() -> None:
    pem = Authority("AC").client("dmp").pem
    with pytest.raises(ValueError, match="not one"):
        der_of_pem(pem + pem)


def test_the_example_is_a_directory() -> None:
    text = (Path(__file__).parents[3] / "deploy/clients.example.toml").read_text(encoding="utf-8")
    assert set(clients(text).by_id) == {"consumer.example", "agent.bretagne.example", "operations"}
