"""The checks of flux 2b → 3b, of the statement, of formats and of what bad input gets."""

from __future__ import annotations

import gzip
from xml.etree import ElementTree as ET

from broker.commands.demo_cast import REVISED
from broker.commands.demo_held import circles, made_public
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
    wanted = {"read", "vread", "history-instance", "history-type", "search-type"}
    expect(wanted <= offered, f"not offered: {sorted(wanted - offered)}")
    expect(not offered & {"create", "update", "patch", "delete"}, "writes are declared and not offered")
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
    for manager in probe.demo.managers:
        names = {}
        latest = probe.held[manager.slug]["CareTeam"][REVISED]
        for version in await _versions(probe, manager.slug):
            path = f"/fhir/CareTeam/{manager.slug}.{REVISED}/_history/{version}"
            answer = await probe.send("GET", path)
            expect_same(answer.status, 200, f"{manager.slug} version {version}: status")
            expect_same(answer.json["meta"]["versionId"], version, "versionId")
            names[version] = answer.json["name"]
        expect_same(len(names), 2, f"{manager.slug}: versions")
        expect_same(names[latest["meta"]["versionId"]], latest["name"], "the latest version")
        expect_same(len(set(names.values())), 2, "different versions")
    return "both versions of a circle of each region"


async def _versions(probe: Probe, slug: str) -> list[str]:
    bundle = (await probe.send("GET", f"/fhir/CareTeam/{slug}.{REVISED}/_history")).json
    return [entry["resource"]["meta"]["versionId"] for entry in bundle.get("entry", ())]


async def history_of_circle(probe: Probe) -> str:
    for manager in probe.demo.managers:
        answer = await probe.send("GET", f"/fhir/CareTeam/{manager.slug}.{REVISED}/_history")
        expect_same((answer.status, answer.json["type"]), (200, "history"), manager.slug)
        instants = [entry["resource"]["meta"]["lastUpdated"] for entry in answer.json["entry"]]
        expect_same(len(instants), 2, f"{manager.slug}: versions")
        expect_same(instants, sorted(instants, reverse=True), f"{manager.slug}: newest first")
    return "two versions in each region, newest first"


async def history_of_type(probe: Probe) -> str:
    """Every version of every circle, paged: as many as the managers themselves tell of."""
    pages = await probe.pages("/fhir/CareTeam/_history", ("_count", "20"))
    seen = [
        (
            entry["resource"]["meta"]["lastUpdated"],
            entry["resource"]["id"],
            entry["resource"]["meta"]["versionId"],
        )
        for page in pages
        for entry in page.get("entry", ())
        if entry["resource"]["resourceType"] == "CareTeam"
    ]
    expect_same(len(seen), len(set(seen)), "repeated versions")
    expected = {
        f"{slug}.{identity}": 2 if identity == REVISED else 1
        for slug, held in probe.held.items()
        for identity in held["CareTeam"]
    }
    counted = {one: sum(1 for _, identity, _ in seen if identity == one) for _, one, _ in seen}
    expect_same(counted, expected, "versions")
    expect_same([one[0] for one in seen], sorted((one[0] for one in seen), reverse=True), "newest first")
    return f"{len(seen)} versions on {len(pages)} pages, newest first"


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
