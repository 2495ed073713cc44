"""The search for leaks finds what is planted, in every form; and not what is not there."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from urllib.parse import quote, quote_plus

import pytest

from tests.support.leaks import Source, forms, leaks

NAME, INS = "Kerneïs-Zoë", "253072A07300443"
PLANTED = {
    "clear": f"searched for {NAME}".encode(),
    "in capitals": NAME.upper().encode(),
    "without accents": b"KERNEIS-ZOE",
    "latin": NAME.encode("latin-1"),
    "percent": f"/fhir/Patient?family={quote(NAME)}".encode(),
    "percent, small": quote(NAME).lower().encode(),
    "form": quote_plus(NAME).encode(),
    "twice percent": quote(quote(NAME, safe=""), safe="").encode(),
    "json": json.dumps({"family": NAME}).encode(),
    "json in json": json.dumps(json.dumps({"family": NAME})).encode(),
    "repr of bytes": repr(NAME.encode()).encode(),
    "html": NAME.encode("ascii", "xmlcharrefreplace"),
    "hex": f"x{NAME.encode().hex().upper()}x".encode(),
    "base64": base64.b64encode(NAME.encode()),
    "base64, one before": base64.b64encode(b"x" + NAME.encode() + b"yy"),
    "base64, two before": base64.urlsafe_b64encode(b"xy" + NAME.encode()),
    "digest": sha256(NAME.encode()).hexdigest().encode(),
    "digest as bytes": b"\0" + sha256(NAME.encode()).digest(),
}


@pytest.mark.parametrize("how", PLANTED)
def test_what_is_planted_is_found(how: str) -> None:
    found = leaks([Source("log", b"before " + PLANTED[how] + b" after")], {"name": NAME, "ins": INS})
    assert {(one.source, one.seed) for one in found} == {("log", "name")}


def test_an_identifier_is_found_whatever_its_letters() -> None:
    found = leaks([Source("log", INS.lower().encode()), Source("other", b"nothing")], {"ins": INS})
    assert [(one.source, one.form) for one in found] == [("log", "clear")]


def test_nothing_is_found_where_there_is_nothing() -> None:
    other = "Kerneis-Léa 253072B07300470"
    assert (
        leaks([Source("log", other.encode() + base64.b64encode(other.encode()))], {"n": NAME, "i": INS}) == []
    )


def test_a_value_that_would_be_found_by_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="short"):
        forms("Zoë")
