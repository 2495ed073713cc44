"""Requests: honest ones of every interaction, spoiled in their method, address, headers or body, and mere bytes."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from tests.fuzz.hostile_json import HOSTILE_TEXTS, any_json, changes, chopped, cuts, spoiled, written
from tests.support.write_world import patient_of

FHIR_JSON, FHIR_XML = "application/fhir+json", "application/fhir+xml"
FORM = "application/x-www-form-urlencoded"
PROFILE = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"

CIRCLE: dict[str, Any] = {
    "resourceType": "CareTeam",
    "meta": {"profile": [PROFILE]},
    "identifier": [{"system": "urn:test:circles", "value": "circle-fuzz"}],
    "status": "active",
    "name": "Cercle de soins",
    "subject": {"reference": "Patient/bre.p1"},
    "period": {"start": "2025-01-01"},
    "participant": [{"member": {"reference": "Organization/bre.o1"}, "period": {"start": "2025-01-01"}}],
    "managingOrganization": [{"reference": "Organization/bre.o1"}],
}
ORGANIZATION: dict[str, Any] = {
    "resourceType": "Organization",
    "identifier": [{"system": "urn:test:structures", "value": "fuzz"}],
    "name": "Structure",
}
PERSON = "urn:uuid:7d9d7fd5-2b7d-4a3c-8e7e-222222222222"
TRANSACTION: dict[str, Any] = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {"fullUrl": PERSON, "resource": patient_of(3), "request": {"method": "POST", "url": "Patient"}},
        {
            "fullUrl": "urn:uuid:7d9d7fd5-2b7d-4a3c-8e7e-111111111111",
            "resource": ORGANIZATION,
            "request": {
                "method": "POST",
                "url": "Organization",
                "ifNoneExist": "identifier=urn:test:structures|fuzz",
            },
        },
        {
            "resource": CIRCLE | {"subject": {"reference": PERSON}},
            "request": {"method": "POST", "url": "CareTeam"},
        },
    ],
}
SUBSCRIPTION: dict[str, Any] = {
    "resourceType": "Subscription",
    "status": "requested",
    "reason": "essai",
    "criteria": "CareTeam?status=active",
    "channel": {"type": "message", "endpoint": "bre", "payload": "application/fhir+json"},
}
MANAGER: dict[str, Any] = {
    "id": "zzz",
    "name": "Essai",
    "region": "53",
    "base_url": "https://zzz.exemple/fhir",
}
BODIES = (CIRCLE, ORGANIZATION, TRANSACTION, SUBSCRIPTION, MANAGER)

_TYPES = (
    "CareTeam",
    "Patient",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
    "Subscription",
)
_PATHS = (
    *(f"/fhir/{one}" for one in _TYPES), "/fhir/CareTeam/_search", "/fhir/CareTeam/bre.c1", "/fhir/Patient/bre.p1",
    "/fhir/CareTeam/bre.c1/_history", "/fhir/CareTeam/_history", "/fhir/CareTeam/bre.c1/_history/1", "/fhir", "/fhir/",
    "/fhir/CareTeam/$locate", "/fhir/metadata", "/fhir/Subscription/x", "/fhir/Subscription/$status",
    "/fhir/Subscription/x/$events", "/registry/gestionnaires", "/registry/gestionnaires/zzz", "/registry/plan",
    "/registry/fhir/Organization", "/registry/fhir/Endpoint/_history", "/registry/fhir/Organization/bre",
    "/registry/locator",
    "/registry/conflicts", "/registry/synchronisation", "/registry/audit", "/registry/openapi.json", "/health/ready",
    "/metrics", "/registry/locator/zzz/crawl", "/registry/gestionnaires/zzz/suspend",
    "/registry/synchronisation/zzz/bootstrap",
)  # fmt: skip
_NAMES = (
    "_id", "status", "start", "end", "category", "participant", "patient", "subject", "identifier", "patient.identifier",
    "patient.family:exact", "patient.birthdate", "participant:RelatedPerson.name", "managingOrganization", "_include",
    "_include:iterate", "_revinclude", "_sort", "_count", "_elements", "_summary", "_total", "_format", "_page", "_since",
    "_lastUpdated", "_has:CareTeam:subject:status", "status:not", "status:missing", "category:in", "after", "client",
    "person",
)  # fmt: skip
_VALUES = (
    "active", "2026-01-01", "ge2026", "bre.c1", "Patient/bre.p1", "CareTeam:subject", "*", "-_lastUpdated,status", "true",
    "count", "accurate", "xml", "json", "5", "0", "urn:oid:1.2.250.1.213.1.4.10|ins-bre", "a,b\\,c", "|", "\\|", "\\",
    "urn:test:circles|circle-bre",
)  # fmt: skip
_HEADERS = (
    "Accept", "Accept-Language", "Accept-Encoding", "Prefer", "If-None-Match", "If-Match", "If-Modified-Since",
    "If-None-Exist", "Via", "X-Request-Id", "X-Gestionnaire", "Idempotency-Key", "Range", "Cookie", "Forwarded", "Expect",
    "X-Forwarded-For", "Authorization", "Content-Encoding", "Transfer-Encoding", "Upgrade", "Connection", "Content-Length",
    "X-SSL-Client-Cert", "Host", "TE", "Trailer", "Origin",
)  # fmt: skip
_HEADER_VALUES = (
    "*/*", FHIR_XML, "handling=strict", "partial=deny", "wait=1", "return=minimal", "uniqueness=accept-risk", 'W/"1"', '"1"',
    "*", "bre", "zzz", "identifier=urn:test:circles|circle-bre", "gzip", "deflate", "br", "gzip, gzip", "chunked",
    "100-continue",
    "websocket", "close", "Upgrade, HTTP2-Settings", "h2c", "bytes=0-1", "en", "fr;q=0.1, en;q=x", "Bearer e.e.e", "key-1",
    "1.1 cds-broker-x", "Sat, 01 Jan 2028 00:00:00 GMT", "-1", "0", "18446744073709551616",
)  # fmt: skip

_texts = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(max_size=12))
_segment = st.one_of(
    st.sampled_from(
        ["CareTeam", "_history", "_search", "bre.c1", "..", ".", "%2e%2e", "%252e%252e", "%00", "%2f", "fhir"]
    ),
    _texts.map(lambda text: quote(text, safe="", errors="surrogatepass")),
)
_paths = st.one_of(
    st.sampled_from(_PATHS),
    st.sampled_from(_PATHS),
    st.tuples(st.sampled_from(_PATHS), st.lists(_segment, min_size=1, max_size=3)).map(
        lambda pair: "/".join((pair[0], *pair[1]))
    ),
    st.lists(_segment, max_size=5).map(lambda parts: "/" + "/".join(parts)),
)
_pairs = st.lists(
    st.tuples(st.one_of(st.sampled_from(_NAMES), _texts), st.one_of(st.sampled_from(_VALUES), _texts)),
    max_size=5,
)
_headers = st.lists(
    st.tuples(
        st.sampled_from(_HEADERS),
        st.one_of(
            st.sampled_from(_HEADER_VALUES),
            st.sampled_from(_HEADER_VALUES),
            st.binary(max_size=20).map(
                lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").decode("latin-1")
            ),
        ),
    ),
    max_size=4,
)
_json_bodies = st.one_of(
    st.tuples(st.sampled_from(BODIES), changes).map(lambda pair: written(spoiled(*pair))),
    any_json.map(written),
)
_XML = (
    '<CareTeam xmlns="http://hl7.org/fhir"><id value="x"/><status value="active"/>'
    '<subject><reference value="Patient/bre.p1"/>'
    "</subject></CareTeam>"
)
_xml_bodies = st.one_of(
    st.just(_XML.encode()),
    st.just(b'<!DOCTYPE a [<!ENTITY b "c">]>' + _XML.encode().replace(b"active", b"&b;")),
    st.just(b'<?xml version="1.0" encoding="utf-16"?>' + _XML.encode()),
    st.just(
        b'<CareTeam xmlns="http://hl7.org/fhir">'
        + b"<extension>" * 200
        + b"</extension>" * 200
        + b"</CareTeam>"
    ),
    st.just(_XML.replace("http://hl7.org/fhir", "urn:other").encode()),
    st.just(
        _XML.replace(
            "<id ", "<text><div xmlns='http://www.w3.org/1999/xhtml'><b>x</b></div></text><id "
        ).encode()
    ),
)
_bodies = st.tuples(
    st.one_of(
        _json_bodies.map(lambda body: (FHIR_JSON, body)),
        _json_bodies.map(lambda body: ("application/json", body)),
        _xml_bodies.map(lambda body: (FHIR_XML, body)),
        _pairs.map(lambda pairs: (FORM, _query(pairs).encode())),
        st.binary(max_size=40).map(lambda body: ("text/plain; charset=utf-7", body)),
    ),
    cuts,
    st.booleans(),
).map(lambda made: _body(*made))


@dataclass(frozen=True)
class Thrown:
    """A request as bytes. `whole`: it is a well-formed HTTP request, so that an answer is due."""

    data: bytes
    whole: bool


def _query(pairs: list[tuple[str, str]]) -> str:
    def quoted(text: str) -> str:
        return quote(text, safe="", errors="surrogatepass")

    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in pairs)


def _body(typed: tuple[str, bytes], wanted: Any, folded: bool) -> tuple[str, bytes, bool]:
    kind, body = typed
    body = chopped(body, wanted)
    return kind, gzip.compress(body, 1) if folded else body, folded


def _request(
    method: str,
    path: str,
    pairs: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: tuple[str, bytes, bool] | None,
    bytes_changed: Any,
) -> Thrown:
    query = _query(pairs)
    lines = [
        f"{method} {path}{'?' + query if query else ''} HTTP/1.1",
        "Host: x",
        "Connection: close",
        "Prefer: wait=2",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    content = b""
    if body is not None:
        kind, content, folded = body
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
        lines += ["Content-Encoding: gzip"] if folded else []
    data = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + content
    framing = {
        "Transfer-Encoding",
        "Content-Length",
        "Content-Encoding",
        "Expect",
        "Connection",
        "Host",
        "Upgrade",
    }
    whole = not bytes_changed and not any(
        name in framing or not value.isprintable() or not value.isascii() for name, value in headers
    )
    return Thrown(chopped(data, bytes_changed), whole)


requests = st.builds(
    _request,
    st.sampled_from(
        ["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT"]
    ),
    _paths,
    _pairs,
    _headers,
    st.one_of(st.none(), _bodies),
    st.one_of(st.just([]), st.just([]), cuts),
)
written_requests = st.builds(
    _request,
    st.sampled_from(["POST", "PUT"]),
    st.sampled_from(
        ["/fhir/CareTeam", "/fhir/Organization", "/fhir", "/fhir/CareTeam/bre.c1", "/fhir/Organization/bre.o1",
         "/fhir/Subscription", "/registry/plan", "/registry/gestionnaires", "/registry/gestionnaires/zzz"]
    ),
    st.just([]),
    st.one_of(st.just([]), st.just([("X-Gestionnaire", "bre")]), _headers),
    _bodies,
    st.just([]),
)  # fmt: skip
mere_bytes = st.binary(max_size=200).map(lambda data: Thrown(data, whole=False))
volleys = st.lists(st.one_of(requests, requests, written_requests, mere_bytes), min_size=12, max_size=32)
"""Requests that are thrown at once: some of them are answered only when their time is over."""
