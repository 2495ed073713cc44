"""Bodies that clients send: what is read, what is refused, and that the bytes stay the client's own."""

from __future__ import annotations

import json

import orjson
import pytest

from broker.core.json_form import Number
from broker.core.media_type import Format
from broker.core.profile_check import check_resource
from broker.core.write_body import read_resource_body, refusal, warnings_of
from broker.errors import Issue, RequestError

BOM = b"\xef\xbb\xbf"
ORGANIZATION = b'{ "name":"\\u00c9t\xc3\xa9",\n "resourceType" : "Organization" }'


def test_the_bytes_stay_the_clients_own() -> None:
    body = b'{"resourceType":"Organization", "name":"x","extension":[{"url":"u:v","valueDecimal":1.50e0}]}\n'
    relayed, resource = read_resource_body(body, Format.JSON, "Organization")
    assert relayed == body
    assert resource["extension"][0]["valueDecimal"] == 1.5
    assert check_resource(resource) == []


def test_a_byte_order_mark_goes() -> None:
    relayed, resource = read_resource_body(BOM + ORGANIZATION, Format.JSON, None)
    assert (relayed, resource["name"]) == (ORGANIZATION, "Été")


def test_xml_is_converted() -> None:
    body = (
        '<Organization xmlns="http://hl7.org/fhir"><active value="true"/><name value="Été"/></Organization>'
    )
    relayed, resource = read_resource_body(body.encode(), Format.XML, "Organization")
    assert orjson.loads(relayed) == resource
    assert resource == {"resourceType": "Organization", "active": True, "name": "Été"}
    assert check_resource(resource) == []


@pytest.mark.parametrize(
    "number", ["1e999", "-1e400", "0.1000000000000000000000000000000000000001", "1" * 30]
)
def test_numbers_beyond_a_float_are_relayed_as_they_are(number: str) -> None:
    extension = f'[{{"url":"u:v","valueDecimal":{number}}}]'
    body = f'{{"resourceType":"Patient","multipleBirthInteger":2,"extension":{extension}}}'.encode()
    relayed, resource = read_resource_body(body, Format.JSON, "Patient")
    assert relayed == body
    assert check_resource(resource) == []


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000])
def test_an_exotic_number_is_kept_as_written(number: bytes) -> None:
    body = b'{"resourceType":"Patient","multipleBirthInteger":' + number + b"}"
    _, resource = read_resource_body(body, Format.JSON, None)
    assert isinstance(resource["multipleBirthInteger"], Number)
    assert [issue.key for issue in check_resource(resource)] == ["write.structure.format"]
    text = b'{"resourceType":"Patient","x":1e999,"gender":5}'
    _, resource = read_resource_body(text, Format.JSON, None)
    assert ("write.structure.kind", ("Patient.gender",)) in [
        (i.key, i.expression) for i in check_resource(resource)
    ]


NESTED = b'{"resourceType":"Patient","extension":' + b"[" * 200 + b"]" * 200 + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"Patient"',
        b"{}",
        b'{"resourceType":null}',
        b'{"resourceType":["Patient"]}',
        b'{"resourceType":"Patient"',
        b'{"resourceType":"Patient"} x',
        b'{"resourceType":"Patient",}',
        b'{"resourceType":"Patient","resourceType":"CareTeam"}',
        b'{"resourceType":"Patient","name":[{"family":"a","family":"b"}]}',
        b'{"resourceType":"Patient","name":[{"family":"a","f\\u0061mily":"b"}]}',
        b'{"resourceType":"Patient","a":1e999,"name":[{"family":"a","family":"b"}]}',
        b'{"resourceType":"Patient","multipleBirthInteger":NaN}',
        b'{"resourceType":"Patient","multipleBirthInteger":-Infinity}',
        b'{"resourceType":"Patient","language":"\\ud800"}',
        b'{"resourceType":"Patient","language":"\xff"}',
        '{"resourceType":"Patient"}'.encode("utf-16"),
        NESTED,
        b"[" * 100_000,
        b"<Patient/>",
    ],
    ids=lambda body: repr(body[:60]),
)
def test_what_is_no_resource_in_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_resource_body(body, Format.JSON, None)
    assert caught.value.key == "request.bad-resource"


def test_nesting_is_refused_one_level_beyond_the_bound() -> None:
    def nested(levels: int) -> bytes:
        inner = b'{"extension":[' * (levels - 1) + b"]}" * (levels - 1)
        return b'{"resourceType":"Patient","extension":[' + inner + b"]}"

    for bound in (8, 64):
        read_resource_body(nested(bound), Format.JSON, None, bound)
        with pytest.raises(RequestError) as caught:
            read_resource_body(nested(bound + 1), Format.JSON, None, bound)
        assert (caught.value.key, caught.value.params) == ("limit.nesting", {"limit": bound})


@pytest.mark.parametrize(
    "body", [b"{}", b"<Patient/>", b'<!DOCTYPE x><Patient xmlns="http://hl7.org/fhir"/>', b"<Patient"]
)
def test_what_is_no_resource_in_xml_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_resource_body(body, Format.XML, None)
    assert caught.value.key == "request.bad-resource"


def test_another_type_than_the_address_says_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        read_resource_body(ORGANIZATION, Format.JSON, "Patient")
    assert (caught.value.key, caught.value.params) == ("request.wrong-type", {"type": "Patient"})


def test_a_severity_of_ones_own_decides() -> None:
    lenient = Issue("write.rule.careteam-name", {}, "warning", ("CareTeam.name",))
    assert refusal([lenient]) is None
    assert warnings_of([lenient]) == ('299 - "A care team has a name."',)
    assert refusal([]) is None


def test_a_header_is_ascii_on_one_line() -> None:
    (value,) = warnings_of([Issue("write.ins-key", {"element": 'é"\\'})])
    assert value == '299 - "The form or the key of this INS is wrong: ?\\"\\\\."'
    assert json.dumps(value).isascii()
