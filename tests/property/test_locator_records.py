"""Whatever the index packs comes back, one after the other, and nothing is found where it is not."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from registry.locator_hash import DIGEST, SHORT, Keyring, bucket_of, tag_of
from registry.locator_records import (
    Entry,
    Links,
    entries,
    identity,
    links_to,
    pack_entry,
    pack_id,
    pack_link,
    unpack_entry,
    unpack_id,
    varint,
)

digests = st.binary(min_size=DIGEST, max_size=DIGEST)
ids = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda one: str(one).upper()),
    st.integers(0, 10**22).map(str),
    st.text(max_size=128),
    st.from_regex(r"[A-Za-z0-9\-\.]{1,64}", fullmatch=True),
)
links = st.builds(Links, st.frozensets(digests, max_size=4), st.frozensets(digests, max_size=3))
whole_entries = st.builds(
    Entry,
    st.integers(1, 255),
    ids,
    st.integers(0, 2**48 - 1),
    st.none() | ids,
    st.booleans(),
    links,
    links,
    st.integers(0, 255),
    st.none() | st.integers(0, 2**32 - 1),
)


@given(whole_entries)
def test_an_entry_comes_back(entry: Entry) -> None:
    packed = pack_entry(entry)
    assert unpack_entry(packed) == entry
    assert packed[8:].startswith(identity(entry.manager, entry.circle_id))


@given(st.lists(whole_entries, max_size=8))
def test_a_bucket_comes_back(some: list[Entry]) -> None:
    packed = [pack_entry(one) for one in some]
    assert list(entries(b"".join(varint(len(one)) + one for one in packed))) == some


@given(ids, ids)
def test_no_id_is_taken_for_another(one: str, other: str) -> None:
    packed = pack_id(one)
    assert unpack_id(packed, 0) == (one, len(packed))
    assert (one == other) == (packed == pack_id(other))
    assert one == other or not pack_id(other).startswith(packed), "an id is never the beginning of another"


@given(st.lists(st.tuples(digests, st.integers(1, 255), digests, st.integers(0, 255)), max_size=12), digests)
def test_links_are_found_by_their_digest(some: list[tuple[bytes, int, bytes, int]], asked: bytes) -> None:
    bucket = b"".join(pack_link(*one) for one in some)
    for digest in [asked, *(one[0] for one in some)]:
        wanted = [(manager, entry[:SHORT]) for had, manager, entry, _ in some if had[1:] == digest[1:]]
        assert list(links_to(bucket, digest)) == wanted


@given(st.text(), st.text(), st.integers(8, 28))
def test_a_digest_and_its_bucket(system: str, value: str, bits: int) -> None:
    ring = Keyring(b"0123456789abcdef")
    digest = ring.person((system, value))
    assert tag_of(bucket_of(digest, bits), bits) == digest[0]
    assert ring.person((f" {system}", f"{value}\n")) == digest
    assert ring.circle((system, value)) != digest
    assert ring.entry("bre", str(uuid.UUID(int=0))) == ring.entry("bre", str(uuid.UUID(int=0)))
