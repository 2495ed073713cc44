"""The checks of flux 2b → 3b, of the statement, of formats and of what bad input gets."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from broker.commands.demo_cast import REVISED
from broker.commands.demo_held import Resource, circles, made_public, read_versions
from broker.commands.demo_probe import Answer, Probe, entries, expect, expect_same, ids, issue_reasons, link

_GUIDE = "https://interop.esante.gouv.fr/ig/fhir/cds/CapabilityStatement/"
_REGION = "https://mos.esante.gouv.fr/NOS/TRE_R30-RegionOM/FHIR/TRE-R30-RegionOM"
_FHIR = "{http://hl7.org/fhir}"


async def statement(probe: Probe) -> str:
    answer = await probe.send("GET", "/fhir/metadata")
    expect_same(answer.status, 200, "status")
    told = answer.json
    expect_same((told["resourceType"], told["kind"]), ("CapabilityStatement", "instance"), "kind")
    expect(
        any(one.startswith(_GUIDE) for one in told.get("instantiates", ())), "the guide is not instantiated"
    )
    kinds = {one["type"]: one for one in told["rest"][0]["resource"]}
    offered = {one["code"] for one in kinds["CareTeam"]["interaction"]}
    wanted = {"read", "vread", "history-instance", "history-type", "search-type", "create", "update"}
    expect(wanted <= offered, f"not offered: {sorted(wanted - offered)}")
    expect(not offered & {"patch", "delete"}, "what the guide has not is declared")
    whole = {one["code"] for one in told["rest"][0].get("interaction", ())}
    expect("transaction" in whole, "transactions are not offered")
    return f"{len(kinds)} types, CareTeam with {len(kinds['CareTeam'].get('searchParam', ()))} parameters"


async def read(probe: Probe) -> str:
    """One circle and its person of each region, against what that region holds."""
    for manager in probe.demo.managers:
        held = probe.held[manager.slug]
        for kind, identity in (("CareTeam", "cercle-4"), ("Patient", "patient-4")):
            own = dict(held[kind][identity])
            answer = await probe.send("GET", f"/fhir/{kind}/{manager.slug}.{identity}")
            expect_same(answer.status, 200, f"{manager.slug}: status")
            seen = answer.json
            meta, own_meta = seen.pop("meta"), own.pop("meta")
            expected = made_public(own, manager.slug) | {"id": f"{manager.slug}.{identity}"}
            expect_same(seen, expected, f"{manager.slug}: the resource")
            expect_same(meta["versionId"], own_meta["versionId"], "versionId")
            expect_same(answer.headers.get("etag"), f'W/"{own_meta["versionId"]}"', "ETag")
            expect(
                meta.get("source", "").startswith(manager.base_url),
                "meta.source does not say where it is from",
            )
            tags = {(tag.get("system"), tag.get("code")) for tag in meta.get("tag", ())}
            expect((_REGION, manager.role.region) in tags, "the region is not told")
    return f"a circle and a person of each of {len(probe.held)} regions, as held there"


async def conditional(probe: Probe) -> str:
    path = f"/fhir/CareTeam/{probe.home}.cercle-4"
    first = await probe.send("GET", path)
    again = await probe.send("GET", path, headers={"If-None-Match": first.headers["etag"]})
    expect_same((again.status, again.body), (304, b""), "If-None-Match")
    for unknown in (f"{probe.home}.nobody", "nowhere.cercle-4"):
        answer = await probe.send("GET", f"/fhir/CareTeam/{unknown}")
        expect_same((answer.status, answer.json["resourceType"]), (404, "OperationOutcome"), unknown)
    return "304 for the version that the client has, 404 for unknown ids"


async def vread(probe: Probe) -> str:
    """Every version of a circle of each region, against what that region holds."""
    count = 0
    for slug, versions in (await read_versions(probe.demo)).items():
        own = [one for one in versions if one["id"] == REVISED]
        expect(len(own) > 1, f"{slug}: the expectation itself has one version")
        for held in own:
            version = held["meta"]["versionId"]
            answer = await probe.send("GET", f"/fhir/CareTeam/{slug}.{REVISED}/_history/{version}")
            expect_same(answer.status, 200, f"{slug} version {version}: status")
            expected = made_public(held, slug) | {"id": f"{slug}.{REVISED}"}
            expect_same(_without_meta(answer.json), _without_meta(expected), f"{slug} version {version}")
            expect_same(answer.json["meta"]["versionId"], version, "versionId")
            count += 1
    return f"{count} versions of circles of {len(probe.held)} regions"


async def history_of_circle(probe: Probe) -> str:
    count = 0
    for slug, versions in (await read_versions(probe.demo)).items():
        answer = await probe.send("GET", f"/fhir/CareTeam/{slug}.{REVISED}/_history")
        expect_same((answer.status, answer.json["type"]), (200, "history"), slug)
        expected = [one for one in _versions(slug, versions) if one[1] == f"{slug}.{REVISED}"]
        expect_same(_told(answer.json), sorted(expected, reverse=True), f"{slug}: versions, newest first")
        count += len(expected)
    return f"{count} versions in {len(probe.held)} regions, newest first"


async def history_of_type(probe: Probe) -> str:
    """Every version of every circle, replicas too, paged: what the managers themselves tell of."""
    pages = await probe.pages("/fhir/CareTeam/_history", ("_count", "20"))
    seen = [one for page in pages for one in _told(page)]
    held = await read_versions(probe.demo)
    expected = [one for slug, versions in held.items() for one in _versions(slug, versions)]
    expect_same(sorted(seen), sorted(expected), "versions")
    instants = [instant for instant, _, _ in seen]
    expect_same(instants, sorted(instants, reverse=True), "newest first")
    return f"{len(seen)} versions on {len(pages)} pages, newest first"


_Version = tuple[str, str, str]
"""`meta.lastUpdated`, public id, versionId."""


def _versions(slug: str, held: Sequence[Resource]) -> list[_Version]:
    return [
        (one["meta"]["lastUpdated"], f"{slug}.{one['id']}", one["meta"]["versionId"])
        for one in held
        if one["resourceType"] == "CareTeam"
    ]


def _told(bundle: Any) -> list[_Version]:
    resources = [entry["resource"] for entry in bundle.get("entry", ())]
    return [
        (one["meta"]["lastUpdated"], one["id"], one["meta"]["versionId"])
        for one in resources
        if one["resourceType"] == "CareTeam"
    ]


def _without_meta(resource: Resource) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "meta"}


async def xml(probe: Probe) -> str:
    query = [("_count", "5"), ("_include", "CareTeam:subject")]
    json = (await probe.send("GET", "/fhir/CareTeam", query=query)).json
    answer = await probe.send("GET", "/fhir/CareTeam", query=[*query, ("_format", "xml")])
    expect(answer.headers["content-type"].startswith("application/fhir+xml"), "content type")
    tree = ET.fromstring(answer.body)  # noqa: S314  # the broker of this very demonstration
    expect_same(tree.tag, f"{_FHIR}Bundle", "root")
    seen = [one.get("value") for one in tree.findall(f"{_FHIR}entry/{_FHIR}resource/*/{_FHIR}id")]
    expect_same(seen, [*ids(json), *(one["id"] for one in entries(json, "include"))], "the same entries")
    return f"the same {len(seen)} entries as in JSON"


async def compressed(probe: Probe) -> str:
    query = [("_count", "20")]
    plain = await probe.send("GET", "/fhir/CareTeam", query=query)
    zipped = await probe.send("GET", "/fhir/CareTeam", query=query, headers={"Accept-Encoding": "gzip"})
    expect_same(zipped.headers.get("content-encoding"), "gzip", "Content-Encoding")
    expect_same(_without_links(gzip.decompress(zipped.body)), _without_links(plain.body), "the content")
    return f"{len(plain.body)} bytes in {len(zipped.body)}"


def _without_links(body: bytes) -> object:
    bundle = Answer(200, {}, body, 0.0).json  # each answer has page links of its own
    bundle.pop("link")
    return bundle


async def strict(probe: Probe) -> str:
    query = [("colour", "Zorglub"), ("status", "active")]
    refused = await probe.send("GET", "/fhir/CareTeam", query=query, headers={"Prefer": "handling=strict"})
    expect_same(refused.status, 400, "handling=strict: status")
    expect_same(refused.json["resourceType"], "OperationOutcome", "handling=strict")
    expect(b"colour" in refused.body, "the parameter is not named")
    expect(b"Zorglub" not in refused.body, "the value is repeated")
    lenient = await probe.send("GET", "/fhir/CareTeam", query=query)
    expect_same(lenient.status, 200, "lenient: status")
    expect(
        "colour" not in (link(lenient.json, "self") or "colour"), "an ignored parameter is in the self link"
    )
    expect(len(ids(lenient.json)) <= len(circles(probe.held)), "more than there is")
    return "an unknown parameter: 400 if strict, else left out of self"


async def malformed(probe: Probe) -> str:
    cases = (("_count", "many"), ("start", "soon"), ("status:resembles", "active"))
    for name, value in cases:
        answer = await probe.send("GET", "/fhir/CareTeam", query=[(name, value)])
        expect_same((answer.status, answer.json["resourceType"]), (400, "OperationOutcome"), name)
        expect(bool(issue_reasons(answer.json)), f"{name}: no reason")
    answer = await probe.send("GET", "/fhir/CareTeam", headers={"Accept": "text/csv"})
    expect_same(answer.status, 406, "an unknown format: status")
    return "malformed values and formats: an OperationOutcome with the right status"
