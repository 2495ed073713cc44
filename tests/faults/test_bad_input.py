"""What bad input gets: an OperationOutcome with the right status, in two languages, that repeats nothing of a person.

Requests go over raw sockets, so that nothing is mended on the way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import string
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from broker.core.messages import MESSAGES
from registry.redis_keys import RedisKeys
from tests.support.examples import examples
from tests.support.federation import federation, link, outcome_codes
from tests.support.fhir_builders import INS_TEST
from tests.support.regions import Regions, assert_told, ins, issues, regions
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until

SECRET = ins(4)
NAME = "Exemplaire-Dupont"
FORM = "application/x-www-form-urlencoded"
MAX_REQUEST = 100_000


@dataclass(frozen=True)
class Raw:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


async def exchange(base_url: str, data: bytes) -> Raw:
    """Send bytes, read to the end of the connection."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            received = await reader.read()
    finally:
        writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Raw(int(lines[0].split()[1]), headers, body)


def request(
    target: bytes | str, *, method: str = "GET", body: bytes | None = None, headers: bytes = b""
) -> bytes:
    """A request that asks for the connection to be closed after it."""
    raw = target.encode() if isinstance(target, str) else target
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return (
        method.encode() + b" " + raw + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + length
    ) + (b"\r\n" + (body or b""))


@pytest.fixture
async def there(valkey: Valkey) -> AsyncIterator[Regions]:
    async with regions(valkey, size=6, max_request_bytes=MAX_REQUEST) as made:
        yield made


@contextmanager
def nothing_logged_of(*secrets: str) -> Iterator[None]:
    """No log line of whatever level names a person, and none holds a traceback."""
    lines: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    formatter = logging.Formatter()
    handler.emit = lambda record: lines.append(formatter.format(record))  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    said = "\n".join(lines)
    assert "Traceback" not in said, said
    assert not [secret for secret in secrets if secret in said], said


def assert_outcome(answer: Raw, status: int, key: str, parameter: str | None = None) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/fhir+json; charset=utf-8"
    assert answer.json["resourceType"] == "OperationOutcome"
    (issue,) = issues(answer.json)
    assert_told(issue, key, None)
    assert issue["severity"] in ("error", "fatal")
    assert MESSAGES[key].status == status
    if parameter is not None:
        assert parameter in issue["details"]["text"]
    for secret in (SECRET, NAME, "Traceback", 'File "', "aiohttp"):
        assert secret not in answer.body.decode()


# --- values


BAD_VALUES = [
    ("start=yesterday", "start"),
    ("start=2026-13-01", "start"),
    ("start=2026-02-30", "start"),
    ("start=zz2026", "start"),
    ("start=٢٠٢٦", "start"),
    ("end=2026-01-01T99:00", "end"),
    ("_lastUpdated=now", "_lastUpdated"),
    ("status=a|b|c", "status"),
    ("identifier=|", "identifier"),
    (f"patient={SECRET}|x y", "patient"),
    ("patient=Nobody/../1", "patient"),
    ("patient:Patient=Organization/1", "patient"),
    ("_id=a/b", "_id"),
    (f"_id={'a' * 65}", "_id"),
    ("status:missing=perhaps", "status"),
    ("_count=many", "_count"),
    ("_count=-1", "_count"),
    ("_count=1.5", "_count"),
    ("_count=" + "9" * 40, "_count"),
    ("_count=٣", "_count"),
    ("_sort=-", "_sort"),
    ("_sort=,", "_sort"),
    ("_summary=maybe", "_summary"),
    ("_total=yes", "_total"),
    ("_elements=a b", "_elements"),
    ("_include=CareTeam", "_include"),
    ("_include=a:b:c:d", "_include"),
    ("status=%00", "status"),
    ("status=%FF%FE", "status"),
    ("status=%ED%A0%80", "status"),
    ("patient.family=%00", "patient.family"),
    ("patient.birthdate=" + NAME, "patient.birthdate"),
    ("participant-start=" + SECRET, "participant-start"),
]


