"""Paging over many managers is exact: every match once, in one order, whatever the managers' own pages are."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.merge import START, Found, Key, Merger, Position, Stream
from broker.errors import FailureKind
from tests.support.examples import examples


@dataclass(frozen=True)
class Holding:
    """A manager as a model: what it holds as (sort value, id), its own page size, whether it sorts."""

    slug: str
    items: tuple[tuple[int, str], ...]
    page_size: int
    sorts: bool  # it really sorts
    said_to_sort: bool  # what the registry believes

    def served(self) -> list[tuple[int, str]]:
        # A manager breaks ties as it likes: here by its own insertion order.
        return sorted(self.items, key=lambda item: item[0]) if self.sorts else list(self.items)

    def page(self, url: str | None) -> tuple[list[Found[str]], str | None]:
        start = int(url) if url else 0
        served = self.served()
        part = served[start : start + self.page_size]
        following = start + self.page_size
        found = [Found((0, value), f"{self.slug}.{one}", f"{self.slug}.{one}") for value, one in part]
        return found, str(following) if following < len(served) else None


@st.composite
def holdings(draw: st.DrawFn) -> list[Holding]:
    slugs = draw(st.lists(st.sampled_from(["bre", "occ", "idf", "ges", "cor"]), unique=True, max_size=4))
    result = []
    for slug in slugs:
        ids = draw(st.lists(st.sampled_from("abcdefghijkl"), unique=True, max_size=12))
        items = tuple((draw(st.integers(0, 4)), one) for one in ids)
        sorts = draw(st.booleans())
        result.append(Holding(slug, items, draw(st.integers(1, 5)), sorts, draw(st.booleans())))
    return result


def keep_all(found: object) -> list[Found[str]]:
    return list(found)  # type: ignore[call-overload, no-any-return]


def walk(managers: list[Holding], size: int, bound: int = 1000) -> tuple[list[list[str]], set[str]]:
    """Every page from the first to the last, each made from nothing but the state that the one before left."""
    positions = {manager.slug: Position() for manager in managers}
    by_slug = {manager.slug: manager for manager in managers}
    watermark: Key = START
    pages: list[list[str]] = []
    unsorted: set[str] = set()
    for _ in range(200):
        streams = [
            Stream[str](
                slug, position, sorts=by_slug[slug].said_to_sort, bound=bound, fresh=watermark == START
            )
            for slug, position in positions.items()
        ]
        merger = Merger(streams, watermark=watermark, size=size, choose=keep_all)
        while wanted := merger.wanted():
            for stream in wanted:
                stream.feed(*by_slug[stream.slug].page(stream.next_url))
        taken = merger.take()
        pages.append([found.public_id for found in taken.found])
        unsorted |= {stream.slug for stream in streams if stream.in_tail}
        if not taken.more:
            return pages, unsorted
        watermark = taken.watermark
        positions = {stream.slug: stream.position(watermark) for stream in streams}
    raise AssertionError("paging never ends")


@settings(max_examples=examples(250), deadline=None)
@given(holdings(), st.integers(1, 6))
def test_every_match_once_and_in_order(managers: list[Holding], size: int) -> None:
    pages, _ = walk(managers, size)
    given_out = [one for page in pages for one in page]
    expected = sorted(
        (value, f"{manager.slug}.{one}") for manager in managers for value, one in manager.items
    )
    # A manager said to sort that lets its lie show on a late page only is put in the tail: complete, and named.
    _, named = walk(managers, size)
    if not named:
        assert given_out == [one for _, one in expected]
    assert sorted(given_out) == sorted(one for _, one in expected)
    assert all(len(page) <= size for page in pages)
    assert all(len(page) == size for page in pages[:-1]) or not given_out


@settings(max_examples=examples(250), deadline=None)
@given(holdings(), st.integers(1, 6))
def test_a_manager_too_long_to_sort_loses_nothing_and_is_named(managers: list[Holding], size: int) -> None:
    pages, named = walk(managers, size, bound=3)
    given_out = [one for page in pages for one in page]
    assert sorted(given_out) == sorted(f"{m.slug}.{one}" for m in managers for _, one in m.items)
    for manager in managers:
        if manager.sorts and manager.said_to_sort:
            assert manager.slug not in named
    in_order = [m.slug for m in managers if m.slug not in named]
    kept = [one for one in given_out if one.partition(".")[0] in in_order]
    values = {f"{m.slug}.{one}": value for m in managers for value, one in m.items}
    assert kept == sorted(kept, key=lambda one: (values[one], one))


@given(holdings(), st.integers(1, 6), st.integers(0, 3))
def test_a_failed_manager_leaves_the_others_whole(managers: list[Holding], size: int, which: int) -> None:
    if not managers:
        return
    victim = managers[which % len(managers)].slug
    by_slug = {manager.slug: manager for manager in managers}
    positions = {manager.slug: Position() for manager in managers}
    watermark: Key = START
    given_out: list[str] = []
    for _ in range(200):
        streams = [
            Stream[str](
                slug, position, sorts=by_slug[slug].said_to_sort, bound=1000, fresh=watermark == START
            )
            for slug, position in positions.items()
        ]
        merger = Merger(streams, watermark=watermark, size=size, choose=keep_all)
        while wanted := merger.wanted():
            for stream in wanted:
                if stream.slug == victim:
                    stream.fail(FailureKind.TIMEOUT)
                else:
                    stream.feed(*by_slug[stream.slug].page(stream.next_url))
        taken = merger.take()
        assert taken.total is None
        given_out += [found.public_id for found in taken.found]
        if not taken.more:
            break
        watermark = taken.watermark
        positions = {stream.slug: stream.position(watermark) for stream in streams}
    expected = sorted(f"{m.slug}.{one}" for m in managers if m.slug != victim for _, one in m.items)
    assert sorted(given_out) == expected


def test_a_total_is_known_only_where_all_was_read() -> None:
    stream = Stream[str]("bre", Position(), sorts=True, bound=100)
    merger = Merger([stream], watermark=START, size=2, choose=keep_all)
    stream.feed([Found((0, 1), "bre.a", "a"), Found((0, 2), "bre.b", "b"), Found((0, 3), "bre.c", "c")], "3")
    assert merger.wanted() == []
    assert merger.take().total is None
    stream.feed([Found((0, 4), "bre.d", "d")], None)
    assert merger.take().total == 4
