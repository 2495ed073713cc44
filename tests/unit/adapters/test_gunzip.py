"""Gzip in bounded steps."""

from __future__ import annotations

import gzip
import random

import pytest

from adapters.gunzip import Gunzip, TooLargeError, UndecodableError

STEP = 256 * 1024


def gunzip(data: bytes, *, limit: int = 1 << 22, chunk: int = 1 << 16) -> bytes:
    inflate = Gunzip(limit)
    for start in range(0, len(data), chunk):
        inflate.feed(data[start : start + chunk])
        while inflate.step():
            pass
    return inflate.finish()


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_what_went_in_comes_out_around_every_edge_of_a_step(chunk: int) -> None:
    for size in [0, 1, *range(STEP - 3, STEP + 300, 37), 2 * STEP, 2 * STEP + 1]:
        packed = gzip.compress(b"0" * size)
        assert gunzip(packed, chunk=chunk) == b"0" * size


def test_matches_that_straddle_a_step() -> None:
    made = random.Random(3)
    for _ in range(60):
        body = bytes(made.choices(b"ab", k=made.randrange(1, 40))) + b"z" * (STEP + made.randrange(600))
        assert gunzip(gzip.compress(body, made.randrange(1, 10)), chunk=1 << 20) == body


def test_the_bound_is_exact() -> None:
    packed = gzip.compress(b"x" * 1000)
    assert len(gunzip(packed, limit=1000)) == 1000
    with pytest.raises(TooLargeError):
        gunzip(packed, limit=999)


def test_members_follow_each_other_but_not_without_end() -> None:
    assert gunzip(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    with pytest.raises(UndecodableError):
        gunzip(gzip.compress(b"a") * 1000)


@pytest.mark.parametrize("cut", [1, 9, 15, -8, -1])
def test_cut_short(cut: int) -> None:
    with pytest.raises(UndecodableError):
        gunzip(gzip.compress(b"circle" * 20)[:cut])


@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(b"a", mtime=0) + b"garbage"])
def test_not_gzip(data: bytes) -> None:
    with pytest.raises(UndecodableError):
        gunzip(data)


def test_a_wrong_checksum_is_seen() -> None:
    packed = bytearray(gzip.compress(b"circle" * 20))
    packed[-5] ^= 1
    with pytest.raises(UndecodableError):
        gunzip(bytes(packed))
