"""Many managers' result pages, one page in one order: the decisions, without the asking.

Each manager is a `Stream` of its own pages. The merger says which streams must be read further (`wanted`), is fed what
came, and in the end gives the page (`take`). Three facts make it exact:

* **Watermark.** A page state holds the key of the last match given out. On the next page, whatever has a key up to it
  is past, whoever asks again and however the managers' own pages are cut. So nothing comes twice.
* **Frontier.** What a stream has not shown yet sorts at or after its last sort values. A match is given out only when it
  sorts before every open stream's frontier. So nothing is overtaken; and since ties are broken by public id, a tie at a
  manager's page end is read on until it closes.
* **Tail.** A manager that is not known to sort is read whole and sorted here, within a bound. Over the bound, unless
  all of that came in order, its matches follow all others in its own order, numbered, and a warning names it. So
  nothing is lost.

Keys are `(0, sort values…, public id)` in order and `(1, slug, number)` in the tail; both compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any, Generic, TypeVar

import msgspec

from broker.core.sort_key import Key, SortPrefix, freeze
from broker.errors import FailureKind

T = TypeVar("T")

START: Key = ()
"""The watermark before the first page: smaller than every key."""

_UNREAD: Key = (0,)
"""Frontier of a stream nothing is known of: smaller than every match."""


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Where a manager's stream goes on: one of its pages, and what is known of it.

    `url`: the manager's own page link (None: its first page). `tail`: the number of that page's first match in the
    tail, where the stream is in its tail. `whole`: it is read whole and sorted here. `failed`: it gave up on an earlier
    page and is named on every later one.
    """

    url: str | None = None
    done: bool = False
    tail: int | None = None
    failed: FailureKind | None = None
    whole: bool = False


class Found(msgspec.Struct, Generic[T], frozen=True):
    """One match as a manager gave it."""

    prefix: SortPrefix
    public_id: str
    item: T


@dataclass(slots=True)
class _Page(Generic[T]):
    url: str | None
    first_tail: int | None
    keyed: list[tuple[Key, Found[T]]] = field(default_factory=list)


class Stream(Generic[T]):
    """One manager's matches, as far as they were read."""

    def __init__(self, slug: str, position: Position, *, sorts: bool, bound: int, fresh: bool = True) -> None:
        """`sorts`: the manager was seen to. `fresh`: nothing was given out on an earlier page."""
        self.slug = slug
        self.failed = position.failed
        self.exhausted = position.done or position.failed is not None
        self.unsorted = False  # it did not keep the order and was sorted here, or put in the tail
        self.in_tail = position.tail is not None
        self.next_url = position.url
        # What was sorted whole on one page must be on the next, or matches would change their places.
        self._bound = None if position.whole else bound
        self._fresh = fresh
        self._collecting = position.whole or (position.url is None and not sorts and not self.in_tail)
        self._sorted_here = self._collecting
        self._tail = position.tail or 0
        self._last: SortPrefix | None = None
        self._pages: list[_Page[T]] = []

    @property
    def started(self) -> bool:
        return bool(self._pages)

    def feed(self, found: Sequence[Found[T]], next_url: str | None) -> None:
        """One more page of this manager, in its own order. The page is the one at `next_url` as it was before."""
        page: _Page[T] = _Page(self.next_url, self._tail if self.in_tail else None)
        if not self.in_tail and not self._collecting and not self._keeps_order(found):
            self.unsorted = True
            if self._fresh:
                self._collecting = self._sorted_here = True
            else:
                self._enter_tail(page)
        self._pages.append(page)
        for one in found:
            page.keyed.append((self._key(one), one))
        self.next_url, self.exhausted = next_url, next_url is None
        if self._collecting:
            self._collect()

    def _key(self, one: Found[T]) -> Key:
        if self.in_tail:
            self._tail += 1
            return (1, self.slug, self._tail - 1)
        self._last = one.prefix
        return (0, *one.prefix, one.public_id)

    def _keeps_order(self, found: Sequence[Found[T]]) -> bool:
        last = self._last
        for one in found:
            if last is not None and one.prefix < last:
                return False
            last = one.prefix
        return True

    def _collect(self) -> None:
        """A stream being sorted here: complete, or too long and put in the tail."""
        if self.exhausted:
            self._collecting = False
        elif self._bound is not None and sum(len(page.keyed) for page in self._pages) > self._bound:
            self._collecting = False
            if self._came_in_order():
                self._sorted_here = False
                return
            pages, self._pages = self._pages, []
            for page in pages:
                self._enter_tail(page)
                page.keyed = [(self._key(one), one) for _, one in page.keyed]
                self._pages.append(page)

    def _came_in_order(self) -> bool:
        """So much in order is no chance: it does sort, and is read on as one that does."""
        prefixes = [one.prefix for page in self._pages for _, one in page.keyed]
        return all(earlier <= later for earlier, later in pairwise(prefixes))

    def _enter_tail(self, page: _Page[T]) -> None:
        self.in_tail = self.unsorted = True
        page.first_tail = self._tail

    def fail(self, kind: FailureKind) -> None:
        """Nothing more will come; what came stays."""
        self.failed, self.exhausted, self._collecting = kind, True, False

    def frontier(self) -> Key | None:
        """Nothing unread sorts before it; None when all is read."""
        if self.exhausted:
            return None
        if self.in_tail:
            return (1, self.slug, self._tail)
        if self._collecting or self._last is None:
            return _UNREAD
        return (0, *self._last)

    def after(self, watermark: Key) -> Iterable[tuple[Key, Found[T]]]:
        for page in self._pages:
            for pair in page.keyed:
                if pair[0] > watermark:
                    yield pair

    def tie_length(self) -> int:
        """How many matches of the last sort values were read without coming to their end."""
        if self.exhausted or self.in_tail or self._last is None:
            return 0
        frontier = (0, *self._last)
        return sum(1 for page in self._pages for key, _ in page.keyed if key > frontier)

    def position(self, watermark: Key) -> Position:
        """Where the next page goes on once everything up to `watermark` is given out."""
        if self.failed is not None:
            return Position(failed=self.failed)
        if not self._pages:
            return Position(self.next_url, self.exhausted, self._tail if self.in_tail else None)
        for page in self._pages:
            if any(key > watermark for key, _ in page.keyed):
                if self._sorted_here and not self.in_tail:
                    return Position(whole=True)
                return Position(page.url, tail=page.first_tail)
        if self.exhausted:
            return Position(done=True)
        return Position(self.next_url, tail=self._tail if self.in_tail else None)


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """One page of the whole: its matches in order, the new watermark, whether more may follow.

    `total` is the number of all matches where that is known for certain (everything was read, nobody failed).
    """

    found: tuple[Found[T], ...]
    watermark: Key
    more: bool
    total: int | None


