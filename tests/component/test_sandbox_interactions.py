"""Create, read, update, delete and history of a sandbox over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import pytest

from adapters.sandbox.options import SandboxOptions
from tests.support.fake_clock import FakeClock
from tests.support.sandbox_http import Box, boxed

ORGANIZATION: dict[str, Any] = {
    "resourceType": "Organization",
    "name": "Maison de santé",
    "identifier": [{"system": "https://finess.esante.gouv.fr", "value": "350000001"}],
}
CIRCLE: dict[str, Any] = {
    "resourceType": "CareTeam",
    "identifier": [{"system": "s", "value": "1"}],
    "status": "active",
    "name": "Cercle",
    "subject": {"reference": "Patient/1"},
    "period": {"start": "2024-01-01"},
}


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    async with boxed(clock=FakeClock(), options=SandboxOptions(allow_delete=True)) as running:
        yield running


async def created(box: Box, resource: dict[str, Any] = ORGANIZATION) -> str:
    reply = await box.send("POST", resource["resourceType"], body=resource)
    assert reply.status == 201
    return f"{resource['resourceType']}/{reply.json['id']}"


# --- create, update


async def test_create(box: Box) -> None:
    reply = await box.send("POST", "Organization", body=ORGANIZATION | {"id": "mine"})
    identity = reply.json["id"]
    assert reply.status == 201
    assert identity != "mine"
    assert reply.headers["location"] == f"{box.base_url}/Organization/{identity}/_history/1"
    assert reply.headers["etag"] == 'W/"1"'
    assert parsedate_to_datetime(reply.headers["last-modified"]).year == 2026
    assert reply.json["meta"] == {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00.000Z"}
    assert (await box.get(f"Organization/{identity}")).body == reply.body


@pytest.mark.parametrize(
    ("preference", "body"),
    [("minimal", None), ("representation", "Organization"), ("OperationOutcome", "OperationOutcome")],
)
async def test_return_preferences(box: Box, preference: str, body: str | None) -> None:
    headers = {"Prefer": f"return={preference}"}
    for reply in (
        await box.send("POST", "Organization", body=ORGANIZATION, headers=headers),
        await box.send("PUT", "Organization/x", body=ORGANIZATION | {"id": "x"}, headers=headers),
    ):
        assert reply.status == 201
        assert (reply.json["resourceType"] if reply.body else None) == body
        assert reply.headers["location"]


async def test_update_makes_versions(box: Box) -> None:
    path = await created(box)
    identity = path.partition("/")[2]
    reply = await box.send(
        "PUT", path, body=ORGANIZATION | {"id": identity, "name": "B"}, headers={"If-Match": 'W/"1"'}
    )
    assert (reply.status, reply.headers["etag"], reply.json["meta"]["versionId"]) == (200, 'W/"2"', "2")
    assert "location" not in reply.headers
    assert (await box.get(f"{path}/_history/1")).json["name"] == "Maison de santé"
    assert (await box.get(f"{path}/_history/2")).json["name"] == "B"
    assert (await box.get(f"{path}/_history/3")).status == 404
    late = await box.send("PUT", path, body=ORGANIZATION | {"id": identity}, headers={"If-Match": 'W/"1"'})
    assert (late.status, late.issues) == (412, ["request.precondition"])
    assert (await box.get(path)).json["name"] == "B"


async def test_update_as_create(box: Box) -> None:
    reply = await box.send("PUT", "Organization/o.1-A", body=ORGANIZATION | {"id": "o.1-A"})
    assert (reply.status, reply.headers["location"]) == (201, f"{box.base_url}/Organization/o.1-A/_history/1")
    guarded = await box.send(
        "PUT", "Organization/new", body=ORGANIZATION | {"id": "new"}, headers={"If-Match": "*"}
    )
    assert guarded.status == 412


@pytest.mark.parametrize(
    ("path", "body", "status", "issue"),
    [
        ("Organization/a", ORGANIZATION | {"id": "b"}, 400, "request.id-mismatch"),
        ("Organization/a", ORGANIZATION, 400, "request.id-mismatch"),
        ("Organization/a_b", ORGANIZATION | {"id": "a_b"}, 400, "request.bad-id"),
        ("Organization/a", {"resourceType": "Patient", "id": "a"}, 400, "request.wrong-type"),
        ("CareTeam/a", CIRCLE | {"id": "a", "identifier": []}, 422, "request.missing-element"),
        ("CareTeam/a", CIRCLE | {"id": "a", "identifier": [{"value": "1"}, {"value": "2"}]}, 422, "request.missing-element"),
        ("CareTeam/a", CIRCLE | {"id": "a", "subject": {"reference": "Group/1"}}, 422, "request.missing-element"),
        ("CareTeam/a", CIRCLE | {"id": "a", "participant": [{"member": {"reference": "Patient/1"}}]}, 422,
         "request.missing-element"),
        ("CareTeam/a", CIRCLE | {"id": "a", "participant": [{"member": {"reference": "Organization/1"}, "period": {}}]}, 422,
         "request.missing-element"),
        ("Basic/a", {"resourceType": "Basic", "id": "a"}, 404, "request.unknown-type"),
        ("Organization/a", b"{", 400, "request.bad-resource"),
    ],
)  # fmt: skip
async def test_refused_writes_change_nothing(box: Box, path: str, body: Any, status: int, issue: str) -> None:
    reply = await box.send("PUT", path, body=body)
    assert (reply.status, reply.issues) == (status, [issue])
    assert (await box.get(path)).status == 404


async def test_conditional_create(box: Box) -> None:
    condition = {"If-None-Exist": "identifier=https://finess.esante.gouv.fr|350000001"}
    first = await box.send("POST", "Organization", body=ORGANIZATION, headers=condition)
    again = await box.send("POST", "Organization", body=ORGANIZATION | {"name": "Other"}, headers=condition)
    assert (first.status, again.status) == (201, 200)
    assert again.body == first.body
    assert again.headers["location"] == first.headers["location"]
    await created(box)
    several = await box.send("POST", "Organization", body=ORGANIZATION, headers=condition)
    assert (several.status, several.issues) == (412, ["request.several-matches"])
    for empty in ("", "_count=1"):
        reply = await box.send("POST", "Organization", body=ORGANIZATION, headers={"If-None-Exist": empty})
        assert reply.status == 400
    unknown = await box.send("POST", "Organization", body=ORGANIZATION, headers={"If-None-Exist": "foo=1"})
    assert unknown.status == 400


async def test_one_circle_per_person_where_asked_for() -> None:
    async with boxed(options=SandboxOptions(one_circle_per_person=True)) as box:
        path = await created(box, CIRCLE)
        assert (await box.send("POST", "CareTeam", body=CIRCLE)).issues == ["request.second-circle"]
        assert (await box.send("PUT", path, body=CIRCLE | {"id": path.partition("/")[2]})).status == 200


async def test_content_passes_through_unharmed(box: Box) -> None:
    raw = (
        b'\xef\xbb\xbf{ "resourceType": "Organization", "zzz": 1.10, "name": "\\u00e9",'
        b' "_name": {"extension": [{"url": "content", "valueString": ""}]},'
        b' "text": {"status": "generated", "div": "<div><a href=\\"x\\">y</a></div>"} }'
    )
    reply = await box.send("PUT", "Organization/a", body=raw.replace(b'"zzz"', b'"id": "a", "zzz"'))
    assert reply.status == 201
    for expected in (
        b'"zzz":1.10,"name":"\\u00e9"',
        b'{"extension": [{"url": "content", "valueString": ""}]}',
        b'<a href=\\"x\\">y</a>',
    ):
        assert expected in reply.body
        assert expected in (await box.search("Organization")).body


async def test_xml_in_and_out(box: Box) -> None:
    body = b'<Organization xmlns="http://hl7.org/fhir"><name value="X"/></Organization>'
    headers = {"Content-Type": "application/fhir+xml", "Accept": "application/fhir+xml"}
    reply = await box.send("POST", "Organization", body=body, headers=headers)
    assert reply.status == 201
    assert b'<name value="X"/>' in reply.body
    assert (await box.search("Organization")).entries[0]["resource"]["name"] == "X"


# --- read


async def test_conditional_read(box: Box) -> None:
    path = await created(box)
    seen = await box.get(path)
    for name, value, status in (
        ("If-None-Match", seen.headers["etag"], 304),
        ("If-None-Match", 'W/"9", W/"1"', 304),
        ("If-None-Match", 'W/"9"', 200),
        ("If-Modified-Since", seen.headers["last-modified"], 304),
        ("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT", 200),
        ("If-Modified-Since", "soon", 200),
    ):
        reply = await box.get(path, headers={name: value})
        assert (reply.status, bool(reply.body)) == (status, status == 200), (name, value)
    both = {"If-None-Match": 'W/"9"', "If-Modified-Since": seen.headers["last-modified"]}
    assert (await box.get(path, headers=both)).status == 200


async def test_deleting(box: Box) -> None:
    path = await created(box)
    assert (await box.send("DELETE", path)).status == 204
    assert (await box.get(path)).issues == ["request.deleted"]
    assert (await box.get(path)).status == 410
    assert (await box.get(f"{path}/_history/1")).status == 200
    assert (await box.get(f"{path}/_history/2")).status == 410
    assert await box.found("Organization") == set()
    revived = await box.send("PUT", path, body=ORGANIZATION | {"id": path.partition("/")[2]})
    assert (revived.status, revived.json["meta"]["versionId"]) == (201, "3")


async def test_delete_is_not_offered_by_default() -> None:
    async with boxed() as box:
        path = await created(box)
        reply = await box.send("DELETE", path)
        assert (reply.status, reply.issues) == (405, ["request.method"])
        assert "PUT" in reply.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "Organization/nobody", {}, 404),
        ("GET", "Organization/a_b", {}, 404),
        ("GET", "Nothing", {}, 404),
        ("GET", "CareTeam/1/2/3", {}, 404),
        ("PATCH", "Organization/1", {}, 405),
        ("GET", "", {}, 405),
        ("GET", "CareTeam", {"Accept": "text/csv"}, 406),
        ("GET", "CareTeam", {"Accept": "*/*"}, 200),
        ("GET", "CareTeam?_format=application/pdf", {}, 406),
        ("GET", "CareTeam?_format=json", {"Accept": "text/csv"}, 200),
        ("GET", "CareTeam", {"Prefer": "handling=maybe"}, 400),
    ],
)
async def test_protocol(box: Box, method: str, path: str, headers: dict[str, str], status: int) -> None:
    reply = await box.send(method, path, headers=headers | {"X-Request-Id": "r-1"})
    assert reply.status == status
    assert reply.headers["x-request-id"] == "r-1"
    if status >= 400:
        assert reply.headers["content-type"].startswith("application/fhir+json")
        assert reply.json["resourceType"] == "OperationOutcome"


async def test_bodies_of_other_kinds_and_sizes(box: Box) -> None:
    other = await box.send("POST", "Organization", body=b"x", headers={"Content-Type": "text/plain"})
    assert (other.status, other.issues) == (415, ["request.content-type"])
    async with boxed(options=SandboxOptions(max_body=1000)) as small:
        large = await small.send("POST", "Organization", body=ORGANIZATION | {"name": "x" * 2000})
        assert (large.status, large.issues) == (413, ["request.too-large"])


async def test_head(box: Box) -> None:
    path = await created(box)
    reply = await box.send("HEAD", path)
    assert (reply.status, reply.body, reply.headers["etag"]) == (200, b"", 'W/"1"')


# --- history


async def test_history_of_one(box: Box) -> None:
    path = await created(box)
    identity = path.partition("/")[2]
    await box.send("PUT", path, body=ORGANIZATION | {"id": identity})
    await box.send("DELETE", path)
    reply = await box.get(f"{path}/_history")
    assert (reply.json["type"], reply.json["total"]) == ("history", 3)
    gone, changed, made = reply.entries
    assert gone["request"] == {"method": "DELETE", "url": path}
    assert gone["response"]["status"].startswith("204")
    assert "resource" not in gone
    assert changed["request"] == {"method": "PUT", "url": path}
    assert changed["response"]["etag"] == 'W/"2"'
    assert made["request"] == {"method": "POST", "url": "Organization"}
    assert made["resource"]["meta"]["versionId"] == "1"
    assert {entry["fullUrl"] for entry in reply.entries} == {f"{box.base_url}/{path}"}
    assert (await box.get("Organization/never/_history")).status == 404


async def test_history_of_a_type_in_pages_and_since(box: Box) -> None:
    paths = [await created(box) for _ in range(5)]
    box.store.delete("Organization", paths[0].partition("/")[2])
    first = await box.get("Organization/_history", ("_count", "2"))
    pages = await box.pages(first)
    assert [len(page.entries) for page in pages] == [2, 2, 2]
    instants = [entry["response"]["lastModified"] for page in pages for entry in page.entries]
    assert instants == sorted(instants, reverse=True)
    assert len(set(instants)) == 6
    since = await box.get("Organization/_history", ("_since", instants[1]))
    assert [entry["response"]["lastModified"] for entry in since.entries] == instants[:2]
    assert (await box.get("CareTeam/_history")).json["total"] == 0
    for pair in (("_since", "soon"), ("_count", "x")):
        assert (await box.get("Organization/_history", pair)).issues == ["request.bad-value"]


async def test_concurrent_conditional_creates_make_one(box: Box) -> None:
    condition = {"If-None-Exist": "identifier=350000001"}
    replies = await asyncio.gather(
        *(box.send("POST", "Organization", body=ORGANIZATION, headers=condition) for _ in range(20))
    )
    assert sorted(reply.status for reply in replies) == [200] * 19 + [201]
    assert len({orjson.loads(reply.body)["id"] for reply in replies}) == 1
