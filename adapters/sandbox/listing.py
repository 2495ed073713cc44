"""Results shown page by page: searchsets and histories."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

from adapters.sandbox import bundles
from adapters.sandbox.exchange import Answer, Call
from adapters.sandbox.include import included
from adapters.sandbox.paging import Pages, Result, position
from adapters.sandbox.search import Searcher
from adapters.sandbox.store import Store, Version, fhir_instant
from adapters.sandbox.subset import trim_of
from broker.core.query import SearchQuery, Summary
from broker.errors import RequestError

PAGE = "_page"
GETPAGES, _OFFSET = "_getpages", "_getpagesoffset"


class Listing:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._options = store.options
        self._pages = Pages(
            store.clock, lifetime=self._options.page_lifetime, limit=self._options.max_page_states
        )

    def first(self, call: Call, result: Result, used: Sequence[tuple[str, str]]) -> Answer:
        """The first page. `used` are the parameters for the `self` link."""
        query = f"?{urlencode(used)}" if used else ""
        own = f"{call.base}/{result.path}{query}"
        key = self._pages.keep(result) if 0 < result.size < len(result.versions) else ""
        return self._page(call, result, key, 0, own)

    def follow(self, call: Call, token: str) -> Answer:
        """The page that one of our links leads to. Raises page.expired, page.forged."""
        key, _, start = token.rpartition(".")
        return self._follow(call, key, start)

    def follow_getpages(self, call: Call) -> Answer:
        return self._follow(call, call.parameter(GETPAGES) or "", call.parameter(_OFFSET) or "0")

    def _follow(self, call: Call, key: str, start: str) -> Answer:
        result = self._pages.find(key)
        offset = position(start, result)
        return self._page(call, result, key, offset, self._link(call, result, key, offset))

    def _page(self, call: Call, result: Result, key: str, start: int, own: str) -> Answer:
        versions = result.versions[start : start + result.size]
        entries = (
            [bundles.history_entry(version, call.base) for version in versions]
            if result.query is None
            else self._matches(call, result.query, versions)
        )
        links = [] if self._options.no_self_link else [("self", own)]
        if key:
            links += [("first", self._link(call, result, key, 0))]
        if start > 0:
            links += [("previous", self._link(call, result, key, max(start - result.size, 0)))]
        if key and start + result.size < len(result.versions):
            links += [("next", self._link(call, result, key, start + result.size))]
        counting = result.query is not None and result.size == 0
        total = None if self._options.no_total and not counting else len(result.versions)
        kind = "history" if result.query is None else "searchset"
        instant = fhir_instant(self._store.clock.now())
        return Answer(200, bundles.bundle(kind, instant, entries, links=links, total=total))

    def _matches(self, call: Call, query: SearchQuery, versions: Sequence[Version]) -> list[bytes]:
        """The entries of a page: matches as they are now, without those deleted meanwhile, then includes."""
        live = self._store.live(query.type)
        matches = [live[version.id] for version in versions if version.id in live]
        others = included(self._store, Searcher(self._store, call.base), matches, query.includes)
        of_match, of_include = trim_of(query, match=True), trim_of(query, match=False)
        options = self._options
        return [bundles.search_entry(v, "match", of_match, call.base, options) for v in matches] + [
            bundles.search_entry(v, "include", of_include, call.base, options) for v in others
        ]

    def _link(self, call: Call, result: Result, key: str, start: int) -> str:
        root = urlsplit(call.base).path if self._options.relative_next_links else call.base
        asked = call.parameter("_format")
        kept = [("_format", asked)] if asked else []
        if not self._options.getpages_links:
            return f"{root}/{result.path}?{urlencode([(PAGE, f'{key}.{start}'), *kept])}"
        kind = "history" if result.query is None else "searchset"
        place = [(GETPAGES, key), (_OFFSET, str(start)), ("_count", str(result.size)), ("_bundletype", kind)]
        return f"{root}?{urlencode([*place, *kept])}"


def page_size(query: SearchQuery, default: int) -> int:
    """Matches on a page; 0 where only the total is wanted."""
    if query.summary is Summary.COUNT:
        return 0
    return default if query.count is None else query.count


def count_of(text: str | None, *, default: int, most: int) -> int:
    """`_count` of a history. Raises request.bad-value."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise RequestError("request.bad-value", parameter="_count", expected=f"0…{most}")
    return min(int(text), most)
