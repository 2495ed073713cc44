from __future__ import annotations

import json

from broker.core.bundle import read_history, read_searchset
from broker.core.bundle_writer import write_history, write_searchset
from broker.core.entry import Change, Entry, Mode
from broker.core.identity import Origin

PUBLIC = "https://b.exemple/fhir"
OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"timeout"}]}'


def entry(local: str, mode: Mode = "match", kind: str = "CareTeam") -> Entry:
    raw = f'{{"resourceType":"{kind}","id":"bre.{local}","n":1.50}}'.encode()
    return Entry(mode, kind, local, f"bre.{local}", "1", "2026-01-01T00:00:00Z", None, (), raw)


def test_a_searchset_has_matches_then_includes_then_the_outcome() -> None:
    text = write_searchset(
        PUBLIC + "/",
        [entry("p", "include", "Patient"), entry("2"), entry("1")],
        links=[("self", PUBLIC + "/CareTeam?status=active"), ("next", PUBLIC + "?page=x")],
        total=2,
        outcome=OUTCOME,
        bundle_id="b1",
        last_updated="2026-11-20T09:00:00Z",
    )
    assert b'"n":1.50' in text
    bundle = json.loads(text)
    assert list(bundle) == ["resourceType", "id", "meta", "type", "total", "link", "entry"]
    assert bundle["meta"] == {"lastUpdated": "2026-11-20T09:00:00Z"}
    assert [link["relation"] for link in bundle["link"]] == ["self", "next"]
    assert [(e.get("fullUrl"), e["search"]["mode"]) for e in bundle["entry"]] == [
        (PUBLIC + "/CareTeam/bre.2", "match"),
        (PUBLIC + "/CareTeam/bre.1", "match"),
        (PUBLIC + "/Patient/bre.p", "include"),
        (None, "outcome"),
    ]


def test_an_empty_searchset_has_neither_entry_nor_total() -> None:
    assert json.loads(write_searchset(PUBLIC, [])) == {"resourceType": "Bundle", "type": "searchset"}
    assert json.loads(write_searchset(PUBLIC, [], total=0))["total"] == 0
    assert len(json.loads(write_searchset(PUBLIC, [], outcome=OUTCOME))["entry"]) == 1


def test_what_one_broker_writes_another_reads() -> None:
    national = Origin("nat", PUBLIC, "https://nat.exemple/fhir", "11")
    text = write_searchset(PUBLIC, [entry("1"), entry("2")], outcome=OUTCOME, total=2)
    bundle = read_searchset(text, national, "CareTeam", {})
    assert [e.public_id for e in bundle.entries] == ["nat.bre.1", "nat.bre.2"]
    assert bundle.outcomes == (OUTCOME,)


def test_a_history_keeps_order_and_says_what_was_done() -> None:
    deleted = Entry(
        "match", "CareTeam", "1", "bre.1", "3", None, None, (), b"", Change("DELETE", "204", 'W/"3"', "2026-03-01T00:00:00Z")
    )  # fmt: skip
    text = write_history(PUBLIC, [deleted, entry("1")], total=2, outcome=OUTCOME)
    first, second, last = json.loads(text)["entry"]
    assert first == {
        "fullUrl": PUBLIC + "/CareTeam/bre.1",
        "request": {"method": "DELETE", "url": "CareTeam/bre.1"},
        "response": {"status": "204", "etag": 'W/"3"', "lastModified": "2026-03-01T00:00:00Z"},
    }
    assert second["request"] == {"method": "PUT", "url": "CareTeam/bre.1"}
    assert second["response"]["etag"] == 'W/"1"'
    assert last["request"]["method"] == "GET"
    assert last["response"]["outcome"] == json.loads(OUTCOME)


def test_a_history_comes_through_a_second_broker() -> None:
    national = Origin("nat", PUBLIC, "https://nat.exemple/fhir", "11")
    bundle = read_history(write_history(PUBLIC, [entry("1")], outcome=OUTCOME), national, {})
    assert [e.public_id for e in bundle.entries] == ["nat.bre.1"]
    assert bundle.outcomes == (OUTCOME,)
    assert bundle.problems == ()
