from __future__ import annotations

import json
from typing import Any

import pytest

from broker.core.bundle import Entry, read_history, read_resource, read_searchset
from broker.core.identity import Origin, public_id
from broker.core.messages import MESSAGES
from broker.errors import FailureKind, ManagerError
from registry.model import TRE_R30

BRE = Origin("bre", "https://m.bre.exemple/fhir", "https://b.exemple/fhir", "53", "Bretagne")
IDF = Origin("idf", "https://m.idf.exemple/fhir", "https://b.exemple/fhir", "11", "Île-de-France")
REGION = {"system": TRE_R30, "code": "53"}
BASE = BRE.base_url


def read_one(resource: str, kind: str = "CareTeam", **more: Any) -> Entry:
    body = '{"resourceType":"Bundle","entry":[{"resource":' + resource + "}]}"
    bundle = read_searchset(body.encode(), BRE, kind, {}, **more)
    assert bundle.problems == ()
    return bundle.entries[0]


def meta_of(entry: Entry) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(entry.raw)["meta"]
    return meta


COMMON = (
    '{"resourceType":"CareTeam","id":"7","meta":{"versionId":"2","lastUpdated":"2026-01-02T03:04:05.006+01:00"%s},'
    '"status":"active","subject":{"reference":"Patient/1"}}'
)


def test_a_resource_comes_out_in_public_terms() -> None:
    entry = read_one(COMMON % ',"profile":["p"]')
    assert entry.raw.decode() == (
        '{"resourceType":"CareTeam","id":"bre.7","meta":{"versionId":"2","lastUpdated":"2026-01-02T03:04:05.006+01:00"'
        ',"profile":["p"],"source":"https://m.bre.exemple/fhir","tag":[{"system":"'
        + TRE_R30
        + '","code":"53"}]},'
        '"status":"active","subject":{"reference":"Patient/bre.1"}}'
    )
    assert (entry.type, entry.local_id, entry.public_id, entry.mode) == ("CareTeam", "7", "bre.7", "match")
    assert (entry.version_id, entry.last_updated) == ("2", "2026-01-02T03:04:05.006+01:00")
    assert (entry.source, entry.tags) == (BASE, ((TRE_R30, "53"),))


@pytest.mark.parametrize(
    "meta",
    [
        "",
        ',"source":"#hapi-trace"',
        ',"source":"#hapi-trace","profile":["p"]',
        ',"source":""',
        ',"source":"not a uri"',
        ',"profile":["p"],"source":"#x"',
        ',"tag":[{"system":"s","code":"c"},{"system":"t","code":"d"}]',
        ',"tag":[]',
        ',"tag":[ ]',
        ',"tag":[{"extension":[{"url":"u","valueCoding":{"code":"x"}}],"system":"s","code":"c"}]',
        ',"extension":[{"url":"},\\"","valueString":"}"}],"security":[{"code":"R"}]',
        ',"_versionId":{"id":"a"}',
    ],
)
def test_source_and_region_are_added_to_any_meta_and_nothing_else_changes(meta: str) -> None:
    text = COMMON % meta
    given = json.loads(text)["meta"]
    got = meta_of(read_one(text))
    assert got.pop("source") == BASE
    assert got.pop("tag") == [*given.pop("tag", []), REGION]
    given.pop("source", None)
    assert got == given
    assert list(got) == list(given)


def test_an_absolute_source_stays_and_names_the_home_of_a_replica() -> None:
    text = COMMON % ',"source":"https://m.idf.exemple/fhir/CareTeam/9"'
    assert meta_of(read_one(text))["source"] == "https://m.idf.exemple/fhir/CareTeam/9"
    known = read_one(text, origins=[BRE, IDF])
    assert meta_of(known)["source"] == known.source == "https://b.exemple/fhir/CareTeam/idf.9"
    assert read_one(COMMON % ',"source":"urn:oid:1.2"', origins=[BRE, IDF]).source == "urn:oid:1.2"