@pytest.mark.parametrize(("query", "parameter"), BAD_VALUES, ids=[one[0][:40] for one in BAD_VALUES])
async def test_a_malformed_value_names_its_parameter_and_is_not_repeated(
    there: Regions, query: str, parameter: str
) -> None:
    safe = quote(query, safe="=&%|:/.,-_")
    with nothing_logged_of(SECRET, NAME):
        got = await exchange(there.broker.base_url, request(f"/fhir/CareTeam?{safe}"))
        posted = await exchange(
            there.broker.base_url,
            request(
                "/fhir/CareTeam/_search",
                method="POST",
                body=safe.encode(),
                headers=f"Content-Type: {FORM}\r\n".encode(),
            ),
        )
    for answer in (got, posted):
        assert_outcome(answer, 400, "request.bad-value", parameter)
    assert all(not manager.requests for manager in there.managers.values()), "nobody was asked"


async def test_unknown_modifiers_chains_and_parameters(there: Regions) -> None:
    base = there.broker.base_url
    for query, key, parameter in (
        ("status:blue=x", "request.unknown-modifier", "status"),
        ("_count:exact=1", "request.unknown-modifier", "_count"),
        ("_include:once=CareTeam:subject", "request.unknown-modifier", "_include"),
        ("patient:Organization=1", "request.unknown-modifier", "patient"),
        ("patient.colour=x", "request.bad-chain", "patient.colour"),
        ("status.x=y", "request.bad-chain", "status.x"),
        ("participant.name=x", "request.bad-chain", "participant.name"),
        ("patient." * 6 + "family=x", "request.bad-chain", "patient"),
    ):
        assert_outcome(await exchange(base, request(f"/fhir/CareTeam?{query}")), 400, key, parameter)
    lenient = await exchange(base, request(f"/fhir/CareTeam?colour={NAME}&%FF=1&_count=1"))
    assert lenient.status == 200
    assert link(lenient.json, "self") == f"{base}/CareTeam?_count=1"
    strict = b"Prefer: handling=strict\r\n"
    for target in (f"/fhir/CareTeam?colour={NAME}", f"/fhir/CareTeam/_history?colour={NAME}"):
        answer = await exchange(base, request(target, headers=strict))
        assert_outcome(answer, 400, "request.unknown-parameter", "colour")
    # A name may hold a person's number too: it is not repeated either.
    answer = await exchange(base, request(f"/fhir/CareTeam?x{SECRET}{quote('<b>')}=1", headers=strict))
    assert_outcome(answer, 400, "request.unknown-parameter")
    assert b"<b>" not in answer.body


@pytest.mark.parametrize("count", ["0", "many", "-1", "1e3", "9" * 30, ""])
async def test_bad_counts_of_histories(there: Regions, count: str) -> None:
    answer = await exchange(there.broker.base_url, request(f"/fhir/CareTeam/_history?_count={count}"))
    assert_outcome(answer, 400, "request.bad-value", "_count")


@pytest.mark.parametrize("since", [NAME, "2026-13", "ge2026", "%FF", "%00", SECRET])
async def test_bad_instants_of_histories(there: Regions, since: str) -> None:
    answer = await exchange(there.broker.base_url, request(f"/fhir/CareTeam/_history?_since={since}"))
    assert_outcome(answer, 400, "request.bad-value", "_since")


@pytest.mark.parametrize(
    ("prefer", "name"),
    [("handling=loose", "handling"), ("partial=some", "partial"), ("wait=soon", "wait"), ("wait=-1", "wait")],
)
async def test_bad_preferences(there: Regions, prefer: str, name: str) -> None:
    answer = await exchange(
        there.broker.base_url, request("/fhir/CareTeam", headers=f"Prefer: {prefer}\r\n".encode())
    )
    assert_outcome(answer, 400, "request.bad-preference", name)


async def test_too_many_parameters(there: Regions) -> None:
    base, many = there.broker.base_url, "&".join(["status=active"] * 101)
    assert_outcome(
        await exchange(base, request(f"/fhir/CareTeam?{many}")), 400, "request.too-many-parameters", "100"
    )
    form = request(
        "/fhir/CareTeam/_search",
        method="POST",
        body=many.encode(),
        headers=f"Content-Type: {FORM}\r\n".encode(),
    )
    assert_outcome(await exchange(base, form), 400, "request.too-many-parameters")


