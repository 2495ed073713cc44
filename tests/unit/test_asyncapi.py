"""deploy/asyncapi.yaml says what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.core import topics
from broker.core.change_event import CONTENT_TYPE, SCHEMA, TYPE_PREFIX, Operation, encode_headers
from broker.core.conflict import reconciled
from broker.core.conflict_event import (
    CONFLICT_SCHEMA,
    DETECTED,
    RESOLVED,
    conflict_content,
    conflict_headers,
    conflict_key,
)
from broker.core.event_content import full_content, id_only_content
from broker.core.trace_context import read_traceparent
from broker.sync import dead_letters
from broker.sync.agent import group_of
from broker.sync.change_log import Batch, Position, Record
from tests.support.change_events import PUBLIC, actors, change, entry, team
from tests.support.plain_yaml import read_yaml

FILE = Path(__file__).parents[2] / "deploy" / "asyncapi.yaml"
API: dict[str, Any] = read_yaml(FILE.read_text(encoding="utf-8"))
GONE = change(operation=Operation.DELETED)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = at(node["$ref"])
    return node


def at(pointer: str) -> dict[str, Any]:
    found: Any = API
    for step in pointer.removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if name == "$ref")
        for value in node.values():
            yield from references(value)


def schema(name: str) -> dict[str, Any]:
    return at(f"#/components/schemas/{name}")


def check(value: Any, rule: dict[str, Any], place: str = "") -> None:
    """As much of JSON Schema as the file uses."""
    known = {
        "type",
        "const",
        "enum",
        "required",
        "properties",
        "items",
        "minItems",
        "format",
        "description",
        "examples",
    }
    assert set(rule) <= known, place
    kinds = {"object": dict, "array": list, "string": str}
    assert isinstance(value, kinds[rule["type"]]), place
    assert value == rule.get("const", value), place
    assert value in rule.get("enum", [value]), place
    if isinstance(value, dict):
        assert set(rule.get("required", ())) <= set(value), place
        for name, one in rule.get("properties", {}).items():
            if name in value:
                check(value[name], one, f"{place}.{name}")
    if isinstance(value, list):
        assert len(value) >= rule.get("minItems", 0), place
        for one in value:
            check(one, rule["items"], f"{place}[]")


def test_it_is_asyncapi_3() -> None:
    assert API["asyncapi"] == "3.0.0"
    assert API["defaultContentType"] == CONTENT_TYPE
    for pointer in references(API):
        at(pointer)
    for operation in API["operations"].values():
        assert operation["action"] in ("send", "receive")


def test_the_topics() -> None:
    assert {name: one["address"] for name, one in API["channels"].items()} == {
        "notifications": topics.NOTIFICATIONS,
        "replication": topics.REPLICATION,
        "deadLetters": topics.DEAD_LETTERS,
        "conflicts": topics.CONFLICTS,
    }
    assert topics.conflicts("p") == "p.conflicts"
    made = [topics.notifications("p"), topics.replication("occ", "p"), topics.dead_letters("occ", "p")]
    assert made == ["p.notifications", "p.replication.occ", "p.dead-letters.occ"]
    assert [topics.owner_of(one, "p") for one in ("kafka:occ", *made)] == ["occ", None, "occ", None]
    assert [topics.owner_of(one, "p") for one in ("kafka:", "kafka:O", "q.replication.occ", "occ")] == [
        None
    ] * 4
    for channel in API["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])
    assert at("#/components/parameters/prefix")["default"] == topics.DEFAULT_PREFIX
    assert group_of("{slug}") in API["operations"]["applyReplication"]["summary"]


def test_the_types() -> None:
    types = [TYPE_PREFIX + operation for operation in Operation]
    assert schema("headers")["properties"]["ce_type"]["enum"] == types
    messages = at("#/components/messages")
    assert [messages[operation]["name"] for operation in Operation] == types
    assert messages["tombstone"]["name"] == TYPE_PREFIX + Operation.DELETED
    replicated = API["channels"]["replication"]["messages"].values()
    assert {resolved(one)["name"] for one in replicated} == set(types)


@pytest.mark.parametrize(
    ("told", "tombstone"),
    [(change(), False), (GONE, True), (change(version=None, last_updated=None), False)],
)
def test_the_headers(told: Any, tombstone: bool) -> None:
    headers = {name: value.decode() for name, value in encode_headers(told, PUBLIC, tombstone=tombstone)}
    rule = schema("headers")
    check(headers, rule)
    assert set(headers) <= set(rule["properties"])
    optional = {"ce_time", "ce_reason", "content-type", "ce_traceparent", "traceparent"}
    assert set(rule["properties"]) - set(rule["required"]) == optional
    assert rule["properties"]["ce_dataschema"]["const"] == SCHEMA
    if told == change():
        assert set(headers) == set(rule["properties"]) - {"ce_reason", "ce_traceparent", "traceparent"}


def test_the_trace() -> None:
    rule = schema("headers")["properties"]
    (example,) = rule["ce_traceparent"]["examples"]
    told = replace(change(), traceparent=example)
    headers = {name: value.decode() for name, value in encode_headers(told, PUBLIC)}
    check(headers, schema("headers"))
    assert headers["ce_traceparent"] == headers["traceparent"] == example == read_traceparent(example)


def test_the_contents() -> None:
    full = full_content(change(), entry(team()), [entry(one) for one in actors()], PUBLIC)
    for content in (full, id_only_content(change(), PUBLIC), id_only_content(GONE, PUBLIC)):
        check(json.loads(content), schema("content"))
    assert schema("content")["properties"]["type"]["const"] == "history"


def test_the_key() -> None:
    assert at("#/components/messageBindings/circle")["kafka"]["key"]["examples"] == [change().key.decode()]
    examples = schema("headers")["properties"]
    assert examples["ce_id"]["examples"] == [change().event_id]
    assert examples["ce_subject"]["examples"] == [change().subject]


class _Log:
    """Takes what is published."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def publish(self, record: Any) -> None:
        self.taken.append(record)

    async def read(self, topic: str) -> AsyncIterator[Batch]:
        told = [Record(one.key, one.value, one.headers, Position(0, "0"), 0.0) for one in self.taken]
        yield Batch(topic, tuple(told))