def test_a_region_that_is_there_is_not_added_again() -> None:
    entry = read_one(COMMON % f',"tag":[{{"system":"{TRE_R30}|53","code":"11"}}]')
    assert meta_of(entry)["tag"] == [{"system": f"{TRE_R30}|53", "code": "11"}]
    assert entry.tags == ((f"{TRE_R30}|53", "11"),)


@pytest.mark.parametrize("meta", ['"text"', "[]", "17", '{"tag":{}}', '{"source":5}', '{"tag":["x"]}'])
def test_a_meta_of_the_wrong_shape_is_left_to_the_manager(meta: str) -> None:
    entry = read_one('{"resourceType":"CareTeam","id":"7","meta":' + meta + ',"x":1.0}')
    assert entry.raw.decode() == '{"resourceType":"CareTeam","id":"bre.7","meta":' + meta + ',"x":1.0}'
    assert entry.version_id is entry.last_updated is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"resourceType":"CareTeam","id":"7"}', '{"resourceType":"CareTeam","id":"bre.7","meta":%s}'),
        ('{"resourceType":"CareTeam","meta":{},"id":"7"}', '{"resourceType":"CareTeam","meta":%s,"id":"bre.7"}'),
        (
            '{"resourceType":"CareTeam","id":"7","meta":{},"a":{}}',
            '{"resourceType":"CareTeam","id":"bre.7","meta":%s,"a":{}}',
        ),
        (
            '{"x": 1.0 ,\n"id" : "7",\n "resourceType":"CareTeam" }',
            '{"x": 1.0 ,\n"id" : "bre.7","meta":%s,\n "resourceType":"CareTeam" }',
        ),
        (
            '{"contained":[{"resourceType":"Patient","id":"c","meta":{}}],"resourceType":"CareTeam","id":"7"}',
            '{"contained":[{"resourceType":"Patient","id":"c","meta":{}}],"resourceType":"CareTeam","id":"bre.7","meta":%s}',
        ),
        (r'{"resourceType":"Care\u0054eam","\u0069d":"\u0037"}', r'{"resourceType":"Care\u0054eam","id":"bre.7","meta":%s}'),
    ],
)  # fmt: skip
def test_members_in_any_order_and_spacing(text: str, expected: str) -> None:
    meta = '{"source":"https://m.bre.exemple/fhir","tag":[' + json.dumps(REGION, separators=(",", ":")) + "]}"
    assert read_one(text).raw.decode() == expected % meta


def test_nested_ids_and_metas_are_not_the_resources_own() -> None:
    text = COMMON % "" + ""
    text = (
        text[:-1]
        + ',"contained":[{"resourceType":"Patient","id":"c1","meta":{"source":"#x"}}],"name":{"id":"e"}}'
    )
    got = json.loads(read_one(text).raw)
    assert got["id"] == "bre.7"
    assert got["contained"] == [{"resourceType": "Patient", "id": "c1", "meta": {"source": "#x"}}]
    assert got["name"] == {"id": "e"}


@pytest.mark.parametrize(
    ("resource", "problem"),
    [
        (COMMON.replace('"id":"7"', '"id":"../7"') % "", "manager.entry-id"),
        (COMMON.replace('"id":"7"', '"id":".."') % "", "manager.entry-id"),
        (COMMON.replace('"id":"7"', '"id":7') % "", "manager.entry-id"),
        (COMMON.replace('"id":"7",', "") % "", "manager.entry-id"),
        (COMMON.replace('"status":"active"', '"id":"idf.9"') % "", "manager.entry-unreadable"),
        (COMMON.replace('"status":"active"', r'"\u0069d" : "idf.9"') % "", "manager.entry-unreadable"),
        ('{"id":"1","resourceType":"CareTeam","id":"1"}', "manager.entry-unreadable"),
        ('{"id":"1"}', "manager.entry-unreadable"),
        ('{"id":"1","resourceType":"<script>"}', "manager.entry-unreadable"),
        ("[]", "manager.entry-unreadable"),
        ('"CareTeam"', "manager.entry-unreadable"),
        ("null", "manager.entry-unreadable"),
    ],
)
def test_a_bad_entry_costs_itself_alone(resource: str, problem: str) -> None:
    good = COMMON % ""
    body = f'{{"resourceType":"Bundle","entry":[{{"resource":{resource}}},{{"resource":{good}}},{{"search":{{}}}}]}}'
    bundle = read_searchset(body.encode(), BRE, "CareTeam", {})
    assert [entry.public_id for entry in bundle.entries] == ["bre.7"]
    assert bundle.problems == (problem, "manager.entry-empty")
    assert set(bundle.problems) <= MESSAGES.keys()


