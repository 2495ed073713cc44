"""Envelopes are read back as they were written, and nothing that comes makes the reader fail otherwise than by saying so."""

from __future__ import annotations

import contextlib

import hypothesis.strategies as st
from hypothesis import given, settings

from broker.core.change_event import Change, Operation, PoisonError, decode_headers, encode_headers
from broker.core.event_content import id_only_content, read_event
from broker.core.identity import ID, public_id
from tests.support.change_events import PUBLIC, change
from tests.support.examples import examples

IDS = st.from_regex(r"[A-Za-z0-9\-.]{1,64}", fullmatch=True).filter(
    lambda text: ID.fullmatch(text) is not None
)
SLUGS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,15}", fullmatch=True)
INSTANTS = st.datetimes().map(lambda one: one.isoformat(timespec="milliseconds") + "Z")


@st.composite
def changes(draw: st.DrawFn) -> Change:
    slug, local = draw(SLUGS), draw(IDS)
    return Change(
        slug,
        "53",
        local,
        public_id(slug, local),
        draw(st.none() | IDS),
        draw(st.none() | INSTANTS),
        draw(st.sampled_from(Operation)),
        draw(st.integers(1, 2**48)),
    )


@given(changes())
def test_read_back(told: Change) -> None:
    headers = encode_headers(told, PUBLIC)
    assert decode_headers(headers) == (told, PUBLIC)
    assert read_event(told.key, id_only_content(told, PUBLIC), headers).change == told


@given(changes(), changes())
def test_one_change_one_id(one: Change, other: Change) -> None:
    same = (one.manager, one.local_id, one.version) == (other.manager, other.local_id, other.version)
    if not same:
        assert one.event_id != other.event_id


NAMES = st.sampled_from([name for name, _ in encode_headers(change(), PUBLIC)])


@settings(max_examples=examples(100))
@given(NAMES, st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_any_header(name: str, value: bytes) -> None:
    headers = tuple((one, value if one == name else old) for one, old in encode_headers(change(), PUBLIC))
    with contextlib.suppress(PoisonError):
        told, _ = decode_headers(headers)
        assert told.sequence >= 1
        assert told.event_id.split("/")[0] == told.manager


@settings(max_examples=examples(100))
@given(st.data())
def test_any_damage_to_the_content(data: st.DataObject) -> None:
    content = bytearray(id_only_content(change(), PUBLIC))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_event(change().key, bytes(content), encode_headers(change(), PUBLIC))
    except PoisonError:
        return
    assert found.change == change()
