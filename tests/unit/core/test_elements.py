from __future__ import annotations

import json

import pytest

from broker.core.elements import drop_elements, keep_elements
from broker.core.json_text import JsonError

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
RAW = (
    b'{ "resourceType":"CareTeam","id":"1", "meta" : {"versionId":"1"},"text":{"div":"<a>"},'
    b'"name" : "x","_name":{"id":"n"},"status":"active","period":{"start":"2024"}, "weight":1.50}'
)


def test_named_elements_are_kept_as_they_were() -> None:
    kept = keep_elements(RAW, frozenset({"name", "weight"}))
    assert b'"name" : "x","_name":{"id":"n"},"weight":1.50}' in kept
    got = json.loads(kept)
    assert list(got) == ["resourceType", "id", "meta", "name", "_name", "weight"]
    assert got["meta"] == {"versionId": "1", "tag": [SUBSETTED]}


def test_summary_data_drops_the_narrative() -> None:
    assert list(json.loads(drop_elements(RAW, frozenset({"text", "id"})))) == [
        "resourceType", "id", "meta", "name", "_name", "status", "period", "weight",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("meta", "tags"),
    [
        ("", [SUBSETTED]),
        (',"meta":{}', [SUBSETTED]),
        (',"meta":{"tag":[{"code":"c"}]}', [{"code": "c"}, SUBSETTED]),
        (f',"meta":{{"tag":[{json.dumps(SUBSETTED)}]}}', [SUBSETTED]),
    ],
)
def test_the_subsetted_tag_is_there_once(meta: str, tags: list[dict[str, str]]) -> None:
    raw = f'{{"resourceType":"CareTeam","id":"1"{meta},"status":"active"}}'.encode()
    got = json.loads(keep_elements(raw, frozenset()))
    assert got == {"resourceType": "CareTeam", "id": "1", "meta": {"tag": tags}}


@pytest.mark.parametrize("meta", ["5", '{"tag":7}'])
def test_a_meta_of_the_wrong_shape_stays(meta: str) -> None:
    raw = f'{{"resourceType":"CareTeam","id":"1","meta":{meta}}}'.encode()
    assert keep_elements(raw, frozenset()) == raw


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(JsonError):
        keep_elements(b"[]", frozenset())
