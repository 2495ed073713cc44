"""Searching a sandbox over HTTP: parameters, chains, includes, order, pages, parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from adapters.sandbox.options import SandboxOptions
from tests.support.fake_clock import FakeClock
from tests.support.sandbox_http import Box, boxed

INS = "urn:oid:1.2.250.1.213.1.4.10"
RPPS = "https://rpps.esante.gouv.fr"
FINESS = "https://finess.esante.gouv.fr"
ROLES = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
G15 = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"


def circle(number: int, patient: str, *members: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "CareTeam",
        "id": f"c{number}",
        "meta": {"lastUpdated": f"2025-0{number}-01T00:00:00Z"},
        "identifier": [{"system": "https://cercles.example", "value": f"C{number}"}],
        "status": "active",
        "name": f"Cercle {number}",
        "subject": {"reference": f"Patient/{patient}"},
        "period": {"start": f"202{number}-01-01"},
        "participant": [{"member": {"reference": m}, "period": {"start": "2024-01-01"}} for m in members],
    } | more


WORLD: list[dict[str, Any]] = [
    {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": INS, "value": "295109912611193"}],
        "name": [{"family": "Thobois", "given": ["Hélène"]}],
        "gender": "female",
        "birthDate": "1995-10-02",
        "address": [{"city": "Tourcoing"}],
    },
    {"resourceType": "Patient", "id": "p2", "name": [{"family": "Durand"}], "gender": "male", "birthDate": "1950"},
    {"resourceType": "Patient", "id": "p3"},
    {"resourceType": "Practitioner", "id": "d1", "identifier": [{"system": RPPS, "value": "10001234567"}],
     "name": [{"family": "Ducros"}]},
    {"resourceType": "PractitionerRole", "id": "r1", "practitioner": {"reference": "Practitioner/d1"},
     "organization": {"reference": "Organization/o2"}, "code": [{"coding": [{"system": G15, "code": "10"}]}]},
    {"resourceType": "RelatedPerson", "id": "k1", "patient": {"reference": "Patient/p1"},
     "relationship": [{"coding": [{"system": ROLES, "code": "GUARD"}]}],
     "name": [{"family": "Ducros"}], "address": [{"city": "Tourcoing"}], "telecom": [{"value": "0639980000"}]},
    {"resourceType": "Organization", "id": "o1", "name": "Groupement",
     "identifier": [{"system": FINESS, "value": "350000001"}]},
    {"resourceType": "Organization", "id": "o2", "name": "Maison de santé", "partOf": {"reference": "Organization/o1"}},
    circle(1, "p1", "PractitionerRole/r1", "RelatedPerson/k1"),
    circle(2, "p2", "Organization/o2", managingOrganization=[{"reference": "Organization/o2"}]),
    circle(3, "p1", status="inactive"),
    circle(4, "p3", "PractitionerRole/r1"),
]  # fmt: skip


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    async with boxed(WORLD, clock=FakeClock()) as running:
        yield running


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], "c1 c2 c3 c4"),
        ([("_id", "c1,c3,zz")], "c1 c3"),
        ([("identifier", "https://cercles.example|C2")], "c2"),
        ([("status", "inactive")], "c3"),
        ([("status:not", "inactive")], "c1 c2 c4"),
        ([("status", "active"), ("start", "ge2022")], "c2 c4"),
        ([("start", "2021,2023")], "c1 c3"),
        ([("CDSCareTeamStart", "lt2022")], "c1"),
        ([("_lastUpdated", "gt2025-02-15")], "c3 c4"),
        ([("category:missing", "true")], "c1 c2 c3 c4"),
        ([("patient", "p1")], "c1 c3"),
        ([("subject", "Patient/p2")], "c2"),
        ([("participant", "PractitionerRole/r1")], "c1 c4"),
        ([("participant:RelatedPerson", "k1")], "c1"),
        ([("managingOrganization", "Organization/o2")], "c2"),
        ([("patient.identifier", f"{INS}|295109912611193")], "c1 c3"),
        ([("patient.identifier", rf"{INS}\|295109912611193")], "c1 c3"),
        ([("patient.family", "tho"), ("patient.gender", "female")], "c1 c3"),
        ([("patient.gender:not", "female")], "c2 c4"),
        ([("patient.birthdate", "lt1960")], "c2"),
        ([("patient._id", "p3")], "c4"),
        ([("subject:Patient.family:exact", "Durand")], "c2"),
        ([("participant:RelatedPerson.name:exact", "Ducros"), ("participant:RelatedPerson.address", "Tourcoing")], "c1"),
        ([("participant:RelatedPerson.relationship", f"{ROLES}|GUARD")], "c1"),
        ([("participant:PractitionerRole.role", "10")], "c1 c4"),
        ([("participant:PractitionerRole.practitioner.name", "ducros")], "c1 c4"),
        ([("participant:PractitionerRole.practitioner:Practitioner.identifier", f"{RPPS}|10001234567")], "c1 c4"),
        ([("participant:PractitionerRole.organization.partof.identifier", f"{FINESS}|350000001")], "c1 c4"),
        ([("participant:Organization.partof.name", "groupement")], "c2"),
        ([("participant:Organization.name", "nobody")], ""),
        ([("unknown", "x"), ("status", "inactive")], "c3"),
    ],
)  # fmt: skip
async def test_criteria(box: Box, pairs: list[tuple[str, str]], expected: str) -> None:
    assert await box.found("CareTeam", *pairs) == set(expected.split())
    posted = await box.form("CareTeam/_search", *pairs, ("_count", "100"))
    assert {r.partition("/")[2] for r in posted.ids()} == set(expected.split())


async def test_absolute_references_to_the_server_itself(box: Box) -> None:
    await box.send(
        "PUT", "CareTeam/c9", body=circle(9, "p2") | {"subject": {"reference": f"{box.base_url}/Patient/p2"}}
    )
    assert await box.found("CareTeam", ("patient", "p2")) == {"c2", "c9"}
    assert await box.found("CareTeam", ("patient", f"{box.base_url}/Patient/p2")) == {"c2", "c9"}
    assert await box.found("CareTeam", ("patient.family", "durand")) == {"c2", "c9"}
    assert await box.found("CareTeam", ("patient", "https://elsewhere.example/fhir/Patient/p2")) == set()
    with_subject = await box.search("CareTeam", ("_id", "c9"), ("_include", "CareTeam:subject"))
    assert with_subject.ids("include") == ["Patient/p2"]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("_include", "CareTeam:subject")], "Patient/p1"),
        ([("_include", "CareTeam:participant:RelatedPerson")], "RelatedPerson/k1"),
        ([("_include", "CareTeam:participant"), ("_include", "PractitionerRole:practitioner")],
         "PractitionerRole/r1 RelatedPerson/k1"),
        ([("_include", "CareTeam:participant"), ("_include:iterate", "PractitionerRole:practitioner")],
         "PractitionerRole/r1 RelatedPerson/k1 Practitioner/d1"),
        ([("_include", "*")], "PractitionerRole/r1 RelatedPerson/k1 Patient/p1"),
        ([("_include:iterate", "*")],
         "PractitionerRole/r1 RelatedPerson/k1 Patient/p1 Practitioner/d1 Organization/o2 Organization/o1"),
        ([("_include:iterate ", "CareTeam:subject")], "Patient/p1"),
        ([], ""),
    ],
)  # fmt: skip
async def test_includes(box: Box, pairs: list[tuple[str, str]], expected: str) -> None:
    reply = await box.search("CareTeam", ("_id", "c1"), *pairs)
    assert reply.ids() == ["CareTeam/c1"]
    assert set(reply.ids("include")) == set(expected.split())
    assert reply.json["total"] == 1


async def test_reverse_includes(box: Box) -> None:
    reply = await box.search("Patient", ("_id", "p1"), ("_revinclude", "CareTeam:patient"))
    assert set(reply.ids("include")) == {"CareTeam/c1", "CareTeam/c3"}
    reply = await box.search(
        "Practitioner",
        ("_revinclude", "PractitionerRole:practitioner"),
        ("_revinclude:iterate", "CareTeam:participant"),
    )
    assert set(reply.ids("include")) == {"PractitionerRole/r1", "CareTeam/c1", "CareTeam/c4"}


async def test_a_match_is_never_an_include_too(box: Box) -> None:
    reply = await box.search("Organization", ("_include", "Organization:partof"))
    assert sorted(reply.ids()) == ["Organization/o1", "Organization/o2"]
    assert reply.ids("include") == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (None, "c4 c3 c2 c1"),
        ("_lastUpdated", "c1 c2 c3 c4"),
        ("-start", "c4 c3 c2 c1"),
        ("status,-_id", "c4 c2 c1 c3"),
        ("managingOrganization,_id", "c2 c1 c3 c4"),
        ("-managingOrganization,_id", "c2 c1 c3 c4"),
    ],
)
async def test_order(box: Box, sort: str | None, expected: str) -> None:
    reply = await box.search("CareTeam", *([("_sort", sort)] if sort else []))
    assert [r.partition("/")[2] for r in reply.ids()] == expected.split()


async def test_pages_yield_every_match_once_with_its_includes(box: Box) -> None:
    first = await box.form(
        "CareTeam/_search", ("_count", "1"), ("_sort", "_id"), query=[("_include", "CareTeam:subject")]
    )
    pages = await box.pages(first)
    assert [page.ids() for page in pages] == [[f"CareTeam/c{n}"] for n in range(1, 5)]
    assert [page.ids("include") for page in pages] == [
        ["Patient/p1"],
        ["Patient/p2"],
        ["Patient/p1"],
        ["Patient/p3"],
    ]
    assert {page.json["total"] for page in pages} == {4}
    assert first.link("previous") is None
    assert pages[-1].link("next") is None
    back = await box.get(pages[2].link("previous") or "")
    assert back.ids() == pages[1].ids()


async def test_links_hold_nothing_of_the_search_and_expire() -> None:
    clock = FakeClock()
    async with boxed(WORLD, clock=clock, options=SandboxOptions(max_page_states=2)) as box:
        reply = await box.search("CareTeam", ("patient.family", "thobois"), ("_count", "1"))
        link = reply.link("next")
        assert link is not None
        assert "thobois" not in link.lower()
        for _ in range(2):
            assert (await box.get(link)).status == 200
        for _ in range(2):
            latest = await box.search("CareTeam", ("_count", "1"))
        assert (await box.get(link)).status == 410
        newer = latest.link("next") or ""
        assert (await box.get(newer)).status == 200
        await clock.advance(601)
        assert (await box.get(newer)).issues == ["page.expired"]


async def test_a_forged_place_in_a_page_link_is_refused(box: Box) -> None:
    link = (await box.search("CareTeam", ("_count", "1"))).link("next") or ""
    stem = link.rpartition(".")[0]
    for place in ("-1", "99", "x", ""):
        assert (await box.get(f"{stem}.{place}")).issues == ["page.forged"]
    assert (await box.get("CareTeam?_page=zzz.0")).status == 410


async def test_a_deleted_match_is_not_on_a_later_page(box: Box) -> None:
    reply = await box.search("CareTeam", ("_count", "2"), ("_sort", "_id"))
    box.store.delete("CareTeam", "c3")
    assert [page.ids() for page in await box.pages(reply)] == [
        ["CareTeam/c1", "CareTeam/c2"],
        ["CareTeam/c4"],
    ]


async def test_self_says_what_was_used(box: Box) -> None:
    reply = await box.form(
        "Careteam/_search", ("foo", "x"), ("CDSCareTeamStart", "ge2020"), query=[("_count", "5000")]
    )
    own = urlsplit(reply.link("self") or "")
    assert own.path == "/fhir/CareTeam"
    assert parse_qsl(own.query) == [("start", "ge2020"), ("_count", "100")]


async def test_counting_alone(box: Box) -> None:
    for pair in (("_count", "0"), ("_summary", "count")):
        reply = await box.search("CareTeam", ("status", "active"), pair)
        assert reply.json["total"] == 3
        assert "entry" not in reply.json
        assert reply.link("next") is None


async def test_elements_are_about_matches_and_leave_a_mark(box: Box) -> None:
    reply = await box.search(
        "CareTeam", ("_id", "c1"), ("_elements", "name,status"), ("_include", "CareTeam:subject")
    )
    match, include = (entry["resource"] for entry in reply.entries)
    assert set(match) == {"resourceType", "id", "meta", "name", "status"}
    assert match["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert "birthDate" in include
    assert "tag" not in include["meta"]


@pytest.mark.parametrize(
    ("summary", "present", "absent"),
    [
        ("true", {"identifier", "status", "subject"}, {"participant", "text"}),
        ("data", {"participant", "identifier"}, {"text"}),
        ("text", {"text"}, {"identifier", "participant"}),
        ("false", {"text", "identifier", "participant"}, set()),
    ],
)
async def test_summaries(box: Box, summary: str, present: set[str], absent: set[str]) -> None:
    div = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}
    await box.send("PUT", "CareTeam/c1", body=WORLD[8] | {"text": div})
    (entry,) = (await box.search("CareTeam", ("_id", "c1"), ("_summary", summary))).entries
    shown = set(entry["resource"])
    assert present <= shown
    assert not absent & shown
    assert ("tag" in entry["resource"]["meta"]) is (summary != "false")


@pytest.mark.parametrize(
    ("pairs", "issue"),
    [
        ([("start", "2024-13")], "request.bad-value"),
        ([("_count", "-1")], "request.bad-value"),
        ([("status:below", "x")], "request.unknown-modifier"),
        ([("patient.nothing", "x")], "request.bad-chain"),
    ],
)
async def test_what_is_wrong_is_refused(box: Box, pairs: list[tuple[str, str]], issue: str) -> None:
    reply = await box.get("CareTeam", *pairs)
    assert (reply.status, reply.issues) == (400, [issue])


async def test_strict_handling(box: Box) -> None:
    reply = await box.get("CareTeam", ("foo", "x"), headers={"Prefer": "handling=strict"})
    assert (reply.status, reply.issues) == (400, ["request.unknown-parameter"])


async def test_nothing_found_is_a_bundle_without_entries(box: Box) -> None:
    reply = await box.search("CareTeam", ("_id", "nobody"))
    assert (reply.json["total"], "entry" in reply.json) == (0, False)


async def test_xml(box: Box) -> None:
    reply = await box.get("CareTeam", ("_format", "xml"), ("_count", "1"))
    assert reply.headers["content-type"] == "application/fhir+xml; charset=utf-8"
    assert reply.body.startswith(b"<?xml")
    assert b"_format=xml" in reply.body.split(b"next")[1][:200]


async def test_a_search_body_must_be_a_form(box: Box) -> None:
    assert (await box.send("POST", "CareTeam/_search", body={})).status == 415
    assert (await box.send("POST", "CareTeam/_search")).status == 200

    form = "application/x-www-form-urlencoded"
    for body, charset in ((b"status=active", "; charset=nonsense"), (b"status=\xff", "")):
        reply = await box.send(
            "POST", "CareTeam/_search", body=body, headers={"Content-Type": form + charset}
        )
        assert (reply.status, reply.issues) == (415, ["request.content-type"])
