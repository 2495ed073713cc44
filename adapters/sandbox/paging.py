"""Pages of a search or a history: the whole result is fixed at the first page and kept for the links.

A link holds a random number and a position, so nothing about the search or the people in it.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.sandbox.store import Version
from broker.core.query import SearchQuery
from broker.errors import RequestError
from broker.ports import Clock


@dataclass(frozen=True, slots=True)
class Result:
    """All that a request found, in order. `query` is None for a history; `size` is the page size."""

    path: str  # below the base: `CareTeam`, `CareTeam/12/_history`
    versions: Sequence[Version]
    size: int
    query: SearchQuery | None = None


class Pages:
    """The results whose page links are alive: bounded in number and in age."""

    def __init__(self, clock: Clock, *, lifetime: float, limit: int) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._limit = limit
        self._results: OrderedDict[str, tuple[float, Result]] = OrderedDict()

    def keep(self, result: Result) -> str:
        """Keep a result; the key it is found by."""
        now = self._clock.monotonic()
        while self._results and (
            len(self._results) >= self._limit or next(iter(self._results.values()))[0] <= now
        ):
            self._results.popitem(last=False)
        key = secrets.token_urlsafe(16)
        self._results[key] = (now + self._lifetime, result)
        return key

    def find(self, key: str) -> Result:
        """Raises page.expired for a key too old, or never given."""
        until, result = self._results.get(key, (0.0, None))
        if result is None or until <= self._clock.monotonic():
            raise RequestError("page.expired")
        return result


def position(text: str, result: Result) -> int:
    """The place in a result that a link names. Raises page.forged unless a page can start there."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) > len(result.versions):
        raise RequestError("page.forged")
    return int(text)