Choose = Callable[[Iterable[Found[T]]], list[Found[T]]]
"""Drops what must not be shown (copies), keeps the order. Called anew at each attempt: must not remember."""


class Merger(Generic[T]):
    """Merges streams into one page of at most `size` matches."""

    def __init__(self, streams: Sequence[Stream[T]], *, watermark: Key, size: int, choose: Choose[T]) -> None:
        self.streams = streams
        self._watermark = watermark
        self._size = size
        self._choose = choose

    def _chosen(self) -> list[tuple[Key, Found[T]]]:
        pairs = [pair for stream in self.streams for pair in stream.after(self._watermark)]
        pairs.sort(key=itemgetter(0))
        once: dict[str, tuple[Key, Found[T]]] = {}
        for pair in pairs:
            once.setdefault(pair[1].public_id, pair)
        return [once[found.public_id] for found in self._choose(pair[1] for pair in once.values())]

    def wanted(self) -> list[Stream[T]]:
        """The streams to read further before the page can be given; none: it can be taken."""
        open_streams = [stream for stream in self.streams if not stream.exhausted]
        if not open_streams or not any(stream.started for stream in self.streams):
            return open_streams  # before anything was read, anything may come first
        chosen = self._chosen()
        last = chosen[self._size - 1][0] if 0 < self._size <= len(chosen) else None
        if self._size == 0:
            return [stream for stream in open_streams if not stream.started]
        return [stream for stream in open_streams if last is None or _before(stream.frontier(), last)]

    def take(self) -> Taken[T]:
        """The page. Call it when nothing is wanted, or when the deadline has passed and the rest was failed."""
        chosen = self._chosen()
        page, rest = chosen[: self._size], chosen[self._size :]
        everything_read = all(stream.exhausted for stream in self.streams)
        unbroken = all(stream.failed is None for stream in self.streams)
        watermark = page[-1][0] if page else self._watermark
        return Taken(
            found=tuple(found for _, found in page),
            watermark=watermark,
            more=bool(rest) or not everything_read,
            total=len(chosen) if everything_read and unbroken and self._watermark == START else None,
        )


def _before(frontier: Key | None, key: Key) -> bool:
    """Whether something unread might sort before `key` (or tie with it, up to the public id)."""
    return frontier is not None and frontier <= key


def restore(watermark: Any) -> Key:
    """A watermark that came back from a page state."""
    return freeze(watermark) if watermark else START