# --- formats


@pytest.mark.parametrize("target", ["CareTeam", "CareTeam/bre.c0", "CareTeam/_history", "metadata"])
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?_format=pdf", b""),
        ("?_format=%FF", b""),
        ("?_format=application/fhir%2Bjson;fhirVersion=3.0", b""),
        ("", b"Accept: text/csv\r\n"),
        ("", b"Accept: application/fhir+json;q=0\r\n"),
        ("", b"Accept: \xff/\xfe\r\n"),
    ],
)
async def test_formats_that_are_not_offered(there: Regions, target: str, query: str, headers: bytes) -> None:
    answer = await exchange(there.broker.base_url, request(f"/fhir/{target}{query}", headers=headers))
    assert_outcome(answer, 406, "request.format")


async def test_errors_speak_the_clients_format_and_language(there: Regions) -> None:
    asked = b"Accept: application/fhir+xml\r\nAccept-Language: en-GB, fr;q=0.3\r\n"
    answer = await exchange(there.broker.base_url, request("/fhir/CareTeam?start=x", headers=asked))
    assert answer.headers["content-type"].startswith("application/fhir+xml")
    root = etree.fromstring(answer.body)
    text = root.find(".//{http://hl7.org/fhir}details/{http://hl7.org/fhir}text")
    assert text is not None
    assert text.get("value", "").startswith("Malformed value for parameter start")
    assert b"Valeur mal form" in answer.body


# --- page links


async def test_forged_foreign_and_misplaced_page_links(there: Regions, valkey: Valkey) -> None:
    base = there.broker.base_url
    first = await exchange(base, request("/fhir/CareTeam?_count=2"))
    token = str(link(first.json, "next")).partition("_page=")[2]
    forged = [
        "",
        "x",
        "A" * len(token),
        token[:-4],
        token + "AAAA",
        token[::-1],
        ("A" if token[0] != "A" else "B") + token[1:],
        token[:40] + ("A" if token[40] != "A" else "B") + token[41:],
        quote(token + "é"),
        "%FF%00",
        token.swapcase(),
    ]
    for one in forged:
        for path in ("CareTeam", "CareTeam/_history", "CareTeam/bre.c0/_history"):
            assert_outcome(await exchange(base, request(f"/fhir/{path}?_page={one}")), 400, "page.forged")
    for path in ("Patient", "CareTeam/_history", "CareTeam/bre.c0/_history"):
        assert_outcome(await exchange(base, request(f"/fhir/{path}?_page={token}")), 400, "page.forged")
    history = await exchange(base, request("/fhir/CareTeam/_history?_count=2"))
    other = str(link(history.json, "next")).partition("_page=")[2]
    for path in ("CareTeam", "CareTeam/bre.c0/_history"):
        assert_outcome(await exchange(base, request(f"/fhir/{path}?_page={other}")), 400, "page.forged")
    # Another federation, on the same store, with a secret of its own.
    manager = there.managers["bre"].gestionnaire("bre")
    async with federation(valkey, manager, secret=b"another secret, as long") as foreign:
        answer = await exchange(foreign.base_url, request(f"/fhir/CareTeam?_page={token}"))
        assert_outcome(answer, 400, "page.forged")
    assert (await exchange(base, request(f"/fhir/CareTeam?_page={token}"))).status == 200


async def test_an_expired_link_is_gone_and_not_forged(valkey: Valkey) -> None:
    async with regions(valkey, size=6, page_ttl=1) as there:
        first = await there.broker.bundle("CareTeam?_count=2")
        target = "/fhir/" + str(link(first, "next")).partition("/fhir/")[2]

        async def gone() -> bool:
            return (await exchange(there.broker.base_url, request(target))).status == 410

        await until(gone)
        assert_outcome(await exchange(there.broker.base_url, request(target)), 410, "page.expired")


# --- addresses and methods


