"""Ids, paths, headers and codings that mean more than they say: none reaches a manager, a log line or another's header."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator

import pytest

from tests.component.test_limits import form
from tests.faults.test_bad_input import (
    NAME,
    SECRET,
    assert_outcome,
    exchange,
    nothing_logged_of,
    request,
)
from tests.support.regions import Regions, regions
from tests.support.valkey import Valkey

JSON = b"Content-Type: application/fhir+json\r\n"
CIRCLE = json.dumps({"resourceType": "CareTeam", "id": "bre.c0", "name": NAME}).encode()


@pytest.fixture
async def there(valkey: Valkey) -> AsyncIterator[Regions]:
    async with regions(valkey, size=3) as made:
        yield made


def _asked(there: Regions) -> list[str]:
    return [one.raw_path for manager in there.managers.values() for one in manager.requests]


@pytest.mark.parametrize(
    "place",
    [
        "%252e%252e",
        "bre.%252e%252e%252fadmin",
        "bre.c0%2500",
        "bre.c0%250d%250aX-Evil:%201",
        "bre.%5c..%5cadmin",
        "bre.%c0%ae%c0%ae",
        "bre.%e2%80%ae0c",
        "bre.c0;jsessionid=1",
        "bre.c0%23x",
        "bre.c0%26_format=xml",
        "bre.*",
        "bre.%7b%7b7*7%7d%7d",
        "bre." + "a" * 61,
        "bre...",
        "%62re.%2e.",
    ],
)
@pytest.mark.parametrize("where", ["CareTeam/{}", "CareTeam/{}/_history", "CareTeam/bre.c0/_history/{}"])
async def test_a_place_that_is_none_is_not_found_and_not_asked_for(
    there: Regions, place: str, where: str
) -> None:
    with nothing_logged_of(SECRET, NAME):
        answer = await exchange(there.broker.base_url, request("/fhir/" + where.format(place)))
    assert_outcome(answer, 404, "request.not-found")
    assert all(path.startswith("/fhir/CareTeam/c0") for path in _asked(there)), _asked(there)


@pytest.mark.parametrize(
    "place", ["bre.%2e%2e", "%2e%2e", "bre.c0%2f..", "bre.c0%00", "%252e%252e", "nowhere.c0"]
)
async def test_nothing_is_written_to_such_a_place(there: Regions, place: str) -> None:
    answer = await exchange(
        there.broker.base_url, request(f"/fhir/CareTeam/{place}", method="PUT", body=CIRCLE, headers=JSON)
    )
    assert answer.status in (400, 404, 405, 422), answer
    assert not _asked(there)


@pytest.mark.parametrize(
    "path",
    [
        "/registry/gestionnaires/%2e%2e",
        "/registry/gestionnaires/bre%00",
        "/registry/gestionnaires/%252e%252e",
        "/registry/fhir/Organization/..%2f..",
        "/registry/../fhir/CareTeam/nobody",
        "/fhir/../registry/gestionnaires/nobody",
        "/./fhir/CareTeam/nobody",
        "/registry//gestionnaires",
    ],
)
async def test_other_addresses_are_not_climbed_either(there: Regions, path: str) -> None:
    answer = await exchange(there.broker.base_url, request(path))
    assert answer.status == 404
    assert b"Traceback" not in answer.body
    assert not _asked(there)


@pytest.mark.parametrize("name", ["X-Gestionnaire", "If-None-Exist", "If-Match", "Idempotency-Key", "Prefer"])
@pytest.mark.parametrize("value", [b"a\x01b", b"\xff\xfe", b"bre\x7f", b"x" * 2000, "é".encode()])
async def test_headers_are_taken_as_they_are_or_refused_and_never_sent_on(
    there: Regions, name: str, value: bytes
) -> None:
    headers = JSON + name.encode() + b": " + value + b"\r\n"
    with nothing_logged_of(SECRET, NAME):
        answer = await exchange(
            there.broker.base_url, request("/fhir/CareTeam", method="POST", body=CIRCLE, headers=headers)
        )
    assert 400 <= answer.status < 500, answer
    for manager in there.managers.values():
        for one in manager.requests:
            assert all(text.isprintable() for text in one.headers.values())


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "x-gzip", "gzip, gzip", "é", "gzip\r\nContent-Encoding: gzip"]
)
async def test_a_coding_that_is_not_undone_is_refused(there: Regions, coding: str) -> None:
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(b"_count=1") + packer.flush()
    answer = await exchange(there.broker.base_url, form(body, f"Content-Encoding: {coding}\r\n".encode()))
    assert_outcome(answer, 415, "request.content-encoding")
    assert not _asked(there)


@pytest.mark.parametrize("coding", ["identity", "Deflate", "GZIP"])
async def test_one_that_is_undone_is_taken(there: Regions, coding: str) -> None:
    bits = {"deflate": 15, "gzip": 31}.get(coding.lower())
    body = b"_count=1"
    if bits is not None:
        packer = zlib.compressobj(wbits=bits)
        body = packer.compress(body) + packer.flush()
    answer = await exchange(there.broker.base_url, form(body, f"Content-Encoding: {coding}\r\n".encode()))
    assert answer.status == 200
    assert len(answer.json["entry"]) == 1


@pytest.mark.parametrize(
    "path", ["/registry/plan", "/registry/gestionnaires", "/fhir/CareTeam/_search", "/fhir/CareTeam"]
)
async def test_a_body_that_cannot_be_undone_is_malformed_everywhere(there: Regions, path: str) -> None:
    headers = b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n"
    with nothing_logged_of(SECRET):
        answer = await exchange(
            there.broker.base_url, request(path, method="POST", body=SECRET.encode() * 4, headers=headers)
        )
    assert answer.status == 400
    assert b"request.malformed" in answer.body


async def test_an_expectation_in_whatever_bytes(there: Regions) -> None:
    with nothing_logged_of(SECRET):
        answer = await exchange(there.broker.base_url, request("/fhir/CareTeam", headers=b"Expect: \x82\r\n"))
    assert_outcome(answer, 417, "request.expectation")
