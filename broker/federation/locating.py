"""Asking the locator before asking managers: only holders are asked, and whoever the index does not cover (section 5).

The index may be out (its store down, emptied, slow): then everybody is asked, slower and never wrong, and it is said in
the metrics. An outage costs one search its short wait; for a moment after it the index is not asked at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.core.identified import Identified, Located, identified
from broker.core.query import SearchQuery
from broker.errors import StoreError
from broker.ports import Clock
from registry.locator_model import Coverage, CoverageState, Identifier
from registry.ports import Holders, Locator
from registry.ports import Located as Pointers

_log = logging.getLogger("broker.locator")

_PAUSE = 1.0  # seconds without asking after an outage


@dataclass(slots=True)
class LocatorGuide:
    """The locator as searches use it. `freshness`: seconds that coverage is good for; `patience`: for one look-up."""

    locator: Locator
    clock: Clock
    freshness: float
    patience: float = 0.25
    outages: int = 0
    lookups: int = 0
    _silent_until: float = field(default=0.0)
    _judged: tuple[Mapping[str, Coverage], frozenset[str], float] | None = field(default=None)

    @property
    def out(self) -> bool:
        """Whether the index is being left alone after an outage."""
        return self.clock.monotonic() < self._silent_until

    async def locate(self, query: SearchQuery) -> Located | None:
        """What the index says to a search; None where it has nothing to say, or is out."""
        named = identified(query)
        if not named:
            return None
        persons = [one for criterion in named for one in criterion.persons]
        circles = [one for criterion in named for one in criterion.circles]
        found = await self.holders(persons, circles)
        if found is None:
            return None
        return Located(self.covered(found.coverage), [(one.name, _holders(one, found)) for one in named])

    async def holders(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Holders | None:
        """Who holds a circle of these; None where the index is out."""
        if self.out:
            return None
        self.lookups += 1
        try:
            async with asyncio.timeout(self.patience):
                return await self.locator.holders(persons, circles)
        except (StoreError, TimeoutError):
            self._outage()
            return None

    async def pointers(self, named: list[Identified]) -> Pointers:
        """Where circles are held; for `$locate`. Raises `StoreError`."""
        persons: list[Identifier] = [one for criterion in named for one in criterion.persons]
        circles: list[Identifier] = [one for criterion in named for one in criterion.circles]
        return await self.locator.pointers(persons, circles)

    def covered(self, coverage: Mapping[str, Coverage]) -> frozenset[str]:
        """The managers of which the index holds everything, as of a moment ago at most.

        The index gives the same coverage to every search until something in it changes: it is judged once, and good
        until the first of its managers is no longer fresh.
        """
        now = self.clock.now().timestamp()
        if self._judged is not None and self._judged[0] is coverage and now <= self._judged[2]:
            return self._judged[1]
        fresh = {slug: one.as_of or 0.0 for slug, one in coverage.items() if self.is_fresh(one)}
        slugs = frozenset(fresh)
        self._judged = (coverage, slugs, min(fresh.values(), default=now) + self.freshness)
        return slugs

    def is_fresh(self, coverage: Coverage) -> bool:
        if coverage.state is not CoverageState.COMPLETE or coverage.as_of is None:
            return False
        return self.clock.now().timestamp() - coverage.as_of <= self.freshness

    def _outage(self) -> None:
        self.outages += 1
        self._silent_until = self.clock.monotonic() + _PAUSE
        _log.warning("the locator is out: every manager is asked")


def _holders(criterion: Identified, found: Holders) -> frozenset[str]:
    """Who holds any of the values of a criterion."""
    slugs: frozenset[str] = frozenset()
    for one in criterion.persons:
        slugs |= found.persons.get(one, frozenset())
    for one in criterion.circles:
        slugs |= found.circles.get(one, frozenset())
    return slugs
