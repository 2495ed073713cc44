"""Declarations of managers: what is taken, what is refused, and that every problem is said."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from registry.model import AuthType, Status
from registry.validation import InvalidDeclarationError, declaration, duplicates
from tests.support.gestionnaires import gestionnaire

VALID: dict[str, Any] = {
    "id": "bre",
    "name": "GCS e-Santé Bretagne",
    "region": "53",
    "base_url": "https://cds.bretagne.example/fhir",
}


def problems(**changes: Any) -> dict[str, str]:
    """Field → English reason of each problem of the valid declaration with changes; None takes a field away."""
    raw = {name: value for name, value in (VALID | changes).items() if value is not None}
    try:
        declaration(raw)
    except InvalidDeclarationError as error:
        return {problem.field: problem.en for problem in error.problems if problem.fr}
    return {}


def test_the_contracts_example_is_taken() -> None:
    one = declaration(
        VALID
        | {
            "organization": "350000001",
            "timeout": 3,
            "max_connections": 8,
            "optional": True,
            "auth": {"type": "bearer", "token_env": "BRE_TOKEN"},
            "tls_ca": "/etc/ca.pem",
            "dialect": {"chaining": False},
            "search_method": "get",
            "territory": ["22", "29", "35", "56"],
        }
    )
    assert one.auth.type is AuthType.BEARER
    assert one.territory == ("22", "29", "35", "56")
    assert one.timeout == 3
    assert one.status is Status.ACTIVE


@pytest.mark.parametrize("slug", ["a", "0", "bre", "a-b-", "x" * 16])
def test_slugs_taken(slug: str) -> None:
    assert problems(id=slug) == {}


@pytest.mark.parametrize("slug", ["", "-a", "A", "a.b", "a_b", "é", "x" * 17, "a\n"])
def test_slugs_refused(slug: str) -> None:
    assert set(problems(id=slug)) == {"id"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://a.example/fhir/", "https://a.example/fhir"),
        ("HTTPS://A.Example/Fhir", "https://a.example/Fhir"),
        ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
        ("http://[::1]:9001/fhir", "http://[::1]:9001/fhir"),
        (" https://a.example/fhir ", "https://a.example/fhir"),
        ("https://a.example/fhir?", "https://a.example/fhir"),
    ],
)
def test_addresses_are_normal(given: str, kept: str) -> None:
    assert declaration(VALID | {"base_url": given}).base_url == kept


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a.example/fhir",
        "ftp://a.example",
        "https://",
        "https:///fhir",
        "https://a.example/fhir?x=1",
        "https://a.example/fhir#x",
        "https://user:password@a.example/fhir",
        "https://a.example:99999/fhir",
        "https://a.example:0/fhir",
        "https://a.example/fh ir",
        "https://a.example/fhïr",
        "https://a.example/x/../fhir",
        "https://[::1/fhir",
    ],
)
def test_addresses_refused(address: str) -> None:
    assert set(problems(base_url=address)) == {"base_url"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("region", "99"),
        ("region", 53),
        ("name", ""),
        ("name", "x" * 201),
        ("name", "a\x00b"),
        ("organization", "12345"),
        ("organization", ""),
        ("timeout", 0),
        ("timeout", 121),
        ("timeout", float("nan")),
        ("timeout", "3"),
        ("max_connections", 0),
        ("max_connections", True),
        ("optional", "yes"),
        ("status", "paused"),
        ("search_method", "PUT"),
        ("territory", "35"),
        ("dialect", "no-such-server"),
        ("dialect", {"flying": True}),
        ("auth", "bearer"),
        ("identity", {"audience": "a"}),
        ("auth", {"type": "bearer"}),
        ("auth", {"type": "basic", "username": "u"}),
        ("auth", {"type": "oauth2", "token_url": "https://a.example/t"}),
        ("auth", {"type": "mtls", "cert_file": "/c.pem"}),
    ],
)
def test_values_refused(field: str, value: object) -> None:
    assert set(problems(**{field: value})) == {field}


@pytest.mark.parametrize("code", ["00", "20", "96", "970", "1", "2C", "979", "1\N{ARABIC-INDIC DIGIT THREE}"])
def test_departments_refused(code: str) -> None:
    assert set(problems(territory=["35", code])) == {"territory[1]"}


def test_departments_taken() -> None:
    codes = ["01", "19", "21", "2a", "2B", "75", "95", "971", "976", "988"]
    assert declaration(VALID | {"territory": codes}).territory[3] == "2A"


def test_a_secret_in_place_of_its_name_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidDeclarationError) as caught:
        declaration(VALID | {"auth": {"type": "bearer", "token_env": "eyJhbGciOi"}})
    assert [problem.field for problem in caught.value.problems] == ["auth.token_env"]
    assert "eyJ" not in caught.value.line("fr") + str(caught.value)


def test_every_problem_is_said_at_once() -> None:
    assert set(problems(id="BRE", region="99", base_url="x", territory=["00"])) == {
        "id",
        "region",
        "base_url",
        "territory[0]",
    }
    assert set(problems(name=None, region=3, colour="red")) == {"name", "region", "colour"}


@pytest.mark.parametrize("raw", [None, [], "x", 3])
def test_anything_but_an_object_is_refused(raw: object) -> None:
    with pytest.raises(InvalidDeclarationError):
        declaration(raw)


def test_what_was_declared_can_be_declared_again() -> None:
    one = gestionnaire(timeout=2.5, dialect={"sort": False}, auth={"type": "bearer", "token_env": "T"})
    assert declaration(msgspec.to_builtins(one)) == one
    assert declaration(msgspec.json.decode(msgspec.json.encode(one))) == one


def test_duplicates_are_found() -> None:
    three = [gestionnaire("aaa"), gestionnaire("bbb"), gestionnaire("aaa", base_url="https://x.example")]
    assert [problem.field for problem in duplicates(three)] == ["aaa.id"]
    two = [gestionnaire("aaa"), gestionnaire("bbb", base_url="https://aaa.cds.example/fhir/")]
    assert [problem.field for problem in duplicates(two)] == ["bbb.base_url"]
    assert duplicates([gestionnaire("aaa"), gestionnaire("bbb")]) == []


OAUTH2 = {"type": "oauth2", "token_url": "https://a.example/t", "client_id": "b", "client_secret_env": "S"}
IDENTITY = {"audience": "https://a.example", "key_file": "/k.pem"}


@pytest.mark.parametrize(
    ("auth", "field"),
    [
        ({"type": "magic"}, "auth.type"),
        ({"type": "bearer", "token": "s3cret"}, "auth.token"),
        ({"type": "bearer", "token_env": 3}, "auth.token_env"),
        ({"type": "bearer", "token_env": "T", "token_file": "/t"}, "auth.token_file"),
        ({"type": "bearer", "token_env": "T", "scope": "x"}, "auth.scope"),
        ({"type": "none", "cert_file": "/c.pem"}, "auth.cert_file"),
        (OAUTH2 | {"token_url": "http://a.example/t"}, "auth.token_url"),
        (OAUTH2 | {"token_url": "https://u:p@a.example/t"}, "auth.token_url"),
        (OAUTH2 | {"token_auth": "magic"}, "auth.token_auth"),
        (OAUTH2 | {"token_auth": "private_key_jwt"}, "auth.token_auth"),
        (OAUTH2 | {"assertion_alg": "HS256"}, "auth.assertion_alg"),
        (OAUTH2 | {"scope": "a  b"}, "auth.scope"),
    ],
)
def test_what_is_wrong_with_credentials_is_said_by_name(auth: dict[str, Any], field: str) -> None:
    assert set(problems(auth=auth)) == {field}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"audience": None}, "identity.audience"),
        ({"audience": " "}, "identity.audience"),
        ({"key_file": None}, "identity"),
        ({"type": "saml"}, "identity.type"),
        ({"alg": "none"}, "identity.alg"),
        ({"seconds": 3600}, "identity.seconds"),
        ({"seconds": "60"}, "identity.seconds"),
        ({"purpose": "whatever you like"}, "identity.purpose"),
        ({"header": "X-Forwarded-Identity\r\nX"}, "identity.header"),
        ({"header": "Host"}, "identity.header"),
        ({"header": "Content-Length"}, "identity.header"),
        ({"header": "X-Request-Id"}, "identity.header"),
        ({"key": "-----BEGIN"}, "identity.key"),
    ],
)
def test_what_is_wrong_with_an_identity_is_said_by_name(changes: dict[str, Any], field: str) -> None:
    assert problems(identity=IDENTITY) == {}
    given = {name: value for name, value in (IDENTITY | changes).items() if value is not None}
    assert set(problems(identity=given)) == {field}


def test_an_identity_in_place_of_credentials() -> None:
    bearer = IDENTITY | {"header": "Authorization"}
    assert problems(identity=bearer) == {}
    assert set(problems(identity=bearer, auth=OAUTH2)) == {"identity.header"}


@pytest.mark.parametrize(
    "given",
    [
        {"auth": {"type": "bearer", "token_env": "T"}},
        {"auth": {"type": "basic", "username": "u", "password_env": "P"}},
        {"auth": OAUTH2},
        {"identity": IDENTITY},
    ],
)
def test_nothing_is_sent_in_clear(given: dict[str, Any]) -> None:
    """RFC 6750, 5.3. The loopback address is not the network."""
    field = next(iter(given))
    assert set(problems(base_url="http://cds.example/fhir", **given)) == {field}
    for address in (
        "https://cds.example/fhir",
        "http://127.0.0.1:9001/fhir",
        "http://[::1]/fhir",
        "http://localhost/fhir",
    ):
        assert problems(base_url=address, **given) == {}


def test_a_client_certificate_needs_tls() -> None:
    mtls = {"type": "mtls", "cert_file": "/c.pem", "key_file": "/k.pem"}
    assert problems(auth=mtls) == {}
    assert set(problems(auth=mtls, base_url="http://127.0.0.1/fhir")) == {"auth.cert_file"}


def test_every_way_to_prove_oneself_is_taken() -> None:
    del_secret = {name: value for name, value in OAUTH2.items() if name != "client_secret_env"}
    for more in (
        {"client_secret_file": "/s"},
        {"client_secret_env": "S", "token_auth": "client_secret_post"},
        {
            "assertion_key_file": "/k.pem",
            "assertion_kid": "1",
            "assertion_alg": "PS256",
            "assertion_audience": "x",
        },
        {
            "cert_file": "/c.pem",
            "key_file": "/k.pem",
            "token_tls_ca": "/ca.pem",
            "resource": "https://a.example",
        },
    ):
        assert problems(auth=del_secret | more) == {}
