"""The chain and its verification: what was done to a trail is found, with the place."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.audit.chain import GENESIS, Chain, ChainKey, Head, fits, parse
from broker.core.audit.verify import Finding, Flaw, StreamCheck

KEY = ChainKey.of(b"a secret for tests, long enough")
KEYS = {KEY.id: KEY}
STREAM = "4f1c22ab-0"


def lines(count: int, head: Head | None = None) -> list[bytes]:
    return Chain(STREAM, KEY, head).lines(
        b'{"resourceType":"AuditEvent","n":', [b"%d}" % n for n in range(count)]
    )


def checked(held: list[bytes], head: Head | None = None, *, trimmed: bool = False) -> list[Finding]:
    check = StreamCheck(STREAM, KEYS, head, trimmed)
    for number, line in enumerate(held, 1):
        check.feed(line, "segment", number)
    check.end("segment")
    return check.findings


def told(findings: list[Finding]) -> list[tuple[Flaw, int | None, int | None]]:
    return [(one.flaw, one.first, one.last) for one in findings]


def test_a_line_is_sealed_as_it_is_written_down() -> None:
    (line,) = lines(1)
    read = json.loads(line)
    head = line[: line.index(b'"event":') + len(b'"event":')]
    event = b'{"resourceType":"AuditEvent","n":0}'
    seal = hmac.new(KEY.key, head + hashlib.sha256(event).digest(), hashlib.sha256).hexdigest()
    assert read["mac"] == seal
    assert (read["stream"], read["seq"], read["prev"], read["key"]) == (STREAM, 1, GENESIS, KEY.id)
    assert read["event"] == {"resourceType": "AuditEvent", "n": 0}


def test_a_whole_trail_is_whole() -> None:
    held = lines(5)
    last = parse(held[-1])
    assert last is not None
    assert checked(held, last.head) == []
    assert checked(held[2:], last.head, trimmed=True) == []
    assert checked(held + lines(3, last.head)) == []


def test_each_line_holds_the_seal_of_the_one_before() -> None:
    held = [parse(line) for line in lines(4)]
    for before, after in itertools.pairwise(held):
        assert before is not None
        assert after is not None
        assert (after.seq, after.prev) == (before.seq + 1, before.mac)


@given(position=st.integers(0, 10_000), mask=st.integers(1, 255), which=st.integers(0, 4))
def test_no_byte_can_be_changed(position: int, mask: int, which: int) -> None:
    held = lines(5)
    line = bytearray(held[which])
    at = position % (len(line) - 1)  # the line feed apart: without it the line is torn
    line[at] ^= mask
    if b"\n" in line[:-1]:
        return
    held[which] = bytes(line)
    assert any(one.line == which + 1 for one in checked(held)), line


def test_a_line_resealed_without_the_key_is_found() -> None:
    held = lines(3)
    forged = Chain(STREAM, ChainKey.of(b"another secret, long enough"), Head(1, parse(held[0]).mac))  # type: ignore[union-attr]
    held[1:] = forged.lines(b"{}", [b"", b""])
    assert told(checked(held)) == [(Flaw.UNKNOWN_KEY, 2, 2), (Flaw.UNKNOWN_KEY, 3, 3)]
    named_as_ours = [
        line.replace(ChainKey.of(b"another secret, long enough").id.encode(), KEY.id.encode())
        for line in held
    ]
    assert told(checked(named_as_ours))[:1] == [(Flaw.CHANGED, 2, 2)]


def test_what_was_removed_is_named_by_number_and_place() -> None:
    held = lines(6)
    (found,) = checked(held[:2] + held[4:])
    assert found == Finding(Flaw.REMOVED, STREAM, "segment", 3, 3, 4)
    assert told(checked(held[1:])) == [(Flaw.REMOVED, 1, 1)]


def test_what_was_cut_off_shows_by_the_head_kept_elsewhere() -> None:
    held = lines(6)
    last = parse(held[-1])
    assert last is not None
    assert told(checked(held[:4], last.head)) == [(Flaw.CUT, 5, 6)]
    assert told(checked([], last.head)) == [(Flaw.CUT, 1, 6)]


def test_another_end_under_the_same_number_is_found() -> None:
    held = lines(6)
    assert told(checked(held, Head(6, "0" * 64))) == [(Flaw.CHANGED, 6, 6)]


def test_lines_that_changed_places_are_found() -> None:
    held = lines(6)
    held[2], held[3] = held[3], held[2]
    assert told(checked(held)) == [(Flaw.MOVED, 3, 3)]
    held = lines(6)
    held.append(held.pop(1))
    assert told(checked(held)) == [(Flaw.MOVED, 2, 2)]


def test_a_line_of_another_stream_does_not_pass() -> None:
    held = lines(3)
    held.insert(1, Chain("4f1c22ab-1", KEY).lines(b"{}", [b""])[0])
    assert told(checked(held)) == [(Flaw.MOVED, 1, 1)]


def test_a_copy_is_found_but_where_a_segment_repeats_what_was_delivered_before() -> None:
    held = lines(4)
    assert told(checked([*held, held[1]])) == [(Flaw.MOVED, 2, 2)]
    check = StreamCheck(STREAM, KEYS)
    for number, line in enumerate(held, 1):
        check.feed(line, "first", number)
    for number, line in enumerate(held[2:], 1):
        check.feed(line, "second", number)
    check.end("second")
    assert [one.flaw for one in check.findings] == [Flaw.REPEATED, Flaw.REPEATED]
    assert all(one.flaw.harmless for one in check.findings)


@pytest.mark.parametrize("line", [b"{}\n", b"\n", b"null\n", b"\xff\xfe\n", b'{"seq":"1"}\n'])
def test_what_is_no_line_is_unreadable(line: bytes) -> None:
    held = lines(3)
    held.insert(1, line)
    assert told(checked(held)) == [(Flaw.UNREADABLE, None, None)]


def test_a_seal_under_a_key_that_is_not_at_hand_is_neither_right_nor_wrong() -> None:
    (line,) = lines(1)
    read = parse(line)
    assert read is not None
    assert fits(line, read, {}) is None
    assert fits(line, read, KEYS)


def test_the_secret_does_not_show() -> None:
    assert "secret" not in repr(KEY)
    assert KEY.key.hex() not in repr(KEY)
