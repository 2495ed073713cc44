"""Everything the guide publishes, served by a manager: byte-equal but for ids, references, meta and fullUrl."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.core.bundle import read_resource, read_searchset
from broker.core.bundle_writer import write_searchset
from broker.core.identity import Origin
from registry.model import TRE_R30

PACKAGE = Path(__file__).parents[4] / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"
PUBLIC = "https://b.exemple/fhir"
BRE = Origin("bre", "https://m.bre.exemple/fhir", PUBLIC, "53", "Bretagne")
BOM = "\ufeff".encode()


def _published() -> dict[str, bytes]:
    if not PACKAGE.exists():
        return {}
    files = {}
    with tarfile.open(PACKAGE) as package:
        for member in package.getmembers():
            if member.name.endswith(".json") and "/openapi/" not in member.name:
                handle = package.extractfile(member)
                assert handle is not None
                body = handle.read()
                resource = json.loads(body.removeprefix(BOM))
                if "resourceType" in resource and "id" in resource:
                    files[member.name.rpartition("/")[2]] = body.removeprefix(BOM)
    return files


FILES = _published()
pytestmark = [
    pytest.mark.guide,
    pytest.mark.skipif(not FILES, reason="the guide's package is not beside the repository"),
]


def _members(text: str) -> dict[str, tuple[int, int]]:
    """Where the values of the top-level members stand, by the standard library's own scanner."""
    places = {}
    decoder = json.JSONDecoder()
    position = text.index("{") + 1
    while (match := re.compile(r"\s*(?=\")").match(text, position)) is not None:
        name, position = decoder.raw_decode(text, match.end())
        colon = re.compile(r"\s*:\s*").match(text, position)
        assert colon is not None
        _, end = decoder.raw_decode(text, colon.end())
        places[name] = colon.end(), end
        comma = re.compile(r"\s*,").match(text, end)
        if comma is None:
            break
        position = comma.end()
    return places


def _apart(text: str) -> str:
    """The text with the values of its own id and meta blanked. A meta it lacks is added where the broker adds it."""
    places = _members(text)
    blanks = {"id": "@", "meta": "@"} if "meta" in places else {"id": '@,"meta":@'}
    for name in sorted(blanks, key=lambda name: -places[name][0]):
        start, end = places[name]
        text = text[:start] + blanks[name] + text[end:]
    return text


def _expected(text: str) -> str:
    return re.sub(r'("reference"\s*:\s*"[A-Z][A-Za-z]+/)(?=[A-Za-z0-9.\-]+")', r"\1bre.", _apart(text))


def _as_published(body: bytes) -> bytes:
    return body


def _indented(body: bytes) -> bytes:
    return json.dumps(json.loads(body), indent=2, ensure_ascii=False).encode()


FORMS = [_as_published, _indented]


def test_the_package_holds_what_this_test_is_about() -> None:
    assert len(FILES) >= 18
    assert sum(name.startswith(("CareTeam-", "Patient-", "Bundle-")) for name in FILES) == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FILES)
def test_it_comes_through_a_searchset(name: str, form: Callable[[bytes], bytes]) -> None:
    body = form(FILES[name])
    resource = json.loads(body)
    kind, local = resource["resourceType"], resource["id"]
    served = (
        b'{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{"fullUrl":"https://m.bre.exemple/fhir/x",'
        b'"resource":' + body + b',"search":{"mode":"match"}}]}'
    )
    bundle = read_searchset(served, BRE, kind, {})
    assert bundle.problems == ()
    (entry,) = bundle.entries
    assert (entry.type, entry.public_id, entry.mode) == (kind, f"bre.{local}", "match")
    assert _apart(entry.raw.decode()) == _expected(body.decode())

    text = write_searchset(PUBLIC, bundle.entries)
    assert entry.raw in text
    (written,) = json.loads(text)["entry"]
    assert written["fullUrl"] == f"{PUBLIC}/{kind}/bre.{local}"
    assert written["resource"]["id"] == f"bre.{local}"
    added = {"source": BRE.base_url, "tag": [{"system": TRE_R30, "code": "53"}]}
    assert written["resource"]["meta"] == resource.get("meta", {}) | added


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("name", FILES)
def test_it_comes_through_a_read(name: str, mark: bytes) -> None:
    body = FILES[name]
    entry = read_resource(mark + body, BRE, json.loads(body)["resourceType"], {})
    assert _apart(entry.raw.decode()) == _expected(body.decode().strip())


def test_the_examples_references_do_change() -> None:
    entry = read_resource(FILES["CareTeam-cds-careteam-example.json"], BRE, "CareTeam", {})
    resource = json.loads(entry.raw)
    assert resource["subject"]["reference"] == "Patient/bre.cds-patient-example"
    assert resource["participant"][0]["member"]["reference"] == "RelatedPerson/bre.cds-relatedperson-example"
    assert resource["_name"]["extension"][0]["extension"][1] == {"url": "content", "valueString": ""}
