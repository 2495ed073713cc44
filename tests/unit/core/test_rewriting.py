from __future__ import annotations

import json

import pytest

from broker.core.identity import Origin, public_id
from broker.core.json_text import JsonError
from broker.core.rewriting import inward, outward, outward_url, references

BRE = Origin("bre", "https://m.bre.exemple/fhir", "https://b.exemple/fhir", "53", "Bretagne")
LONG = "x" * 64
ALIAS = public_id("bre", LONG)
LOOKALIKE = "alias--" + "0" * 40


def out(value: str) -> str:
    body = outward(json.dumps({"reference": value}).encode(), BRE, {})
    rewritten: str = json.loads(body)["reference"]
    return rewritten


@pytest.mark.parametrize(
    ("theirs", "public"),
    [
        ("Patient/12", "Patient/bre.12"),
        ("Patient/12/_history/3", "Patient/bre.12/_history/3"),
        ("Patient/idf.12", "Patient/bre.idf.12"),
        ("Patient/.a", "Patient/bre..a"),
        ("https://m.bre.exemple/fhir/Patient/12", "https://b.exemple/fhir/Patient/bre.12"),
        (
            "https://m.bre.exemple/fhir/Patient/12/_history/3",
            "https://b.exemple/fhir/Patient/bre.12/_history/3",
        ),
        (f"Patient/{LONG}", f"Patient/{ALIAS}"),
        (f"Patient/{LOOKALIKE}", f"Patient/{public_id('bre', LOOKALIKE)}"),
        (f"Patient/{LONG}/_history/1", f"Patient/{ALIAS}/_history/1"),
    ],
)
def test_references_to_the_managers_own_go_out_and_come_back(theirs: str, public: str) -> None:
    assert out(theirs) == public
    back = inward(
        json.dumps({"reference": public}).encode(), BRE, {ALIAS: LONG, public_id("bre", LOOKALIKE): LOOKALIKE}
    )
    assert json.loads(back.body)["reference"] == theirs
    assert back.foreign == back.unknown == ()


@pytest.mark.parametrize(
    "value",
    [
        "#patient",
        "urn:uuid:9e1a2f6e-58b5-4d0a-9a5d-7d6f1c2b3a4d",
        "https://elsewhere.exemple/fhir/Patient/12",
        "https://m.bre.exemple/fhirX/Patient/12",
        "https://m.bre.exemple/fhir",
        "Patient?identifier=x|1",
        "Patient",
        "Patient/",
        "Patient/..",
        "Patient/../Patient/1",
        "patient/12",
        "Patient/12#name",
        "Patient/12/name",
        "Patient/12/_history/",
        "Patient/a_b",
        "Patient/" + "x" * 65,
        "/Patient/12",
        "",
    ],
)
def test_everything_else_stays(value: str) -> None:
    assert out(value) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"code":"reference"}',
        '{"a":["reference","Patient/1"]}',
        '{"reference":{"reference":17}}',
        '{"reference":["Patient/1"]}',
        '{"reference":null}',
        r'{"div":"<a href=\"reference\":\"Patient/1\">"}',
        r'{"x\"reference":"Patient/1"}',
        r'{"x\\\"reference":"Patient/1"}',
        r'{"div":"ends in \"reference"}',
        r'{"reference":"say \"reference"}',
        r'{"reference":"Patient/1\""}',
        r'{"reference":"\ud800"}',
        '{"referenceX":"Patient/1","Xreference":"Patient/1","Reference":"Patient/1"}',
        '{"url":"Patient/1","uri":"https://m.bre.exemple/fhir/Patient/1"}',
    ],
)
def test_what_only_looks_like_a_reference_is_not_touched(text: str) -> None:
    assert outward(text.encode(), BRE, {}) == text.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"reference" : "Patient/1"}', '{"reference" : "Patient/bre.1"}'),
        ('{\n "reference"\n:\r\n\t"Patient/1" }', '{\n "reference"\n:\r\n\t"Patient/bre.1" }'),
        (r'{"reference":"Patient\/1","n":1.50}', '{"reference":"Patient/bre.1","n":1.50}'),
        (r'{"reference":"Patient\u002F1"}', '{"reference":"Patient/bre.1"}'),
        (r'{"\u0072ef\u0065renc\u0065":"Patient/1"}', '{"reference":"Patient/bre.1"}'),
        (r'{"a\\":"x","reference":"Patient/1"}', r'{"a\\":"x","reference":"Patient/bre.1"}'),
        (r'{"t":"\u0061\\u0072","reference":"A/1"}', r'{"t":"\u0061\\u0072","reference":"A/1"}'),
        (
            r'{"t":"\u0061","reference":"Aa/1","\u0061":1e5}',
            r'{"t":"\u0061","reference":"Aa/bre.1","\u0061":1e5}',
        ),
    ],
)
def test_spacing_and_escapes_do_not_hide_a_reference(text: str, expected: str) -> None:
    assert outward(text.encode(), BRE, {}) == expected.encode()


