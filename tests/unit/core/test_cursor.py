from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import cursor
from broker.errors import RequestError

SECRET = b"s" * 32
RANDOM = bytes(range(cursor.RANDOM_BYTES))


def test_a_token_opens_what_it_sealed() -> None:
    made = cursor.mint(SECRET, "me", 2000, RANDOM)
    found = cursor.read(made.token, SECRET, "me", 1000)
    assert found == made
    assert found.open(made.seal(b"state")) == b"state"
    assert b"state" not in made.seal(b"state")


@given(
    st.integers(0, 91), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
)
def test_no_changed_token_is_taken(place: int, letter: str) -> None:
    token = cursor.mint(SECRET, "me", 2000, RANDOM).token
    changed = token[:place] + letter + token[place + 1 :]
    if changed == token:
        return
    with pytest.raises(RequestError) as caught:
        cursor.read(changed, SECRET, "me", 1000)
    assert caught.value.key == "page.forged"


@given(st.text())
def test_no_other_text_is_taken(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        cursor.read(text, SECRET, "me", 1000)
    assert caught.value.key == "page.forged"


@pytest.mark.parametrize(
    ("secret", "caller", "now", "key"),
    [
        (b"t" * 32, "me", 1000, "page.forged"),
        (SECRET, "somebody else", 1000, "page.forged"),
        (SECRET, "me", 2000, "page.expired"),
        (SECRET, "somebody else", 9999, "page.forged"),
    ],
)
def test_another_secret_another_caller_another_time(secret: bytes, caller: str, now: float, key: str) -> None:
    token = cursor.mint(SECRET, "me", 2000, RANDOM).token
    with pytest.raises(RequestError) as caught:
        cursor.read(token, secret, caller, now)
    assert caught.value.key == key


def test_a_state_of_another_place_does_not_open() -> None:
    made = cursor.mint(SECRET, "me", 2000, RANDOM)
    other = cursor.Cursor(made.token, "00" * 16, made.key)
    with pytest.raises(RequestError):
        made.open(other.seal(b"state"))
