"""JSON or XML, as `_format`, `Accept` and `Content-Type` say."""

from __future__ import annotations

import pytest

from broker.core.media_type import Format, negotiate, parse_content_type, weighted
from broker.errors import RequestError

J, X = Format.JSON, Format.XML


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        ("json", J),
        ("xml", X),
        ("application/fhir+json", J),
        ("application/fhir json", J),
        ("application/fhir xml", X),
        ("application/json", J),
        ("text/json", J),
        ("application/xml", X),
        ("text/xml", X),
        ("Application/FHIR+XML; charset=utf-8; fhirVersion=4.0", X),
    ],
)
def test_format_overrides_accept(value: str, chosen: Format) -> None:
    other = "application/fhir+json" if chosen is X else "application/fhir+xml"
    assert negotiate(value, other) is chosen


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, J),
        ("", J),
        ("*/*", J),
        ("application/*", J),
        ("application/fhir+xml", X),
        ("application/xml", X),
        ("text/xml, */*;q=0.1", X),
        ("application/fhir+xml;q=0.5, application/fhir+json", J),
        ("application/fhir+json;q=0.5, application/fhir+xml;q=0.8", X),
        ("application/fhir+xml, application/fhir+json", X),
        ("application/fhir+json, application/fhir+xml", J),
        ("application/json;q=0, application/fhir+json;q=0, text/json;q=0, */*", X),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", J),
        ("text/turtle, application/fhir+xml;q=0.3", X),
        ('application/fhir+xml;profile="a,b;c"', X),
        ("application/fhir+json; fhirVersion=5.0, application/fhir+xml", X),
        ("application/fhir+json;q=abc, application/fhir+xml;q=0.1", X),
    ],
)
def test_accept(accept: str | None, chosen: Format) -> None:
    assert negotiate(None, accept) is chosen


@pytest.mark.parametrize(
    ("format_param", "accept"),
    [
        ("html", "*/*"),
        ("text/turtle", None),
        ("application/fhir+json; fhirVersion=3.0", None),
        (None, "text/html"),
        (None, "text/turtle, image/*"),
        (None, "application/fhir+json;q=0"),
        (None, "*/*;q=0"),
    ],
)
def test_nothing_acceptable(format_param: str | None, accept: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        negotiate(format_param, accept)
    assert caught.value.key == "request.format"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("application/fhir+json", J),
        ("application/json;charset=UTF-8", J),
        ('application/fhir+xml; charset="utf-8"', X),
        ("text/xml", X),
        ("application/fhir+json; fhirVersion=4.0", J),
    ],
)
def test_content_type(value: str, found: Format) -> None:
    assert parse_content_type(value) is found


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "text/plain",
        "application/fhir+json; charset=iso-8859-1",
        "application/fhir+json; fhirVersion=5.0",
    ],
)
def test_content_type_not_taken(value: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parse_content_type(value)
    assert caught.value.key == "request.content-type"


def test_content_type_of_an_answer() -> None:
    assert X.content_type == "application/fhir+xml; charset=utf-8"


def test_a_comma_in_quotes_parts_nothing() -> None:
    assert [item.value for item in weighted(r'a;b="x,\",y", c;q=0.5, d;q=2')] == ["a", "c"]
