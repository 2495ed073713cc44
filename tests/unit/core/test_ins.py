from __future__ import annotations

import pytest

from broker.core.ins import ins_key, is_valid_ins


@pytest.mark.parametrize("value", ["295109912611193", "253072A07300443", "253072B07300470"])
def test_the_official_test_values_are_valid(value: str) -> None:
    assert ins_key(value[:13]) == value[13:]
    assert is_valid_ins(value)


@pytest.mark.parametrize(
    "value",
    ["", "123456789012244", "295109912611194", "29510991261119", "253072C07300443", "2951099126111٩3"],
)
def test_others_are_not(value: str) -> None:
    assert not is_valid_ins(value)


def test_a_key_has_two_digits() -> None:
    assert {len(ins_key(f"2510699126{n:03d}")) for n in range(97)} == {2}


@pytest.mark.parametrize("first", ["", "253072C073004", "25307200730044", "253072A07300A"])
def test_there_is_no_key_for_something_else(first: str) -> None:
    with pytest.raises(ValueError, match="13 digits"):
        ins_key(first)