def test_references_to_other_managers_are_left_and_listed() -> None:
    written = {
        "a": {"reference": "Patient/idf.7"},
        "b": {"reference": "https://b.exemple/fhir/Organization/idf.8/_history/1"},
        "c": {"reference": "Patient/idf.7"},
        "d": {"reference": "Patient/7"},
        "e": {"reference": ALIAS.replace("bre.", "Patient/bre.")},
        "f": {"reference": "Patient/bre.7"},
        "g": {"reference": "https://m.bre.exemple/fhir/Patient/7"},
        "h": {"reference": "#me"},
    }
    result = inward(json.dumps(written).encode(), BRE, {})
    assert result.foreign == ("Patient/idf.7", "https://b.exemple/fhir/Organization/idf.8/_history/1")
    assert result.unknown == ("Patient/7", f"Patient/{ALIAS}")
    assert json.loads(result.body) == written | {"f": {"reference": "Patient/7"}}


def test_aliases_made_on_the_way_out_are_given_back() -> None:
    aliases: dict[str, str] = {}
    outward(json.dumps([{"reference": f"Patient/{LONG}"}]).encode(), BRE, aliases)
    assert aliases == {ALIAS: LONG}


@pytest.mark.parametrize(
    ("url", "public"),
    [
        (
            "https://m.bre.exemple/fhir/CareTeam/1/_history/2",
            "https://b.exemple/fhir/CareTeam/bre.1/_history/2",
        ),
        ("CareTeam/1", "https://b.exemple/fhir/CareTeam/bre.1"),
        (f"CareTeam/{LONG}", f"https://b.exemple/fhir/CareTeam/{ALIAS}"),
        ("https://other.exemple/fhir/CareTeam/1", None),
        ("CareTeam?patient=1", None),
        ("urn:uuid:1", None),
        ("", None),
        ("CareTeam/\ud800", None),
    ],
)
def test_addresses_go_out_absolute(url: str, public: str | None) -> None:
    assert outward_url(url, BRE, {}) == public


def test_references_of_a_resource_for_the_include_closure() -> None:
    raw = (
        b'{"a":{"reference":"Patient/bre.1/_history/4"},"b":{"reference":"Patient/bre.1"},'
        b'"c":{"reference":"#x"},"d":{"reference":"https://b.exemple/fhir/Organization/bre.2"},'
        b'"e":{"reference" : "RelatedPerson\\/bre.3"}}'
    )
    assert references(raw) == [b"Patient/bre.1", b"RelatedPerson/bre.3"]
    assert references(raw, BRE) == [b"Patient/bre.1", b"Organization/bre.2", b"RelatedPerson/bre.3"]


def test_hostile_escapes_cost_no_quadratic_time() -> None:
    body = b'{"\\u0061":"' + b'\\"' * 500_000
    with pytest.raises(JsonError):
        outward(body, BRE, {})
    assert outward(b'"reference":"' * 100_000, BRE, {}) == b'"reference":"' * 100_000
