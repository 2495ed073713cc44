"""Digests and sealed blobs: what the store may know, also while the secret is being changed."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.core.sealing import DIGEST, Sealer

OLD, NEW, STRANGE = b"the secret of last year", b"the secret of this year", b"somebody else's secret"
DATA = b"CareTeam/bre.1 \0\xff" * 9


def test_a_digest_is_what_the_module_says() -> None:
    key = hmac.digest(NEW, b"cds-broker digest 1\0claim\x01", hashlib.sha256)
    assert Sealer([NEW]).digest("claim", b"who") == hmac.digest(key, b"who", hashlib.sha256)[:16]


def test_a_digest_depends_on_secret_purpose_and_message() -> None:
    sealer = Sealer([NEW])
    assert sealer.digest("claim", b"who") == Sealer([NEW, OLD]).digest("claim", b"who")
    digests = {
        sealer.digest("claim", b"who"),
        sealer.digest("claim", b"whom"),
        sealer.digest("key", b"who"),
        sealer.digest("", b"claimwho"),
        Sealer([OLD]).digest("claim", b"who"),
    }
    assert len(digests) == 5
    assert {len(one) for one in digests} == {DIGEST}


def test_nodes_amid_a_rotation_meet_in_a_name() -> None:
    before, amid, after = Sealer([OLD]), Sealer([NEW, OLD]), Sealer([NEW])
    names = [set(one.digests("claim", b"who")) for one in (before, amid, after)]
    assert [len(one) for one in names] == [1, 2, 1]
    assert names[0] | names[2] == names[1]
    assert amid.digests("claim", b"who")[0] == amid.digest("claim", b"who") == after.digest("claim", b"who")


def test_a_secret_that_is_given_twice_counts_once() -> None:
    assert len(Sealer([NEW, OLD, NEW]).digests("claim", b"who")) == 2


def test_what_is_sealed_is_opened() -> None:
    for data in (b"", b"x", DATA):
        assert Sealer([NEW]).open("intent", Sealer([NEW]).seal("intent", data)) == data


def test_a_seal_is_what_the_module_says() -> None:
    drawn = bytes(range(24))
    sealed = Sealer([NEW], lambda: drawn + b"more than is needed").seal("intent", DATA, context=b"w1")
    key_id = hmac.digest(NEW, b"cds-broker key id 1\0seal\x01", hashlib.sha256)[:4]
    purpose = hmac.digest(NEW, b"cds-broker seal 1\0intent\x01", hashlib.sha256)
    key = hmac.digest(purpose, drawn[:12], hashlib.sha256)
    assert sealed == key_id + drawn + AESGCM(key).encrypt(drawn[12:], DATA, b"w1")


def test_no_two_seals_are_alike_and_none_shows_what_is_in_it() -> None:
    sealer = Sealer([NEW])
    sealed = [sealer.seal("intent", DATA) for _ in range(50)]
    assert len({one[4:28] for one in sealed}) == len({one[28:] for one in sealed}) == 50
    assert not any(DATA[:8] in one for one in sealed)


def test_the_secret_before_opens_what_it_sealed() -> None:
    sealed = Sealer([OLD]).seal("intent", DATA)
    assert Sealer([NEW, OLD]).open("intent", sealed) == DATA
    assert Sealer([NEW]).open("intent", sealed) is None
    assert Sealer([NEW, STRANGE]).open("intent", sealed) is None
    assert Sealer([OLD]).open("intent", Sealer([NEW, OLD]).seal("intent", DATA)) is None


def test_a_seal_holds_for_its_purpose_and_its_place() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal("intent", DATA, context=b"w1")
    assert sealer.open("intent", sealed, context=b"w1") == DATA
    assert sealer.open("result", sealed, context=b"w1") is None
    assert sealer.open("intent", sealed, context=b"w2") is None
    assert sealer.open("intent", sealed) is None


def test_nothing_opens_that_was_touched() -> None:
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal("intent", DATA)
    for place in range(len(sealed)):
        touched = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        assert sealer.open("intent", touched) is None
    for length in range(len(sealed)):
        assert sealer.open("intent", sealed[:length]) is None
    assert sealer.open("intent", sealed + b"\0") is None


@pytest.mark.parametrize("secrets", [[], [b""], [NEW, b""]])
def test_no_secret_is_no_sealer(secrets: list[bytes]) -> None:
    with pytest.raises(ValueError, match="secret"):
        Sealer(secrets)


def test_a_sealer_does_not_show_its_secrets() -> None:
    assert NEW.decode() not in repr(Sealer([NEW, OLD]))
