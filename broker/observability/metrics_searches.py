"""Figures of searches: how many managers each asks and leaves out, what merging costs, pages and their links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, Metric

from broker.federation.search_told import PageTold
from broker.ports import CursorStore

_MANAGERS = (0, 1, 2, 3, 5, 8, 13, 18, 25)  # eighteen regions, and some to come
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


def _width() -> Histogram:
    return Histogram(
        "cds_search_fan_out", "Managers asked for a page of a search", registry=None, buckets=_MANAGERS
    )


def _merging() -> Histogram:
    return Histogram(
        "cds_search_merge_seconds",
        "Putting a page together, without waiting for managers",
        registry=None,
        buckets=_SECONDS,
    )


@dataclass(slots=True, eq=False)
class SearchFigures:
    """Told of each page by `page`; of page links by the store that `counting` makes."""

    pages: dict[str, int] = field(default_factory=lambda: {"first": 0, "later": 0})
    managers: dict[str, int] = field(
        default_factory=lambda: {"asked": 0, "left-out": 0, "unable": 0, "refused": 0}
    )
    cursors: dict[str, int] = field(default_factory=lambda: {"saved": 0, "found": 0, "expired": 0})
    partial: int = 0
    matches: int = 0
    width: Histogram = field(default_factory=_width)
    merging: Histogram = field(default_factory=_merging)

    def page(self, told: PageTold) -> None:
        self.pages["first" if told.first else "later"] += 1
        managers = self.managers
        managers["asked"] += told.asked
        managers["left-out"] += told.left_out
        managers["unable"] += told.unable
        managers["refused"] += told.refused
        self.partial += told.partial
        self.matches += told.matches
        self.width.observe(told.asked)
        self.merging.observe(told.merging)

    def counting(self, store: CursorStore) -> CursorStore:
        return _CountedCursors(store, self.cursors)

    def collect(self) -> Iterator[Metric]:
        pages = CounterMetricFamily(
            "cds_search_pages", "Pages of searches: first ones, and later", labels=["page"]
        )
        for page, count in self.pages.items():
            pages.add_metric([page], count)
        managers = CounterMetricFamily(
            "cds_search_managers",
            "Managers of all searches: asked; left out, as they hold no match; unable; out of the client's reach",
            labels=["outcome"],
        )
        for outcome, count in self.managers.items():
            managers.add_metric([outcome], count)
        cursors = CounterMetricFamily(
            "cds_cursors", "Page links: saved; followed and found; followed and expired", labels=["event"]
        )
        for event, count in self.cursors.items():
            cursors.add_metric([event], count)
        yield from (pages, managers, cursors)
        yield CounterMetricFamily(
            "cds_search_partial", "Pages that lack what a manager did not give", value=self.partial
        )
        yield CounterMetricFamily("cds_search_matches", "Matches given out", value=self.matches)
        yield from self.width.collect()
        yield from self.merging.collect()


@dataclass(frozen=True, slots=True)
class _CountedCursors:
    store: CursorStore
    counts: dict[str, int]

    async def save(self, blobs: Mapping[str, bytes], *, seconds: int) -> None:
        await self.store.save(blobs, seconds=seconds)
        self.counts["saved"] += len(blobs)

    async def load(self, key: str) -> bytes | None:
        found = await self.store.load(key)
        self.counts["expired" if found is None else "found"] += 1
        return found
