"""The envelope of a change event: what is written, what is read, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core.change_event import (
    SCHEMA,
    Change,
    Operation,
    Poison,
    PoisonError,
    decode_headers,
    encode_headers,
)
from broker.core.identity import public_id
from broker.core.messages import MESSAGES
from tests.support.change_events import PUBLIC, change

HEADERS = encode_headers(change(), PUBLIC)


def with_header(name: str, value: bytes | None) -> tuple[tuple[str, bytes], ...]:
    rest = tuple(one for one in HEADERS if one[0] != name)
    return rest if value is None else (*rest, (name, value))


def test_the_headers() -> None:
    assert dict(HEADERS) == {
        "ce_specversion": b"1.0",
        "ce_id": b"bre/CareTeam/12/3",
        "ce_source": b"https://broker.example/fhir",
        "ce_type": b"fr.cds-broker.careteam.updated",
        "ce_subject": b"CareTeam/bre.12",
        "ce_time": b"2026-01-01T00:00:00Z",
        "ce_dataschema": b"urn:cds-broker:change-event:1",
        "ce_sequence": b"0000000000000007",
        "ce_home": b"bre",
        "ce_region": b"53",
        "content-type": b"application/fhir+json",
    }
    assert change().key == b"bre.12"
    assert "content-type" not in dict(encode_headers(change(), PUBLIC, tombstone=True))


def test_numbers_sort_as_texts_do() -> None:
    texts = [
        dict(encode_headers(change(sequence=n), PUBLIC))["ce_sequence"] for n in (9, 10, 1_767_225_600_000)
    ]
    assert texts == sorted(texts)


def test_read_back() -> None:
    assert decode_headers(HEADERS) == (change(), PUBLIC)


def test_a_change_without_version_and_instant() -> None:
    gone = change(version=None, last_updated=None, operation=Operation.DELETED)
    headers = encode_headers(gone, PUBLIC, tombstone=True)
    assert gone.event_id == "bre/CareTeam/12/@7"
    assert "ce_time" not in dict(headers)
    assert decode_headers(headers) == (gone, PUBLIC)


def test_an_instant_that_no_envelope_may_hold_is_left_out() -> None:
    headers = encode_headers(change(last_updated="2026-01-01"), PUBLIC)
    assert decode_headers(headers)[0].last_updated is None


def test_an_id_that_an_alias_stands_for() -> None:
    long = "x" * 64
    told = change(long)
    assert told.public_id == public_id("bre", long) != f"bre.{long}"
    assert decode_headers(encode_headers(told, PUBLIC))[0] == told


def test_what_is_not_known_is_passed_over() -> None:
    more = (*HEADERS, ("ce_traceparent", b"\xff\xfe"), ("traceparent", b"00"), ("ce_traceparent", b"twice"))
    assert decode_headers(more)[0] == change()


def test_a_trace_goes_with_it_and_is_no_part_of_it() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = replace(change(), traceparent=trace)
    assert traced == change()
    headers = encode_headers(traced, PUBLIC)
    assert dict(headers)["ce_traceparent"] == dict(headers)["traceparent"] == trace.encode()
    assert decode_headers(headers)[0].traceparent == trace
    assert decode_headers(HEADERS)[0].traceparent is None
    for wrong in (b"", b"\xff\xfe", trace.upper().encode(), trace.encode() + b"-"):
        again = tuple((name, wrong if name == "ce_traceparent" else value) for name, value in headers)
        assert decode_headers(again)[0].traceparent is None
    assert decode_headers((*headers, ("ce_traceparent", trace.encode())))[0].traceparent is None


@pytest.mark.parametrize("name", ["Content-Type", "CONTENT-TYPE", "CE_ID"])
def test_names_are_read_whatever_their_case(name: str) -> None:
    renamed = tuple((name if one == name.lower() else one, value) for one, value in HEADERS)
    assert decode_headers(renamed)[0] == change()


@pytest.mark.parametrize("name", sorted(set(dict(HEADERS)) - {"ce_time", "content-type"}))
@pytest.mark.parametrize("value", [None, b"", b"\xff"])
def test_every_attribute_is_needed_and_is_text(name: str, value: bytes | None) -> None:
    with pytest.raises(PoisonError) as caught:
        decode_headers(with_header(name, value))
    assert caught.value.kind in (Poison.HEADERS, Poison.SCHEMA)
    assert caught.value.detail == name


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("ce_specversion", b"0.3", Poison.SCHEMA),
        ("ce_dataschema", SCHEMA.encode()[:-1] + b"2", Poison.SCHEMA),
        ("ce_type", b"fr.cds-broker.careteam.merged", Poison.SCHEMA),
        ("ce_type", b"com.example.updated", Poison.SCHEMA),
        ("content-type", b"application/xml", Poison.SCHEMA),
        ("ce_sequence", b"0", Poison.HEADERS),
        ("ce_sequence", b"-1", Poison.HEADERS),
        ("ce_sequence", "٧".encode(), Poison.HEADERS),
        ("ce_id", b"bre/CareTeam/12", Poison.HEADERS),
        ("ce_id", b"bre/Patient/12/3", Poison.HEADERS),
        ("ce_id", b"BRE/CareTeam/12/3", Poison.HEADERS),
        ("ce_id", b"bre/CareTeam/12/@8", Poison.HEADERS),
        ("ce_id", b"bre/CareTeam/../3", Poison.HEADERS),
        ("ce_subject", b"CareTeam/bre.13", Poison.HEADERS),
        ("ce_home", b"occ", Poison.HEADERS),
        ("ce_region", b"5 3", Poison.HEADERS),
        ("ce_time", b"2026-02-30T00:00:00Z", Poison.HEADERS),
        ("ce_time", b"yesterday", Poison.HEADERS),
    ],
)
def test_poison(name: str, value: bytes, kind: Poison) -> None:
    with pytest.raises(PoisonError) as caught:
        decode_headers(with_header(name, value))
    assert (caught.value.kind, caught.value.detail) == (kind, name)
    assert caught.value.key in MESSAGES


def test_an_attribute_that_comes_twice() -> None:
    with pytest.raises(PoisonError) as caught:
        decode_headers((*HEADERS, ("ce_home", b"bre")))
    assert caught.value.detail == "ce_home"


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "a/b"},
        {"sequence": 0},
        {"public_id": "bre.13"},
        {"local_id": "1/2"},
    ],
)
def test_what_no_event_can_say(wrong: dict[str, object]) -> None:
    told = {
        "manager": "bre",
        "region": "53",
        "local_id": "12",
        "public_id": "bre.12",
        "version": "3",
        "last_updated": None,
        "operation": Operation.UPDATED,
        "sequence": 7,
    }
    Change(**told)  # type: ignore[arg-type]  # a table of fields
    with pytest.raises(ValueError, match=r"."):
        Change(**(told | wrong))  # type: ignore[arg-type]  # a table of fields
