"""Only id and meta may change in what a sandbox keeps."""

from __future__ import annotations

import orjson
import pytest

from adapters.sandbox import raw_json
from broker.errors import RequestError

RAW = (
    b'{ "resourceType" : "CareTeam", "z": 1.10, "big": 12345678901234567890123, "exp": 1E+2, "id" : "old",'
    b' "_name": {"extension": [{"valueString": ""}]}, "text": {"div": "<p>\\u00e9 \\/ caf\xc3\xa9</p>"}, "a": null }'
)


def stamped(raw: bytes, *, id_last: bool = False) -> bytes:
    return raw_json.stamp(
        raw, identity="new", version_id="7", last_updated="2026-01-01T00:00:00.000Z", id_last=id_last
    )


def test_stamping_keeps_order_numbers_escapes_and_invalid_content() -> None:
    assert stamped(RAW) == (
        b'{"resourceType":"CareTeam","meta":{"versionId":"7","lastUpdated":"2026-01-01T00:00:00.000Z"},'
        b'"z":1.10,"big":12345678901234567890123,"exp":1E+2,"id":"new",'
        b'"_name":{"extension": [{"valueString": ""}]},"text":{"div": "<p>\\u00e9 \\/ caf\xc3\xa9</p>"},"a":null}'
    )


def test_stamping_keeps_the_rest_of_meta() -> None:
    raw = b'{"resourceType":"Patient","meta":{"profile":["p"],"lastUpdated":"x","tag":[{"code":"t"}]},"id":"old"}'
    assert orjson.loads(stamped(raw))["meta"] == {
        "profile": ["p"],
        "lastUpdated": "2026-01-01T00:00:00.000Z",
        "tag": [{"code": "t"}],
        "versionId": "7",
    }
    assert list(orjson.loads(stamped(raw))) == ["resourceType", "meta", "id"]


def test_id_last() -> None:
    assert list(orjson.loads(stamped(b'{"resourceType":"Patient","active":true}', id_last=True)))[-1] == "id"


def test_a_meta_that_is_no_object_is_replaced() -> None:
    assert orjson.loads(stamped(b'{"resourceType":"Patient","meta":[1]}'))["meta"]["versionId"] == "7"


def test_a_subset_is_tagged_and_keeps_what_is_asked_for() -> None:
    raw = stamped(b'{"resourceType":"CareTeam","name":"n","_name":{"id":"x"},"status":"active","x":1.0}')
    kept = orjson.loads(raw_json.subset(raw, {"name"}.__contains__))
    assert set(kept) == {"resourceType", "id", "meta", "name", "_name"}
    assert [tag["code"] for tag in kept["meta"]["tag"]] == ["SUBSETTED"]


def test_rewriting_reaches_every_depth_and_nothing_else() -> None:
    raw = b'{"reference":"a","x":[{"member":{"reference":"a","display":"a"}}, {"reference":"b"}],"n":1.50}'
    changed = raw_json.rewrite(raw, {"reference"}, lambda _, text: text.replace("a", "Z"))
    assert changed == (
        b'{"reference":"Z","x":[{"member":{"reference":"Z","display":"a"}},{"reference":"b"}],"n":1.50}'
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b'{"a":1}x', b"NaN", b'{"a":"\xff"}'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        raw_json.parse(body)
    assert caught.value.key == "request.bad-resource"


def test_a_byte_order_mark_is_dropped() -> None:
    assert raw_json.parse(b"\xef\xbb\xbf{}") == (b"{}", {})


def test_nesting_beyond_reason_is_refused() -> None:
    with pytest.raises(RequestError):
        raw_json.rewrite(b'{"a":' * 200 + b"1" + b"}" * 200, {"reference"}, lambda _, text: text)