def searchset(*entries: tuple[str, str, str | None], **more: Any) -> bytes:
    listed = [
        {"resource": {"resourceType": kind, "id": local}} | ({"search": {"mode": mode}} if mode else {})
        for kind, local, mode in entries
    ]
    return json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": listed} | more).encode()


def test_modes_repeats_and_links() -> None:
    body = searchset(
        ("CareTeam", "1", None),
        ("Patient", "1", "match"),
        ("CareTeam", "2", "include"),
        ("CareTeam", "2", "match"),
        ("CareTeam", "1", "match"),
        ("Patient", "1", None),
        ("OperationOutcome", "", "outcome"),
        total=2,
        link=[{"relation": "self", "url": "s"}, {"relation": "next", "url": "?_getpages=1"}],
    )
    bundle = read_searchset(body, BRE, "CareTeam", {})
    assert [(e.type, e.public_id, e.mode) for e in bundle.entries] == [
        ("CareTeam", "bre.1", "match"),
        ("Patient", "bre.1", "include"),
        ("CareTeam", "bre.2", "match"),
    ]
    assert (bundle.total, bundle.self_url, bundle.next_url) == (2, "s", "?_getpages=1")
    assert [json.loads(raw)["resourceType"] for raw in bundle.outcomes] == ["OperationOutcome"]


def test_an_empty_searchset() -> None:
    bundle = read_searchset(b'{"resourceType":"Bundle","total":-1}', BRE, "CareTeam", {})
    assert (bundle.entries, bundle.total, bundle.next_url, bundle.problems) == ((), None, None, ())


@pytest.mark.parametrize("long", ["x" * 64, "alias--" + "0" * 40])
def test_ids_that_need_an_alias_get_it_everywhere(long: str) -> None:
    aliases: dict[str, str] = {}
    text = (COMMON % "").replace('"id":"7"', f'"id":"{long}"').replace("Patient/1", f"Patient/{long}")
    body = f'{{"resourceType":"Bundle","entry":[{{"resource":{text}}}]}}'.encode()
    entry = read_searchset(body, BRE, "CareTeam", aliases).entries[0]
    alias = public_id("bre", long)
    assert (entry.public_id, entry.local_id) == (alias, long)
    assert aliases == {alias: long}
    got = json.loads(entry.raw)
    assert (got["id"], got["subject"]["reference"]) == (alias, f"Patient/{alias}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'{"resourceType":"OperationOutcome"}',
        b'{"entry":[]}',
        b'{"resourceType":"Bundle","entry":{}}',
        b'{"resourceType":"Bundle","total":"many"}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"CareTeam","id":"1"',
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"CareTeam","id":"1","x":"\xe9"}}]}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"id":"1","x":01}}]}',
        b'{"resourceType":"Bundle"} {}',
        b'{"resourceType":"Bundle","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"resourceType":"Bundle","entry":[{"resource":'
        + b'{"a":' * 100_000
        + b"1"
        + b"}" * 100_001
        + b"]}",
        b'{"resourceType":"Bundle","x":' + b"[" * 100_000,
        b'{"resourceType":"Bundle","\\u0061":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_bundle_is_an_invalid_answer(body: bytes) -> None:
    for read in (_as_searchset, _as_history):
        with pytest.raises(ManagerError) as caught:
            read(body)
        assert caught.value.kind is FailureKind.INVALID
        assert caught.value.params == {"slug": "bre", "name": "Bretagne", "region": "Bretagne"}