@pytest.mark.parametrize(
    "path",
    [
        b"/fhir/CareTeam/..%2f..",
        b"/fhir/CareTeam/%2e%2e",
        b"/fhir/CareTeam/bre.%2e%2e%2fadmin",
        b"/fhir/CareTeam/bre.c0%2f_history",
        b"/fhir/CareTeam/bre.c0/_history/..%2f1",
        b"/fhir/CareTeam/bre.c0/_history/%00",
        b"/fhir/CareTeam/%00",
        b"/fhir/CareTeam/%ff%fe",
        b"/fhir/CareTeam/bre.c0%0d%0aX-Evil:1",
        b"/fhir/CareTeam/bre.c0%3f_format=xml",
        b"/fhir/CareTeam/..",
        b"/fhir/CareTeam/bre..",
        b"/fhir/CareTeam/bre.",
        b"/fhir/CareTeam/.c0",
        b"/fhir/CareTeam/BRE.c0",
        b"/fhir/CareTeam/nowhere.c0",
        b"/fhir/CareTeam/bre.nobody",
        b"/fhir/CareTeam/" + b"a" * 5000,
        b"/fhir/CareTeam/",
        b"/fhir/CareTeam//",
        b"/fhir//CareTeam",
        b"/fhir/CareTeam;x=1",
        b"/fhir/%2e%2e/registry/gestionnaires",
        b"/fhir%2fCareTeam/",
        b"/fhir/../fhir/Basic",
        b"/fhir/Basic",
        b"/fhir/Basic/1",
        b"/fhir/Patient/_history",
        b"/fhir/%20CareTeam",
        b"/fhir/CareTeam/a/b/c/d/e",
    ],
)
async def test_addresses_that_lead_nowhere(there: Regions, path: bytes) -> None:
    answer = await exchange(there.broker.base_url, request(path))
    if path == b"/fhir%2fCareTeam/":
        assert answer.status == 404, "no address of this service"
        return
    assert_outcome(answer, 404, "request.not-found")
    assert all(
        re.fullmatch(r"CareTeam/nobody", one.path)
        for manager in there.managers.values()
        for one in manager.requests
    ), "nothing but a well-formed id reaches a manager"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/fhir", {"POST"}),
        ("GET", "/fhir/", {"POST"}),
        ("DELETE", "/fhir/CareTeam/bre.c0", {"GET", "HEAD"}),
        ("PATCH", "/fhir/CareTeam/bre.c0", {"GET", "HEAD"}),
        ("PUT", "/fhir/CareTeam", {"GET", "HEAD"}),
        ("PUT", "/fhir/CareTeam/_search", {"POST"}),
        ("TRACE", "/fhir/CareTeam", {"GET", "HEAD"}),
        ("OPTIONS", "/fhir/CareTeam", {"GET", "HEAD"}),
        ("POST", "/fhir/metadata", {"GET", "HEAD"}),
        ("DELETE", "/fhir/CareTeam/bre.c0/_history/1", {"GET", "HEAD"}),
    ],
)
async def test_methods_that_are_not_offered(there: Regions, method: str, path: str, allow: set[str]) -> None:
    body = json.dumps({"resourceType": "CareTeam", "name": NAME}).encode()
    answer = await exchange(
        there.broker.base_url,
        request(path, method=method, body=body, headers=b"Content-Type: application/fhir+json\r\n"),
    )
    assert_outcome(answer, 405, "request.method")
    assert allow <= {one.strip() for one in answer.headers["allow"].split(",")}
    assert all(not manager.requests for manager in there.managers.values())


# --- bodies


@pytest.mark.parametrize(
    "content_type",
    [
        "application/fhir+json",
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencodedx",
        "",
        None,
    ],
)
async def test_a_search_that_is_no_form(there: Regions, content_type: str | None) -> None:
    headers = b"" if content_type is None else f"Content-Type: {content_type}\r\n".encode()
    body = b"patient.identifier=" + SECRET.encode()
    answer = await exchange(
        there.broker.base_url, request("/fhir/CareTeam/_search", method="POST", body=body, headers=headers)
    )
    assert_outcome(answer, 415, "request.content-type")


def form(body: bytes, more: bytes = b"") -> bytes:
    headers = f"Content-Type: {FORM}\r\n".encode() + more
    return request("/fhir/CareTeam/_search", method="POST", body=body, headers=headers)


