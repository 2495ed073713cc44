"""JSON and XML: `Accept`, `_format`, and what is neither (cds.md section 6; FHIR R4, http.html#mime-type)."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from .client import FHIR_JSON, FHIR_XML, Answer, Gestionnaire, key, keys
from .world import World

_NS = {"f": "http://hl7.org/fhir"}


def xml(answer: Answer, status: int = 200) -> ET.Element:
    assert (answer.status, answer.media_type) == (status, FHIR_XML), answer.text[:300]
    return ET.fromstring(answer.text)


def value(element: ET.Element, path: str) -> str | None:
    found = element.find(path, _NS)
    return None if found is None else found.get("value")


@pytest.mark.parametrize("media_type", [FHIR_JSON, "application/json", "*/*", "text/html, */*;q=0.1"])
async def test_json_is_what_most_clients_get(
    gestionnaire: Gestionnaire, world: World, media_type: str
) -> None:
    answer = await gestionnaire.get(key(world.circles[0]), Accept=media_type)
    assert answer.status == 200
    assert answer.media_type in {FHIR_JSON, media_type}
    assert (
        "utf-8" in answer.headers["content-type"].lower() or "charset" not in answer.headers["content-type"]
    )


async def test_a_circle_as_xml(gestionnaire: Gestionnaire, world: World) -> None:
    circle = world.circles[0]
    root = xml(await gestionnaire.get(key(circle), Accept=FHIR_XML))
    assert root.tag == "{http://hl7.org/fhir}CareTeam"
    assert value(root, "f:id") == circle["id"]
    assert value(root, "f:meta/f:versionId") == circle["meta"]["versionId"]
    assert value(root, "f:identifier/f:value") == circle["identifier"][0]["value"]
    assert value(root, "f:period/f:start") == circle["period"]["start"]
    members = [found.get("value") for found in root.findall("f:participant/f:member/f:reference", _NS)]
    assert members == [item["member"]["reference"] for item in circle.get("participant", [])]


@pytest.mark.parametrize("name", ["xml", "application/fhir+xml", "text/xml"])
async def test_format_asks_for_xml(gestionnaire: Gestionnaire, world: World, name: str) -> None:
    root = xml(await gestionnaire.get("CareTeam", [*world.scope(), ("_format", name)]))
    assert root.tag == "{http://hl7.org/fhir}Bundle"
    assert value(root, "f:type") == "searchset"
    assert value(root, "f:total") in {None, str(len(world.circles))}
    ids = [found.get("value") for found in root.findall("f:entry/f:resource/f:CareTeam/f:id", _NS)]
    found = keys(await gestionnaire.search_all("CareTeam", world.scope()))
    assert [f"CareTeam/{one}" for one in ids] == found[: len(ids)] != []


@pytest.mark.parametrize("name", ["json", "application/fhir+json"])
async def test_format_overrides_accept(gestionnaire: Gestionnaire, world: World, name: str) -> None:
    answer = await gestionnaire.get(key(world.circles[0]), [("_format", name)], Accept=FHIR_XML)
    assert (answer.status, answer.media_type) == (200, FHIR_JSON)


async def test_errors_are_xml_too(gestionnaire: Gestionnaire) -> None:
    root = xml(await gestionnaire.get("CareTeam/nobody-has-this-id", Accept=FHIR_XML), 404)
    assert root.tag == "{http://hl7.org/fhir}OperationOutcome"
    assert value(root, "f:issue/f:severity") in {"error", "fatal"}


async def test_the_statement_as_xml(gestionnaire: Gestionnaire) -> None:
    root = xml(await gestionnaire.get("metadata", Accept=FHIR_XML))
    assert root.tag == "{http://hl7.org/fhir}CapabilityStatement"


async def test_another_format_is_not_acceptable(gestionnaire: Gestionnaire, world: World) -> None:
    target = key(world.circles[0])
    assert (await gestionnaire.get(target, Accept="application/pdf")).status == 406
    assert (await gestionnaire.get(target, [("_format", "pdf")])).status == 406


async def test_a_search_by_post_is_a_form(gestionnaire: Gestionnaire) -> None:
    answer = await gestionnaire.send(
        "POST", "CareTeam/_search", body="status=active", headers={"Content-Type": "application/pdf"}
    )
    assert answer.status == 415