def _as_searchset(body: bytes) -> None:
    read_searchset(body, BRE, "CareTeam", {})


def _as_history(body: bytes) -> None:
    read_history(body, BRE, {})


def test_a_byte_order_mark_is_dropped() -> None:
    assert read_searchset(b"\xef\xbb\xbf" + searchset(("CareTeam", "1", None)), BRE, "CareTeam", {}).entries
    entry = read_resource(b"\xef\xbb\xbf" + (COMMON % "").encode() + b"\r\n", BRE, "CareTeam", {})
    assert entry.raw.startswith(b'{"resourceType":"CareTeam","id":"bre.7"')
    assert entry.raw.endswith(b"}")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"resourceType":"Patient","id":"7"}', b'{"resourceType":"CareTeam"}',
                                  (COMMON % "").encode() + b",", b"[" * 100_000 + b"]" * 100_000])  # fmt: skip
def test_a_read_that_gives_something_else_is_invalid(body: bytes) -> None:
    with pytest.raises(ManagerError):
        read_resource(body, BRE, "CareTeam", {})


def test_identifiers_are_read_on_demand() -> None:
    text = '{"resourceType":"CareTeam","id":"7","identifier":[{"system":"s","value":"1"},{"value":"2"},{"system":"t"}]}'
    assert read_one(text).identifiers == (("s", "1"), (None, "2"))
    assert read_one('{"resourceType":"CareTeam","id":"7","identifier":{"value":"3"}}').identifiers == (
        (None, "3"),
    )
    assert read_one('{"resourceType":"CareTeam","id":"7","identifier":"x"}').identifiers == ()


def test_an_unsafe_version_is_not_repeated() -> None:
    entry = read_one('{"resourceType":"CareTeam","id":"7","meta":{"versionId":"1\\r\\nX: y"}}')
    assert entry.version_id is None


def test_history_with_a_deletion() -> None:
    body = json.dumps(
        {
            "resourceType": "Bundle",
            "type": "history",
            "total": 3,
            "link": [{"relation": "next", "url": "n"}],
            "entry": [
                {
                    "fullUrl": f"{BASE}/CareTeam/7",
                    "request": {"method": "DELETE", "url": "CareTeam/7"},
                    "response": {"status": "204", "etag": 'W/"3"', "lastModified": "2026-03-01T00:00:00Z"},
                },
                {
                    "resource": {
                        "resourceType": "CareTeam",
                        "id": "7",
                        "subject": {"reference": "Patient/1"},
                    },
                    "request": {"method": "PUT", "url": "CareTeam/7"},
                    "response": {"status": "200", "location": f"{BASE}/CareTeam/7/_history/2"},
                },
                {"resource": json.loads(COMMON % "")},
                {
                    "fullUrl": "urn:uuid:1",
                    "request": {"method": "DELETE", "url": "https://elsewhere/CareTeam/1"},
                },
                {"resource": {"resourceType": "OperationOutcome", "issue": []}},
            ],
        }
    ).encode()
    bundle = read_history(body, BRE, {})
    deleted, updated, bare = bundle.entries
    assert (deleted.public_id, deleted.version_id, deleted.raw) == ("bre.7", "3", b"")
    assert deleted.last_updated == "2026-03-01T00:00:00Z"
    assert deleted.change is not None
    assert deleted.change.method == "DELETE"
    assert updated.version_id == "2"
    assert updated.change is not None
    assert updated.change.location == "https://b.exemple/fhir/CareTeam/bre.7/_history/2"
    assert json.loads(updated.raw)["subject"]["reference"] == "Patient/bre.1"
    assert bare.version_id == "2"
    assert bundle.problems == ("manager.entry-empty",)
    assert (bundle.total, bundle.next_url, len(bundle.outcomes)) == (3, "n", 1)
