"""What lies under a manager's base, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.manager_urls import ManagerAddress, OutsideBaseError

BASE = "https://cds.example/api/fhir"


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("", BASE),
        ("CareTeam/_search", f"{BASE}/CareTeam/_search"),
        ("CareTeam/a.b-c", f"{BASE}/CareTeam/a.b-c"),
        ("CareTeam/..a", f"{BASE}/CareTeam/..a"),
        ("CareTeam?_page=x", f"{BASE}/CareTeam?_page=x"),
        ("?_getpages=1&_getpagesoffset=10", f"{BASE}?_getpages=1&_getpagesoffset=10"),
        ("/api/fhir/CareTeam?p=2", f"{BASE}/CareTeam?p=2"),
        ("//cds.example/api/fhir/CareTeam", f"{BASE}/CareTeam"),
        (f"{BASE}?_getpages=1", f"{BASE}?_getpages=1"),
        (f"{BASE}/?_getpages=1", f"{BASE}/?_getpages=1"),
        (f"{BASE}/CareTeam?a=b%2Cc|d", f"{BASE}/CareTeam?a=b%2Cc%7Cd"),
        (f"{BASE}/CareTeam?name=é ", f"{BASE}/CareTeam?name=%C3%A9%20"),
        (f"{BASE}/CareTeam?next=https://cds.example/../x", f"{BASE}/CareTeam?next=https://cds.example/../x"),
        ("HTTPS://CDS.Example:443/api/fhir/CareTeam#f", f"{BASE}/CareTeam"),
    ],
)
def test_inside(target: str, url: str) -> None:
    assert str(ManagerAddress(BASE).url(target)) == url


@pytest.mark.parametrize(
    "target",
    [
        "http://cds.example/api/fhir/CareTeam",
        "https://cds.example:8443/api/fhir/CareTeam",
        "https://cds.example.evil/api/fhir/CareTeam",
        "https://evil/api/fhir/CareTeam",
        "https://cds.example@evil/api/fhir/CareTeam",
        "https://user:pw@cds.example/api/fhir/CareTeam",
        "https://evil\\@cds.example/api/fhir/CareTeam",
        "https://cds.example/api/fhirs/CareTeam",
        "https://cds.example/api",
        "https://cds.example/api/fhir/../admin",
        "https://cds.example/api/fhir/%2e%2e/admin",
        "https://cds.example/api/fhir/%252e%252e/admin",
        "https://cds.example/api/fhir/..%2fadmin",
        "https://cds.example/api/fhir/..;x=y/admin",
        "https://cds.example/api/fhir/CareTeam%00",
        "https://cds.example/api/fhir//admin",
        "https://[::1/api/fhir/CareTeam",
        "https://cds.example:port/api/fhir/CareTeam",
        "//evil/api/fhir/CareTeam",
        "/admin",
        "../admin",
        "CareTeam/..",
        "CareTeam/./x",
        "CareTeam/1\r\nX-Injected: 1",
        "CareTeam\t/1",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https:CareTeam",
    ],
)
def test_outside(target: str) -> None:
    with pytest.raises(OutsideBaseError) as caught:
        ManagerAddress(BASE).url(target)
    assert target not in str(caught.value)


def test_query_is_encoded_and_added() -> None:
    address = ManagerAddress(BASE + "/")
    assert str(address.url("CareTeam", [("_include:iterate", "*"), ("identifier", "urn:x|1&2")])) == (
        f"{BASE}/CareTeam?_include:iterate=%2A&identifier=urn:x%7C1%262"
    )
    assert str(address.url("CareTeam?a=1", [("b", "é")])) == f"{BASE}/CareTeam?a=1&b=%C3%A9"


def test_a_base_without_a_path_keeps_to_its_host() -> None:
    address = ManagerAddress("http://127.0.0.1:8080")
    assert str(address.url("CareTeam/1")) == "http://127.0.0.1:8080/CareTeam/1"
    assert str(address.url("http://127.0.0.1:8080/x/y")) == "http://127.0.0.1:8080/x/y"
    with pytest.raises(OutsideBaseError):
        address.url("http://127.0.0.1:80801/x")


@pytest.mark.parametrize("base", ["ftp://x/y", "/fhir", "https://", "https://u:p@x/fhir"])
def test_a_base_that_is_none(base: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        ManagerAddress(base)


@given(st.from_regex(r"[A-Za-z]{1,4}(/[A-Za-z0-9._\-]{1,5}){0,4}/?", fullmatch=True))
def test_what_is_plain_is_taken_as_what_is_not(target: str) -> None:
    """The short way of types, ids and versions leads where the careful one does."""

    def taken(spelling: str) -> str | None:
        try:
            return str(ManagerAddress(BASE).url(spelling))
        except OutsideBaseError:
            return None

    assert taken(target) == taken(f"{BASE}/{target}")
