"""Transactions of a sandbox: flux 1c and 4c, all or nothing."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.fake_clock import FakeClock
from tests.support.sandbox_http import Box, Reply, boxed

GUIDE = Path(__file__).parents[3] / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"
FIRST, SECOND = (
    "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a",
    "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0b",
)


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    async with boxed(clock=FakeClock()) as running:
        yield running


def entry(
    method: str, url: str, resource: dict[str, Any], full_url: str | None = None, **request: str
) -> dict[str, Any]:
    stated = {"fullUrl": full_url} if full_url else {}
    return stated | {"resource": resource, "request": {"method": method, "url": url} | request}


def circle(subject: str, *members: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "CareTeam",
        "identifier": [{"system": "s", "value": "1"}],
        "status": "active",
        "name": "Cercle",
        "subject": {"reference": subject},
        "period": {"start": "2024-01-01"},
        "participant": [{"member": {"reference": member}} for member in members],
    } | more


def patient(ins: str = "295109912611193", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": "i", "value": ins}]} | more


async def transact(box: Box, *entries: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return await box.send("POST", "", body=bundle, headers=headers)


async def refused(box: Box, *entries: dict[str, Any]) -> Reply:
    """A transaction that must fail as the guide says, and leave nothing behind."""
    before = {kind: dict(box.store.live(kind)) for kind in ("CareTeam", "Patient", "Organization")}
    reply = await transact(box, *entries)
    assert reply.status == 500
    assert reply.issues[0] == "transaction.failed"
    assert {kind: dict(box.store.live(kind)) for kind in before} == before
    return reply


async def test_entries_refer_to_each_other_in_either_order(box: Box) -> None:
    organization = {"resourceType": "Organization", "name": "x"}
    third = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0c"
    reply = await transact(
        box,
        entry("POST", "CareTeam", circle(FIRST, third, name="Cercle é"), SECOND),
        entry("POST", "Patient", patient(), FIRST),
        entry("POST", "Organization", organization, third),
    )
    assert reply.status == 200
    assert reply.json["type"] == "transaction-response"
    team, person, structure = (answer["resource"] for answer in reply.entries)
    assert team["subject"]["reference"] == f"Patient/{person['id']}"
    assert team["participant"][0]["member"]["reference"] == f"Organization/{structure['id']}"
    for answer, kind in zip(reply.entries, ("CareTeam", "Patient", "Organization"), strict=True):
        location = f"{kind}/{answer['resource']['id']}"
        assert answer["fullUrl"] == f"{box.base_url}/{location}"
        assert answer["response"]["status"] == "201 Created"
        assert answer["response"]["location"] == f"{location}/_history/1"
        assert answer["response"]["etag"] == 'W/"1"'
        assert answer["response"]["lastModified"] == answer["resource"]["meta"]["lastUpdated"]
    assert await box.found("CareTeam", ("patient.identifier", "295109912611193")) == {team["id"]}


@pytest.mark.guide
async def test_the_official_example_refers_by_the_ids_it_carries(box: Box) -> None:
    if not GUIDE.exists():
        pytest.skip("the guide's package is not here")
    with tarfile.open(GUIDE) as package:
        member = package.extractfile("package/example/Bundle-cds-bundle-transaction-creation-example.json")
        assert member is not None
        body = member.read()
    reply = await box.send("POST", "", body=body)
    assert reply.status == 200, reply.body
    made = {answer["resource"]["resourceType"]: answer["resource"] for answer in reply.entries}
    team = made["CareTeam"]
    assert team["subject"]["reference"] == f"Patient/{made['Patient']['id']}"
    assert [p["member"]["reference"] for p in team["participant"]] == [
        f"RelatedPerson/{made['RelatedPerson']['id']}",
        f"Organization/{made['Organization']['id']}",
    ]
    assert team["_name"]["extension"][0]["extension"][1] == {"url": "content", "valueString": ""}
    assert made["RelatedPerson"]["patient"]["reference"] == team["subject"]["reference"]
    sent = {
        e["resource"]["resourceType"]: e["resource"]
        for e in orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))["entry"]
    }
    for kind, resource in sent.items():
        assert made[kind]["text"] == resource["text"]
        assert list(made[kind]) == list(resource)


async def test_relative_references_resolve_against_the_full_url(box: Box) -> None:
    root = "https://creator.example/fhir"
    reply = await transact(
        box,
        entry("POST", "CareTeam", circle("Patient/7"), f"{root}/CareTeam/1"),
        entry("POST", "Patient", patient(), f"{root}/Patient/7"),
    )
    team, person = (answer["resource"] for answer in reply.entries)
    assert team["subject"]["reference"] == f"Patient/{person['id']}"


async def test_an_update(box: Box) -> None:
    box.store.load([circle("Patient/p", id="c"), patient(id="p")])
    changed = circle("Patient/p", SECOND, id="c", name="Autre")
    reply = await transact(
        box,
        entry("PUT", "CareTeam/c", changed, f"{box.base_url}/CareTeam/c", ifMatch='W/"1"'),
        entry("POST", "Organization", {"resourceType": "Organization", "name": "x"}, SECOND),
        entry("PUT", "Patient/new", patient(id="new")),
    )
    assert [answer["response"]["status"] for answer in reply.entries] == [
        "200 OK",
        "201 Created",
        "201 Created",
    ]
    held = (await box.get("CareTeam/c")).json
    assert (held["name"], held["meta"]["versionId"]) == ("Autre", "2")
    assert held["participant"][0]["member"]["reference"].startswith("Organization/")


async def test_conditional_create_and_references(box: Box) -> None:
    box.store.load(
        [patient(id="p"), {"resourceType": "Organization", "id": "o", "identifier": [{"value": "F1"}]}]
    )
    reply = await transact(
        box,
        entry(
            "POST",
            "Patient",
            patient(name=[{"family": "Autre"}]),
            FIRST,
            ifNoneExist="identifier=i|295109912611193",
        ),
        entry("POST", "CareTeam", circle(FIRST, "Organization?identifier=F1"), SECOND),
    )
    found, team = reply.entries
    assert found["response"]["status"] == "200 OK"
    assert found["resource"]["id"] == "p"
    assert "name" not in found["resource"]
    assert team["resource"]["subject"]["reference"] == "Patient/p"
    assert team["resource"]["participant"][0]["member"]["reference"] == "Organization/o"


async def test_links_in_uris_and_narratives_follow_but_business_values_do_not(box: Box) -> None:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{FIRST}">{FIRST}</a></div>'
    more = {
        "text": {"status": "generated", "div": div},
        "extension": [{"url": "http://x", "valueUri": FIRST}, {"url": "http://y", "valueString": FIRST}],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": FIRST}],
    }
    reply = await transact(
        box,
        entry("POST", "Patient", patient(), FIRST),
        entry("POST", "CareTeam", circle(FIRST, **more), SECOND),
    )
    person, team = (answer["resource"] for answer in reply.entries)
    target = f"Patient/{person['id']}"
    assert team["text"]["div"] == div.replace(f'href="{FIRST}"', f'href="{target}"')
    assert [e.get("valueUri", e.get("valueString")) for e in team["extension"]] == [target, FIRST]
    assert team["identifier"][0]["value"] == FIRST


@pytest.mark.parametrize(
    ("wanted", "resource", "outcome"),
    [("minimal", False, False), ("representation", True, False), ("OperationOutcome", False, True)],
)
async def test_return_preferences(box: Box, wanted: str, resource: bool, outcome: bool) -> None:
    reply = await transact(
        box, entry("POST", "Patient", patient(), FIRST), headers={"Prefer": f"return={wanted}"}
    )
    (answer,) = reply.entries
    assert ("resource" in answer, "outcome" in answer["response"]) == (resource, outcome)
    assert answer["fullUrl"]


@pytest.mark.parametrize(
    ("bad", "issue"),
    [
        (entry("DELETE", "Patient/p", {}), "transaction.method"),
        (entry("GET", "Patient/p", {}), "transaction.method"),
        (entry("PATCH", "Patient/p", {}), "transaction.method"),
        (entry("POST", "Basic", {"resourceType": "Basic"}), "transaction.url"),
        (entry("POST", "Patient/p", patient()), "transaction.url"),
        (entry("PUT", "Patient", patient()), "transaction.url"),
        (entry("POST", "Patient", {"resourceType": "Organization"}), "request.wrong-type"),
        (entry("PUT", "Patient/p", patient(id="q")), "request.id-mismatch"),
        (entry("PUT", "Patient/p", patient(id="p"), ifMatch='W/"9"'), "request.precondition"),
        (entry("PUT", "Patient/none", patient(id="none"), ifMatch='W/"1"'), "request.precondition"),
        (entry("POST", "Patient", patient(), ifNoneExist="gender=male"), "request.several-matches"),
        (entry("POST", "CareTeam", {"resourceType": "CareTeam"}), "request.missing-element"),
        (entry("POST", "CareTeam", circle("urn:uuid:nowhere")), "transaction.dangling"),
        (entry("POST", "CareTeam", circle("Patient?gender=male")), "transaction.unresolved"),
        (entry("POST", "CareTeam", circle("Patient?gender=female")), "transaction.unresolved"),
        (entry("POST", "CareTeam", circle("Patient?foo=1")), "transaction.unresolved"),
        (entry("POST", "Patient", patient(), FIRST), "transaction.duplicate"),
        (entry("PUT", "Patient/x", patient(id="x")), "transaction.duplicate"),
        ({"fullUrl": SECOND}, "transaction.method"),
        ({"request": {"method": "POST", "url": "Patient"}}, "request.bad-resource"),
    ],
)
async def test_one_bad_entry_and_nothing_is_stored(box: Box, bad: dict[str, Any], issue: str) -> None:
    box.store.load([patient(id="p", gender="male"), patient(id="q", gender="male")])
    good = [entry("POST", "Patient", patient(), FIRST), entry("PUT", "Patient/x", patient(id="x"))]
    reply = await refused(box, *good, bad)
    assert reply.issues == ["transaction.failed", issue]
    assert reply.json["issue"][1]["expression"][0].startswith("Bundle.entry[2]")


async def test_all_faults_are_told_at_once(box: Box) -> None:
    reply = await refused(
        box,
        entry("DELETE", "Patient/p", {}),
        entry("POST", "CareTeam", circle("urn:uuid:nowhere")),
        entry("PUT", "Patient/1", {}),
    )
    assert reply.issues == [
        "transaction.failed",
        "transaction.method",
        "transaction.dangling",
        "request.wrong-type",
    ]


@pytest.mark.parametrize(
    ("body", "issue"),
    [
        (b"{", "request.bad-resource"),
        (b'{"resourceType":"Patient"}', "request.not-a-transaction"),
        (b'{"resourceType":"Bundle","type":"batch","entry":[{}]}', "request.not-a-transaction"),
        (b'{"resourceType":"Bundle","type":"transaction"}', "request.bad-resource"),
        (b'{"resourceType":"Bundle","type":"transaction","entry":[3]}', "request.bad-resource"),
        (b'{"resourceType":"Bundle","type":"transaction","entry":{}}', "request.bad-resource"),
    ],
)
async def test_what_is_no_transaction_is_a_bad_request(box: Box, body: bytes, issue: str) -> None:
    reply = await box.send("POST", "", body=body)
    assert (reply.status, reply.issues) == (400, [issue])


async def test_in_xml(box: Box) -> None:
    body = f"""<Bundle xmlns="http://hl7.org/fhir"><type value="transaction"/><entry><fullUrl value="{FIRST}"/>
        <resource><Patient><gender value="male"/></Patient></resource>
        <request><method value="POST"/><url value="Patient"/></request></entry></Bundle>"""
    headers = {"Content-Type": "application/fhir+xml", "Accept": "application/fhir+xml"}
    reply = await box.send("POST", "", body=body.encode(), headers=headers)
    assert reply.status == 200
    assert b'<status value="201 Created"/>' in reply.body
    assert len(await box.found("Patient", ("gender", "male"))) == 1
