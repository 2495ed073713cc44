"""The bytes of the index, and the keyed hashes in them."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from registry.locator_hash import (
    DIGEST,
    ENTRIES_PER_BUCKET,
    LINKS_PER_BUCKET,
    MAX_BITS,
    MIN_BITS,
    Keyring,
    bits_for,
    bucket_of,
    tag_of,
)
from registry.locator_records import (
    LINK,
    Entry,
    Links,
    entries,
    links_to,
    pack_entry,
    pack_link,
    read_varint,
    unpack_entry,
    varint,
)

RING = Keyring(b"0123456789abcdef")
INS = "urn:oid:1.2.250.1.213.1.4.10"


def test_a_digest_is_hmac_sha_256_under_a_key_of_its_own_purpose() -> None:
    key = hmac.new(b"0123456789abcdef", b"cds locator 1 persons\x01", hashlib.sha256).digest()
    whole = hmac.new(key, f"{INS}\n255069999999934".encode(), hashlib.sha256).digest()
    assert RING.person((INS, "255069999999934")) == whole[:DIGEST]


def test_each_purpose_and_each_secret_hashes_otherwise() -> None:
    who = (INS, "255069999999934")
    other = Keyring(b"another secret...")
    digests = {RING.person(who), RING.circle(who), other.person(who), RING.entry(*who)}
    assert len(digests) == 4
    assert RING.key_id != other.key_id
    assert RING.key_id == Keyring(b"0123456789abcdef").key_id
    assert len(RING.key_id) == 8


def test_a_keyring_shows_no_secret() -> None:
    assert "0123456789abcdef" not in repr(RING)
    assert repr(RING) == f"Keyring(key_id='{RING.key_id}')"


def test_case_and_blanks_do_not_count() -> None:
    assert RING.person(("urn:A", "1 A05x")) == RING.person((" urn:a\t", " 1 a05X\n"))
    assert RING.circle(("urn:a", "STRASSE")) == RING.circle(("urn:a", "straße"))
    assert RING.person(("urn:a", "b")) != RING.person(("urn:ab", ""))


@pytest.mark.parametrize(
    ("expected", "per_bucket", "bits"),
    [
        (0, LINKS_PER_BUCKET, MIN_BITS),
        (1_000, LINKS_PER_BUCKET, MIN_BITS),
        (1_000_000, LINKS_PER_BUCKET, 13),
        (1_000_000, ENTRIES_PER_BUCKET, 14),
        (68_000_000, LINKS_PER_BUCKET, 19),
        (68_000_000, ENTRIES_PER_BUCKET, 20),
        (10**14, ENTRIES_PER_BUCKET, MAX_BITS),
    ],
)
def test_buckets_fit_the_size(expected: int, per_bucket: int, bits: int) -> None:
    assert bits_for(expected, per_bucket) == bits


def test_buckets_hold_two_thirds_to_four_thirds_of_what_they_should() -> None:
    for expected in range(50_000, 3_000_000, 7_001):
        held = expected / (1 << bits_for(expected, LINKS_PER_BUCKET))
        assert 0.66 * LINKS_PER_BUCKET < held < 1.52 * LINKS_PER_BUCKET


@pytest.mark.parametrize("bits", [8, 13, 20, 28])
def test_the_first_byte_of_a_digest_is_the_tag_of_its_bucket(bits: int) -> None:
    for number in range(200):
        digest = RING.person(("urn:x", str(number)))
        assert tag_of(bucket_of(digest, bits), bits) == digest[0]
        assert bucket_of(digest, bits) < 1 << bits


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16_383, 16_384, 2**56])
def test_varints_come_back(number: int) -> None:
    packed = varint(number)
    assert read_varint(b"x" + packed + b"\xff", 1) == (number, 1 + len(packed))


def test_the_entry_of_the_budget_has_the_size_of_the_budget() -> None:
    one = frozenset((b"1234567",))
    entry = Entry(13, "0e8dd2a4-1f0e-4f0a-9d7c-6f1b6f7a9b10", 1_790_000_000_123, "17", links=Links(one, one))
    packed = pack_entry(entry)
    assert len(varint(len(packed)) + packed) == 44
    assert LINK == 14
    assert len(pack_link(b"1234567", 13, b"abcdefg", 5)) == LINK


@pytest.mark.parametrize(
    "circle_id", ["0E8DD2A4-1F0E-4F0A-9D7C-6F1B6F7A9B10", "01", "-1", "٣", "1" * 19, "1\n"]
)
def test_only_what_comes_back_the_same_is_packed(circle_id: str) -> None:
    assert unpack_entry(pack_entry(Entry(1, circle_id, version=circle_id))).circle_id == circle_id
    assert unpack_entry(pack_entry(Entry(1, circle_id, version=circle_id))).version == circle_id


def test_an_entry_comes_back_with_all_it_has() -> None:
    few = frozenset((b"aaaaaaa", b"bbbbbbb"))
    for entry in (
        Entry(255, "x"),
        Entry(1, "7", 2**48 - 1, "3", True, Links(few, frozenset()), Links(frozenset(), few), 255),
        Entry(1, "7", 5, None, leaving=Links(few, few), written=1_800_000_000),
        Entry(1, "7", links=Links(frozenset(bytes((n,)) * 7 for n in range(200)))),
    ):
        assert unpack_entry(pack_entry(entry)) == entry


def test_a_bucket_gives_its_entries_in_order() -> None:
    some = [Entry(number, str(number), links=Links(frozenset((bytes(7),)))) for number in range(1, 40)]
    some.append(Entry(3, "x" * 120, links=Links(frozenset(bytes((n,)) * 7 for n in range(30)))))
    packed = [pack_entry(one) for one in some]
    bucket = b"".join(varint(len(one)) + one for one in packed)
    assert list(entries(bucket)) == some
    assert list(entries(b"")) == []


def test_links_are_found_at_their_places_only() -> None:
    digest = b"\x00\x01\x02\x03\x04\x05\x06"
    # The same six bytes out of place: over the end of one link and the beginning of the next.
    astray = b"\x09" * 11 + b"\x01\x02\x03" + b"\x04\x05\x06" + b"\x09" * 11
    assert len(astray) == 2 * LINK
    bucket = astray + pack_link(digest, 7, b"entry-1", 0) + pack_link(digest, 9, b"entry-2", 3)
    assert list(links_to(bucket, digest)) == [(7, b"entry-"), (9, b"entry-")]
    assert list(links_to(astray, digest)) == []
    repeated = pack_link(b"\x00" + b"\x05" * 6, 5, b"\x05" * 7, 5) * 3
    assert list(links_to(repeated, b"\x00" + b"\x05" * 6)) == [(5, b"\x05" * 6)] * 3
