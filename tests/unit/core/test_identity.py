from __future__ import annotations

import pytest

from broker.core.identity import ALIAS_MARK, ID, MAX_ID, Origin, is_alias, public_id, split_public_id


def test_a_public_id_is_slug_dot_local_id() -> None:
    assert public_id("bre", "123") == "bre.123"
    assert split_public_id("bre.123") == ("bre", "123")


def test_ids_nest_and_split_on_the_first_dot() -> None:
    nested = public_id("nat", public_id("bre", "a.b"))
    assert nested == "nat.bre.a.b"
    assert split_public_id(nested) == ("nat", "bre.a.b")


def test_the_longest_id_that_fits_is_kept() -> None:
    assert public_id("bre", "x" * 60) == "bre." + "x" * 60
    aliases: dict[str, str] = {}
    assert is_alias(public_id("bre", "x" * 61, aliases))
    assert list(aliases.values()) == ["x" * 61]


def test_an_alias_is_short_stable_and_written_down() -> None:
    aliases: dict[str, str] = {}
    alias = public_id("a23456789-123456", "y" * 64, aliases)
    assert len(alias) <= MAX_ID
    assert ID.fullmatch(alias)
    assert split_public_id(alias) is not None
    assert aliases == {alias: "y" * 64}
    # The very characters are promised: other nodes and later versions must find the same.
    assert public_id("bre", "z" * 64) == "bre.alias--32b4adcbb0af711ef228c194c8a33ec81a8f648b"


def test_an_id_that_looks_like_an_alias_gets_one() -> None:
    aliases: dict[str, str] = {}
    alias = public_id("bre", ALIAS_MARK + "0" * 40, aliases)
    assert is_alias(alias)
    assert aliases == {alias: ALIAS_MARK + "0" * 40}
    assert alias != "bre." + ALIAS_MARK + "0" * 40


@pytest.mark.parametrize("local", ["", ".", "..", "a b", "a/b", "é", "x" * 65, "1\n", "a_b"])
def test_what_is_no_fhir_id_has_no_public_id(local: str) -> None:
    with pytest.raises(ValueError, match="FHIR id"):
        public_id("bre", local)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bre",
        "bre.",
        ".123",
        "BRE.1",
        "bre..",
        "bre...",
        "-b.1",
        "b" * 17 + ".1",
        "bre.a/b",
        "bre." + "x" * 61,
    ],
)
def test_what_is_no_public_id_does_not_split(text: str) -> None:
    assert split_public_id(text) is None
    assert not is_alias(text)


def test_an_origin_forgives_a_trailing_slash_and_escapes_for_json() -> None:
    origin = Origin("bre", 'https://m.exemple/"x"/', "https://b.exemple/fhir/", "53")
    assert origin.base_url == 'https://m.exemple/"x"'
    assert origin.base == b'https://m.exemple/\\"x\\"/'
    assert origin.public == b"https://b.exemple/fhir/"