def test_the_conflicts() -> None:
    found: list[list[tuple[str, str]]] = [[("bre", "1"), ("occ", "2")]]
    (one,) = reconciled([], found, 1767225600.007, lambda _: True)
    (over,) = reconciled([one], [], 1767225601.0, lambda _: True)
    rule = schema("conflictHeaders")
    names = [DETECTED, RESOLVED]
    assert rule["properties"]["ce_type"]["enum"] == names
    assert [at(f"#/components/messages/conflict{one}")["name"] for one in ("Detected", "Resolved")] == names
    assert rule["properties"]["ce_dataschema"]["const"] == CONFLICT_SCHEMA
    for told, type_ in ((one, DETECTED), (over, RESOLVED)):
        headers = {name: value.decode() for name, value in conflict_headers(told, PUBLIC)}
        check(headers, rule)
        assert headers["ce_type"] == type_
        assert set(rule["properties"]) - set(headers) == ({"content-type"} if told is over else set())
    assert set(rule["properties"]) - set(rule["required"]) == {"content-type"}
    content = conflict_content(one, PUBLIC)
    assert content is not None
    check(json.loads(content), schema("conflictContent"))
    assert conflict_content(over, PUBLIC) is None
    key = at("#/components/messageBindings/conflict")["kafka"]["key"]["examples"]
    assert key == [conflict_key(one).decode()]
    assert rule["properties"]["ce_id"]["examples"] == [dict(conflict_headers(one, PUBLIC))["ce_id"].decode()]


async def test_the_dead_letters() -> None:
    rule = schema("deadLetterHeaders")
    assert rule["properties"]["dl_reason"]["enum"] == [one.value for one in dead_letters.Reason]
    log = _Log()
    letters = dead_letters.DeadLetters(log, "occ")  # type: ignore[arg-type]  # of a log only this is asked
    record = Record(change().key, None, encode_headers(GONE, PUBLIC), Position(3, "1742"), 0.0)
    await letters.add(record, "cds.replication.occ", dead_letters.Reason.CONFLICT, "CareTeam", 1)
    headers = {name: value.decode() for name, value in log.taken[0].headers if name.startswith("dl_")}
    check(headers, rule)
    assert set(headers) == set(rule["properties"])
    [letter] = await letters.all()
    await letters.discard(letter)
    settled = {name: value.decode() for name, value in log.taken[1].headers}
    assert log.taken[1].value is None
    check(settled, schema("settledHeaders"))
    assert set(settled) == set(schema("settledHeaders")["properties"])


# --- the reader that this test leans on


def test_the_reader_is_strict() -> None:
    assert read_yaml('a: b c\n"d e":\n  - x\n  - "1: 2"\nf: >-\n  g\n  h\n') == {
        "a": "b c",
        "d e": ["x", "1: 2"],
        "f": "g h",
    }
    for wrong in (
        "a: b\na: c",
        "a: yes",
        "a: True",
        "a: [1]",
        "a: b: c",
        "a: b # c",
        "a:\n    b: c\n  d: e",
        "a: 'b'",
        "- a\nb: c",
        "a:",
    ):
        with pytest.raises(ValueError, match=r"."):
            read_yaml(wrong)
