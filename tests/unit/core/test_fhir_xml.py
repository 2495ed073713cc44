"""FHIR JSON to XML and back: nothing lost on the way, nothing dangerous taken in."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.patient import Patient
from lxml import etree

from broker.core.fhir_schema import Kind, preload, resource_type, type_of
from broker.core.fhir_xml import MAX_DEPTH, to_json, to_xml
from broker.core.outcome import render_outcome
from broker.errors import Issue, RequestError

GUIDE = Path(__file__).parents[4] / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'


def tree(body: bytes | str) -> Any:
    """A JSON tree whose numbers keep their digits and are told from strings."""

    def number(digits: str) -> tuple[str, str]:
        return ("number", digits)

    text = body.decode("utf-8-sig") if isinstance(body, bytes) else body
    return json.loads(text, parse_float=number, parse_int=number)


def xml(resource: dict[str, Any]) -> str:
    return to_xml(json.dumps(resource).encode()).decode().removeprefix(HEAD)


def fhir(content: str, root: str = "Patient") -> bytes:
    return f'<{root} xmlns="http://hl7.org/fhir">{content}</{root}>'.encode()


def back(content: str, root: str = "Patient") -> Any:
    return tree(to_json(fhir(content, root)))


def refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        to_json(body)
    assert caught.value.key == "request.bad-resource"


@pytest.mark.guide
@pytest.mark.skipif(not GUIDE.exists(), reason="the guide's package is not here")
def test_every_resource_of_the_guide_comes_back_equal() -> None:
    seen = set()
    with tarfile.open(fileobj=io.BytesIO(GUIDE.read_bytes())) as package:
        for member in package:
            if not member.name.endswith(".json") or (file := package.extractfile(member)) is None:
                continue
            body = file.read()
            resource = tree(body)
            if isinstance(resource, dict) and "resourceType" in resource:
                assert tree(to_json(to_xml(body))) == resource, member.name
                seen.add(resource["resourceType"])
    assert {"CareTeam", "RelatedPerson", "Patient", "Organization", "Bundle", "CapabilityStatement"} <= seen


@pytest.mark.guide
@pytest.mark.skipif(not GUIDE.exists(), reason="the guide's package is not here")
def test_another_library_reads_the_same_patient() -> None:
    with tarfile.open(GUIDE) as package:
        file = package.extractfile("package/example/Patient-cds-patient-example.json")
        assert file is not None
        body = file.read()
    ours = Patient.model_validate_xml(to_xml(body)).model_dump()
    theirs = Patient.model_validate_json(body).model_dump()
    assert ours | {"text": None} == theirs | {"text": None}  # it writes narratives anew


def test_elements_in_the_order_of_the_specification_the_unknown_ones_last() -> None:
    resource = {
        "name": "C",
        "foo": "x",
        "status": "active",
        "resourceType": "CareTeam",
        "id": "1",
        "meta": {},
    }
    assert xml(resource) == (
        '<CareTeam xmlns="http://hl7.org/fhir"><id value="1"/><meta/><status value="active"/>'
        '<name value="C"/><foo value="x"/></CareTeam>'
    )


def test_primitives_with_extensions_and_gaps() -> None:
    resource = {
        "resourceType": "Patient",
        "_birthDate": {"extension": [{"url": "u", "valueBoolean": False}]},
        "active": True,
        "_active": {"id": "a1"},
        "name": [
            {
                "id": "n1",
                "given": [None, "Léa", "A&B <\"'>\t\n"],
                "_given": [{"extension": [{"url": "u", "valueString": ""}]}, None, {"id": "g"}],
            }
        ],
    }
    assert xml(resource) == (
        '<Patient xmlns="http://hl7.org/fhir"><active value="true" id="a1"/><name id="n1">'
        '<given><extension url="u"><valueString value=""/></extension></given><given value="Léa"/>'
        '<given value="A&amp;B &lt;&quot;\'&gt;&#9;&#10;" id="g"/></name>'
        '<birthDate><extension url="u"><valueBoolean value="false"/></extension></birthDate></Patient>'
    )
    assert json.loads(to_json(to_xml(json.dumps(resource).encode()))) == resource


def test_numbers_keep_their_digits() -> None:
    body = (
        '{"resourceType":"Patient","extension":[{"url":"u","valueDecimal":1.10},{"url":"u","valueDecimal":1E-5},'
        '{"url":"u","valueDecimal":-0.0},{"url":"u","valueInteger":12345678901234567890}]}'
    )
    assert 'valueDecimal value="1.10"' in to_xml(body.encode()).decode()
    assert to_json(to_xml(body.encode())).decode() == body


def test_contained_and_bundled_resources() -> None:
    resource = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 1,
        "entry": [
            {
                "fullUrl": "urn:x",
                "resource": {
                    "resourceType": "CareTeam",
                    "contained": [
                        {"resourceType": "Patient", "id": "p"},
                        {"resourceType": "Made", "up": ["a", "b"]},
                    ],
                },
                "search": {"mode": "match"},
            },
            {"resource": json.loads(render_outcome([Issue("internal")])), "search": {"mode": "outcome"}},
        ],
    }
    written = xml(resource)
    assert "<resource><CareTeam><contained><Patient><id " in written
    assert '<Made><up value="a"/><up value="b"/></Made>' in written
    assert json.loads(to_json(written.encode())) == resource


@pytest.mark.parametrize(
    "extra",
    [
        {"foo": {"bar": "x", "deep": {"extension": [{"url": "u", "valueInteger": 1}]}}},
        {"foo": ["a", "b"], "bar": [{"x": "1"}, {"x": "2"}]},
        {"foo": {"resourceType": "Patient", "active": True}},
        {"_foo": {"extension": [{"url": "u", "valueCode": "x"}]}, "foo": "x"},
        {"foo": {"value": "x", "id": "1"}},
        {"name": ["not a HumanName"]},
        {"active": "perhaps"},
        {"extension": [{"url": "u", "valueInteger": "twelve"}, {"url": "u", "valueInteger": "012"}]},
        {"name": [{}]},
        {"contained": [{}, {"id": "no type"}]},
        {"contained": ["no resource"]},
        {"foo": {"Bar": "x"}},
    ],
)
def test_what_the_specification_does_not_know_passes(extra: dict[str, Any]) -> None:
    resource = {"resourceType": "Patient", "id": "1", **extra}
    assert json.loads(to_json(xml(resource).encode())) == resource


def test_what_xml_cannot_say() -> None:
    resource = {
        "resourceType": "Patient",
        "a b": "x",
        "$ref": "y",
        "language": "a\x00\ud800b",
        "gender": None,
    }
    assert (
        xml(resource) == '<Patient xmlns="http://hl7.org/fhir"><language value="a\ufffd\ufffdb"/></Patient>'
    )


@pytest.mark.parametrize(
    ("div", "written"),
    [
        (f"<div {XHTML}><a name='x'></a><br/>é &lt;&#160;</div>", None),
        (f"<div {XHTML}><div>1<div/></div><!-- </div> --><![CDATA[<div>]]></div>", None),
        (f"<div {XHTML} title='>'>x</div>", None),
        ('<h:div xmlns:h="http://www.w3.org/1999/xhtml">x</h:div>', None),
        ("<div>a<b>c</b></div>", f"<div {XHTML}>a<b>c</b></div>"),
        (f"<div {XHTML}>a&nbsp;b&eacute;</div>", f"<div {XHTML}>a&#160;b&#233;</div>"),
        (f"<div {XHTML}><p>a</div>", f"<div {XHTML}>&lt;div {XHTML}&gt;&lt;p&gt;a&lt;/div&gt;</div>"),
        ('<div xmlns="">a</div>', f'<div {XHTML}>&lt;div xmlns=""&gt;a&lt;/div&gt;</div>'),
        ("plain & simple", f"<div {XHTML}>plain &amp; simple</div>"),
        ("<!DOCTYPE x><div/>", f"<div {XHTML}>&lt;!DOCTYPE x&gt;&lt;div/&gt;</div>"),
        ("<div>&undefined;</div>", f"<div {XHTML}>&lt;div&gt;&amp;undefined;&lt;/div&gt;</div>"),
        ("a\x0bb", f"<div {XHTML}>a\ufffdb</div>"),
    ],
)
def test_narratives(div: str, written: str | None) -> None:
    written = written or div
    resource = {"resourceType": "Patient", "text": {"status": "generated", "div": div}, "id": "1"}
    document = xml(resource)
    start, end = '<id value="1"/><text><status value="generated"/>', "</text></Patient>"
    assert document == f'<Patient xmlns="http://hl7.org/fhir">{start}{written}{end}'
    assert json.loads(to_json(document.encode()))["text"]["div"] == written


def test_a_narrative_whose_prefix_is_declared_further_out() -> None:
    body = (
        '<f:Patient xmlns:f="http://hl7.org/fhir" xmlns:h="http://www.w3.org/1999/xhtml"><f:text>'
        "<h:div>a<h:b>c</h:b></h:div></f:text></f:Patient>"
    )
    div = '<h:div xmlns:h="http://www.w3.org/1999/xhtml">a<h:b>c</h:b></h:div>'
    assert json.loads(to_json(body.encode())) == {"resourceType": "Patient", "text": {"div": div}}


def test_written_by_hand() -> None:
    content = """
      <!-- a comment --> <?target data?>
      <active value="true"/>
      <name>  <given value="A"/>  <given value="B"/> </name>
    """
    assert back(content) == {"resourceType": "Patient", "active": True, "name": [{"given": ["A", "B"]}]}
    assert tree(to_json(b"\xef\xbb\xbf" + HEAD.encode() + fhir(content)))["active"] is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<Patient/>",
        b'<Patient xmlns="http://example.org"/>',
        fhir("<name>"),
        fhir("text"),
        fhir('<active value="true">text</active>'),
        fhir('<active value="true"/>tail'),
        fhir('<x:foo xmlns:x="http://example.org"/>'),
        fhir(f"<p {XHTML}>x</p>"),
        fhir("<a>" * (MAX_DEPTH + 2) + "</a>" * (MAX_DEPTH + 2)),
        fhir("<a>" * 100_000 + "</a>" * 100_000),
        fhir('<id value="&nbsp;"/>'),
        fhir('<id value="\x00"/>'),
        '<Patient xmlns="http://hl7.org/fhir"/>'.encode("utf-16"),
        b"\xff\xfe",
    ],
)
def test_xml_that_is_no_resource(body: bytes) -> None:
    refused(body)


def test_entities_and_document_types_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    for subset, content in [
        (f'<!ENTITY x SYSTEM "{secret.as_uri()}">', "<id>&x;</id>"),
        (f'<!ENTITY l0 "lol">{laughs}', '<id value="&l9;"/>'),
        ('<!ENTITY % p SYSTEM "http://127.0.0.1:9/x">%p;', ""),
        ("", ""),
    ]:
        refused(f"<!DOCTYPE Patient [{subset}]>".encode() + fhir(content))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"x"',
        b"{}",
        b'{"resourceType":1}',
        b'{"resourceType":"A><B"}',
        b'{"resourceType":"Patient","x":NaN}',
        b'{"resourceType":"Patient"',
        b"\xff",
        b'{"resourceType":"Patient","a":' + b'{"a":' * 70 + b"1" + b"}" * 71,
        b'{"resourceType":"Patient","a":' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"resourceType":"Patient","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_json_that_is_no_resource(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        to_xml(body)
    assert caught.value.key == "request.bad-resource"


def test_the_deepest_that_is_taken_comes_back() -> None:
    body = b'{"resourceType":"Patient","a":' + b'{"a":' * 60 + b'"x"' + b"}" * 61
    assert tree(to_json(to_xml(body))) == tree(body)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert to_xml('\ufeff{"resourceType":"Patient"}'.encode()).endswith(
        b'<Patient xmlns="http://hl7.org/fhir"></Patient>'
    )


def test_schema() -> None:
    preload()
    assert type_of("BundleEntry").elements["resource"].kind is Kind.RESOURCE
    assert type_of("CareTeam").elements["participant"].type == "CareTeamParticipant"
    assert list(type_of("Narrative").elements)[-2:] == ["status", "div"]
    assert type_of("Nothing").name == ""
    assert resource_type("HumanName").name == resource_type("Nothing").name == "DomainResource"


def test_output_is_well_formed_utf_8() -> None:
    root = etree.fromstring(to_xml('{"resourceType":"Patient","language":"é𝄞"}'.encode()))
    assert root[0].get("value") == "é𝄞"
