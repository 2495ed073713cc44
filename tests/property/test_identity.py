from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity import ID, MAX_ID, is_alias, public_id, split_public_id
from registry.model import SLUG

slugs = st.from_regex(SLUG, fullmatch=True)
local_ids = st.one_of(
    st.from_regex(ID, fullmatch=True),
    st.from_regex(r"alias--[0-9a-f]{40}", fullmatch=True),
    st.text("abc.-", min_size=40, max_size=64).filter(lambda text: ID.fullmatch(text) is not None),
)


@given(slugs, local_ids)
def test_every_id_goes_out_and_comes_back(slug: str, local: str) -> None:
    aliases: dict[str, str] = {}
    public = public_id(slug, local, aliases)
    assert ID.fullmatch(public)
    assert len(public) <= MAX_ID
    parts = split_public_id(public)
    assert parts is not None
    assert parts[0] == slug
    assert (aliases[public] if is_alias(public) else parts[1]) == local
    assert public_id(slug, local) == public


@given(st.lists(st.tuples(slugs, local_ids), unique=True, max_size=20))
def test_no_two_resources_share_a_public_id(resources: list[tuple[str, str]]) -> None:
    assert len({public_id(slug, local) for slug, local in resources}) == len(resources)


@given(st.text(max_size=80))
def test_whatever_splits_is_what_was_joined(text: str) -> None:
    parts = split_public_id(text)
    if parts is not None:
        assert ".".join(parts) == text
        assert SLUG.fullmatch(parts[0])
        assert ID.fullmatch(parts[1])


@given(slugs, slugs, local_ids)
def test_ids_nest(nation: str, region: str, local: str) -> None:
    inner = public_id(region, local)
    aliases: dict[str, str] = {}
    outer = public_id(nation, inner, aliases)
    parts = split_public_id(outer)
    assert parts is not None
    assert aliases.get(outer, parts[1]) == inner