async def test_oversized_bodies_also_those_that_unfold(there: Regions) -> None:
    base = there.broker.base_url
    limit = str(MAX_REQUEST)
    big = b"status=" + b"a" * MAX_REQUEST
    assert_outcome(await exchange(base, form(big)), 413, "request.too-large", limit)
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(b"a" * (20 << 20)) + packer.flush()
    folded = await exchange(base, form(bomb, b"Content-Encoding: gzip\r\n"))
    assert_outcome(folded, 413, "request.too-large", limit)
    chunks = b"".join(b"4000\r\n" + b"a" * 0x4000 + b"\r\n" for _ in range(10)) + b"0\r\n\r\n"
    head = f"POST /fhir/CareTeam/_search HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {FORM}\r\n"
    answer = await exchange(base, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert_outcome(answer, 413, "request.too-large", limit)


async def test_a_form_may_be_compressed_and_one_that_is_not_what_it_says_is_malformed(there: Regions) -> None:
    packer = zlib.compressobj(wbits=31)
    good = packer.compress(b"_count=1") + packer.flush()
    answer = await exchange(there.broker.base_url, form(good, b"Content-Encoding: gzip\r\n"))
    assert answer.status == 200
    assert len(answer.json["entry"]) == 1
    with nothing_logged_of(SECRET):
        answer = await exchange(
            there.broker.base_url, form(SECRET.encode() * 4, b"Content-Encoding: gzip\r\n")
        )
        assert_outcome(answer, 400, "request.malformed")


# --- HTTP itself


SECRETLY = f"/fhir/CareTeam?patient.identifier={INS_TEST}|{SECRET}&patient.family={NAME}".encode()
HEAD = b"Host: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("data", "status", "key"),
    [
        (request(SECRETLY + b"&x=" + b"a" * 70_000), 414, "limit.line"),
        (request(SECRETLY, headers=b"X-Long: " + b"a" * 70_000 + b"\r\n"), 431, "limit.header"),
        (
            request(SECRETLY, headers=b"".join(b"X%d: 1\r\n" % n for n in range(2000))),
            431,
            "limit.headers",
        ),
        (request(SECRETLY + b"\xff"), 400, "request.malformed"),
        (request(SECRETLY.lstrip(b"/")), 400, "request.malformed"),
        (request(SECRETLY, method="FETCH"), 400, "request.malformed"),
        (b"GET " + SECRETLY + b" HTTP/3.0\r\n" + HEAD + b"\r\n", 400, "request.malformed"),
        (b"GET " + SECRETLY + b" HTTP/1.1\r\n\r\n", 400, "request.malformed"),
        (request(SECRETLY, headers=b"X-Request-Id: a\x00b\r\n"), 400, "request.malformed"),
        (request(SECRETLY, headers=b"X-Request-Id: a\rX-Evil: 1\r\n"), 400, "request.malformed"),
        (request(SECRETLY, headers=b"no colon\r\n"), 400, "request.malformed"),
        (request(SECRETLY, headers=b"Content-Length: -1\r\n"), 400, "request.malformed"),
        (request(SECRETLY, headers=b"Content-Length: 3\r\nContent-Length: 4\r\n"), 400, "request.malformed"),
        (
            request(SECRETLY, headers=b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
            400,
            "request.malformed",
        ),
        (request(SECRETLY, headers=b"Expect: " + NAME.encode() + b"\r\n"), 417, "request.expectation"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "request.malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "request.malformed"),
        (
            b"POST /fhir/CareTeam/_search HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nx",
            400,
            "request.malformed",
        ),
    ],
    ids=[
        "long line",
        "long header",
        "many headers",
        "raw bytes in the address",
        "no slash",
        "unknown method",
        "HTTP/3",
        "no host",
        "NUL in a header",
        "CR in a header",
        "no header",
        "negative length",
        "two lengths",
        "length and chunks",
        "expectation",
        "TLS",
        "HTTP/2",
        "bad chunk",
    ],
)
async def test_what_is_no_http_is_answered_all_the_same_and_goes_into_no_log(
    there: Regions, data: bytes, status: int, key: str
) -> None:
    with nothing_logged_of(SECRET, NAME):
        assert_outcome(await exchange(there.broker.base_url, data), status, key)
    assert (await exchange(there.broker.base_url, request("/fhir/CareTeam"))).status == 200


@pytest.mark.parametrize(
    "given",
    ["a b", "a<script>", "é", "a" * 65, "a;b", "%0d%0aX-Evil: 1", "", "a\tb", SECRET + "/" + NAME],
)
async def test_a_request_id_that_is_not_harmless_is_replaced(there: Regions, given: str) -> None:
    line = b"X-Request-Id: " + given.encode() + b"\r\n"
    for target in ("/fhir/CareTeam", "/fhir/CareTeam?start=x"):
        answer = await exchange(there.broker.base_url, request(target, headers=line))
        echoed = answer.headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", echoed)
        assert "x-evil" not in answer.headers
    sent = {one.headers["x-request-id"] for m in there.managers.values() for one in m.requests}
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in sent), "nor is it sent on"
    kept = await exchange(
        there.broker.base_url, request("/fhir/CareTeam", headers=b"X-Request-Id: ab-1.c\r\n")
    )
    assert kept.headers["x-request-id"] == "ab-1.c"


@pytest.mark.parametrize(
    "via",
    [
        b"1.1 cds-broker-\xc3\xa9",
        b"1.1 cds-broker-\xff",
        b"cds-broker-, ,,",
        b"1.1 cds-broker-" + b"a" * 5000,
    ],
)
async def test_a_via_that_no_broker_writes_is_not_sent_on(there: Regions, via: bytes) -> None:
    answer = await exchange(
        there.broker.base_url, request("/fhir/CareTeam", headers=b"Via: " + via + b"\r\n")
    )
    assert answer.status == 200
    assert outcome_codes(answer.json) == []
    for manager in there.managers.values():
        for one in manager.requests:
            assert len(one.headers["via"]) < 300


async def test_a_loop_of_brokers_is_refused(there: Regions) -> None:
    await exchange(there.broker.base_url, request("/fhir/CareTeam"))
    own = there.managers["bre"].requests[-1].headers["via"]
    for via in (own, f"1.0 proxy, {own} (comment)", ", ".join(f"1.1 cds-broker-{n}" for n in range(5))):
        answer = await exchange(
            there.broker.base_url, request("/fhir/CareTeam", headers=f"Via: {via}\r\n".encode())
        )
        assert_outcome(answer, 508, "federation.loop")


@pytest.mark.parametrize("name", ["If-None-Match", "If-Modified-Since"])
@pytest.mark.parametrize("value", [b"\xff", b"W/", b"\xc3\xa9", b"x" * 5000, b"*"])
async def test_conditions_that_nobody_understands(there: Regions, name: str, value: bytes) -> None:
    headers = name.encode() + b": " + value + b"\r\n"
    answer = await exchange(there.broker.base_url, request("/fhir/CareTeam/bre.c0", headers=headers))
    assert answer.status in (200, 304, 400)
    assert answer.status == 304 or answer.json["resourceType"] in ("CareTeam", "OperationOutcome")


# --- anything at all


ALLOWED = {200, 400, 404, 405, 406, 408, 410, 413, 414, 415, 417, 429, 431, 501, 502, 503, 504, 508}
_NAMES = [
    "_id", "status", "start", "end", "date", "category", "participant", "patient", "subject", "identifier",
    "patient.identifier", "patient.family:exact", "participant:RelatedPerson.name", "managingOrganization",
    "_include", "_include:iterate", "_revinclude", "_sort", "_count", "_elements", "_summary", "_total",
    "_format", "_page", "_tag", "_source", "_lastUpdated", "_since", "CDSCareTeamStart",
]  # fmt: skip
_VALUES = [
    "active", "2026-01-01", "ge2026", "bre.c0", "Patient/bre.p0", "CareTeam:subject", "*", "-_lastUpdated",
    "name", "true", "count", "accurate", "xml", "json", "5", "0", f"{INS_TEST}|{SECRET}", "a,b\\,c", "|", "\\|",
]  # fmt: skip
_HEADERS = [
    "Accept", "Accept-Language", "Accept-Encoding", "Accept-Charset", "Prefer", "If-None-Match", "Via",
    "If-Modified-Since", "X-Request-Id", "Content-Type", "Range", "Cookie", "Forwarded", "X-Gestionnaire",
]  # fmt: skip
_printable = string.printable.replace("\r", "").replace("\n", "").replace("\x0b", "").replace("\x0c", "")
_any_text = st.text(max_size=30)
_paths = st.one_of(
    st.sampled_from(
        [
            "CareTeam",
            "CareTeam/_search",
            "CareTeam/_history",
            "CareTeam/bre.c0",
            "CareTeam/bre.c0/_history",
            "Patient",
            "metadata",
            "CareTeam/bre.c0/_history/1",
            "Organization",
            "/",
        ]
    ),
    st.lists(st.one_of(st.just("CareTeam"), st.just("_history"), _any_text), max_size=5).map("/".join),
)
_pairs = st.lists(
    st.tuples(st.one_of(st.sampled_from(_NAMES), _any_text), st.one_of(st.sampled_from(_VALUES), _any_text)),
    max_size=6,
)
_headers = st.lists(
    st.tuples(
        st.sampled_from(_HEADERS),
        st.one_of(
            st.sampled_from(
                ["*/*", "application/fhir+xml", "handling=strict", "partial=deny", "wait=1", FORM, "gzip"]
            ),
            st.text(_printable, max_size=30).map(lambda text: text.strip()),
            st.binary(max_size=15).map(
                lambda raw: re.sub(rb"[\x00-\x08\n-\x1f\x7f]", b"", raw).decode("latin-1")
            ),
        ),
    ),
    max_size=4,
)


def test_anything_at_all_gets_a_bundle_or_an_outcome_and_never_a_500(valkey_server: ValkeyServer) -> None:
    valkey = Valkey(valkey_server.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
    with asyncio.Runner() as runner:
        context = regions(valkey, size=6, max_request_bytes=MAX_REQUEST)
        there = runner.run(context.__aenter__())
        try:
            _throw_at(runner, there)
        finally:
            runner.run(context.__aexit__(None, None, None))


def _throw_at(runner: asyncio.Runner, there: Regions) -> None:
    @settings(
        max_examples=examples(200),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(
        st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"]),
        _paths,
        _pairs,
        _headers,
    )
    @example("GET", "CareTeam", [("_sort", "status"), ("_count", "2")], [("Via", "1.1 cds-broker-é")])
    @example("POST", "CareTeam/_search", [("status", "active")], [("Content-Type", FORM)])
    def throw(method: str, path: str, pairs: list[tuple[str, str]], headers: list[tuple[str, str]]) -> None:
        text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)
        lines = b"".join(f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in headers)
        lines = lines + b"Prefer: wait=2\r\n"
        address = f"/fhir/{quote(path, safe='/', errors='surrogatepass')}"
        if method == "POST":
            data = request(address, method=method, body=text.encode(), headers=lines)
        else:
            data = request(f"{address}?{text}", method=method, headers=lines)
        answer = runner.run(exchange(there.broker.base_url, data))
        _is_fhir(answer, method)

    throw()


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _is_fhir(answer: Raw, method: str) -> None:
    assert answer.status in ALLOWED | {304}, answer
    assert b"Traceback" not in answer.body
    if method == "HEAD" or answer.status == 304:
        return
    body = answer.body
    if answer.headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    if answer.headers.get("content-encoding") == "gzip":
        body = zlib.decompress(body, wbits=31)
    elif answer.headers.get("content-encoding") == "deflate":
        body = zlib.decompress(body)
    if "xml" in answer.headers["content-type"]:
        kind = etree.QName(etree.fromstring(body)).localname
    else:
        kind = json.loads(body)["resourceType"]
    assert answer.headers["content-type"].startswith("application/fhir+")
    if answer.status == 200:
        assert kind in ("Bundle", "CareTeam", "CapabilityStatement")
    else:
        assert kind == "OperationOutcome"
        assert SECRET.encode() not in body


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + rest[:length], rest[length + 2 :]
        if length == 0:
            break
    return whole
