"""One page of a search, made: streams are read until the merger is content, then the page is put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from broker.aside import aside
from broker.core.bundle import Entry
from broker.core.dedup import CopyRule
from broker.core.manager_failure import failed
from broker.core.merge import START, Found, Merger, Position, Stream, Taken
from broker.core.outcome import issue_of
from broker.core.sort_key import Key
from broker.errors import FailureKind, Issue, ManagerError
from broker.federation.fan_out import fan_out
from broker.federation.issues import manager_issue, relayed_issues, tells_partial
from broker.federation.manager_search import FetchedPage
from broker.tracing import stage
from registry.model import Gestionnaire


class Source(Protocol):
    """Where one manager's pages come from: its search, or its history."""

    @property
    def manager(self) -> Gestionnaire: ...

    @property
    def sorts(self) -> bool: ...

    async def page(self, url: str | None) -> FetchedPage:
        """The first page, or the one at a link of an earlier one. Raises `ManagerError`."""
        ...


class FanOut(Protocol):
    """See `fan_out`."""

    async def __call__(
        self, slugs: Sequence[str], ask: Callable[[str], Awaitable[FetchedPage]]
    ) -> Mapping[str, FetchedPage | ManagerError]: ...


@dataclass(slots=True)
class PageRun:
    """The streams of one page and how each fared.

    `others` holds what each manager sent beside its matches, `totals` its own count where its first page was read.
    """

    sources: Mapping[str, Source]
    positions: Mapping[str, Position]
    watermark: Key
    size: int
    bound: int
    copies: CopyRule | None = None
    ask_all: FanOut = fan_out
    now: Callable[[], float] = lambda: 0.0  # monotonic seconds
    merging: float = 0.0  # seconds of `read` that were not waiting for managers
    streams: dict[str, Stream[Entry]] = field(default_factory=dict)
    others: dict[str, list[Entry]] = field(default_factory=dict)
    totals: dict[str, int | None] = field(default_factory=dict)
    failures: dict[str, ManagerError] = field(default_factory=dict)
    remarks: dict[str, list[Issue]] = field(default_factory=dict)
    size_read: int = 0  # bytes
    lossy: bool = False  # some manager sent entries that could not be shown
    partial: set[str] = field(default_factory=set)  # brokers that miss some of their own managers

    async def read(self) -> Taken[Entry]:
        """Read until the page is decided. Failures are kept by manager; never raised."""
        began = self.now()
        for slug, source in self.sources.items():
            position = self.positions.get(slug, Position())
            stream: Stream[Entry] = Stream(
                slug,
                position,
                sorts=source.sorts,
                bound=self.bound,
                fresh=self.watermark == START,
            )
            self.streams[slug] = stream
            if stream.failed is not None:
                self.failures[slug] = failed(source.manager, stream.failed)
        merger = Merger(
            list(self.streams.values()), watermark=self.watermark, size=self.size, choose=self._choose
        )
        while wanted := merger.wanted():
            self.merging += self.now() - began
            answers = await self.ask_all([stream.slug for stream in wanted], self._next_page)
            began = self.now()
            for slug, answer in answers.items():
                self._take_in(slug, answer)
        with stage("merge") as span:
            taken = await aside(self.size_read, merger.take)
            span.note("cds.streams", len(self.streams))
            span.note("cds.matches", len(taken.found))
        self.merging += self.now() - began
        return taken

    async def _next_page(self, slug: str) -> FetchedPage:
        return await self.sources[slug].page(self.streams[slug].next_url)

    def _take_in(self, slug: str, answer: FetchedPage | ManagerError) -> None:
        stream = self.streams[slug]
        if isinstance(answer, ManagerError):
            self.failures[slug] = answer
            stream.fail(answer.kind)
            return
        if not stream.started:
            self.totals[slug] = answer.total
        self.size_read += answer.size
        stream.feed(answer.found, answer.next_url)
        self.others.setdefault(slug, []).extend(answer.others)
        if any(map(tells_partial, answer.outcomes)):
            self.partial.add(slug)
        self.lossy = self.lossy or bool(answer.problems) or slug in self.partial
        if answer.problems or answer.outcomes:
            self._note(slug, answer)
        if answer.incomplete:
            self._take_in(slug, failed(self.sources[slug].manager, FailureKind.INCOMPLETE))
        if stream.tie_length() > self.bound:
            self._take_in(slug, failed(self.sources[slug].manager, FailureKind.INVALID))

    def _choose(self, found: Iterable[Found[Entry]]) -> list[Found[Entry]]:
        candidates = list(found)
        if self.copies is None:
            return candidates
        answering = frozenset(slug for slug, stream in self.streams.items() if stream.failed is None)
        # A manager that goes round in a circle too wide to be seen on one page brings what was shown once more.
        given_out = set(self.copies.shown.values())
        candidates = [one for one in candidates if one.public_id not in given_out]
        verdicts = self.copies.among(answering).choose(one.item for one in candidates)
        return [one for one, keep in zip(candidates, verdicts, strict=True) if keep]

    def next_positions(self, watermark: Key) -> dict[str, Position]:
        return {slug: stream.position(watermark) for slug, stream in self.streams.items()}

    def total(self, taken: Taken[Entry]) -> int | None:
        """The number of all matches, where it is known: all were read, or one manager alone was asked and gave it."""
        if self.lossy:
            return None
        return self._single_total() if taken.total is None else taken.total

    def _single_total(self) -> int | None:
        if len(self.sources) != 1 or self.copies is not None or self.failures or self.watermark != START:
            return None
        slug, given = next(iter(self.totals.items()), ("", None))
        if given is None or given < sum(1 for _ in self.streams[slug].after(START)):
            return None  # fewer than were seen: not to be believed
        return given

    def issues(self) -> list[Issue]:
        """What the client must know of the managers that did not give all, or not in order."""
        told = [issue_of(error) for error in self.failures.values()]
        for slug, stream in self.streams.items():
            if stream.unsorted and stream.in_tail and slug not in self.failures:
                told.append(self.issue("manager.unsorted", slug))
            told += self.remarks.get(slug, ())
        return told

    def _note(self, slug: str, answer: FetchedPage) -> None:
        """What was wrong with single entries, and what the manager itself had to say; each once."""
        remarks = self.remarks.setdefault(slug, [])
        told = [self.issue(key, slug) for key in answer.problems]
        told += [
            issue for body in answer.outcomes for issue in relayed_issues(body, self.sources[slug].manager)
        ]
        remarks += [issue for issue in told if issue not in remarks]

    def issue(self, key: str, slug: str, **more: str) -> Issue:
        return manager_issue(key, self.sources[slug].manager, **more)
