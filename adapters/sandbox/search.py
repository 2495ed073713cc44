"""Evaluating a search over the store: which resources match, in which order (FHIR R4, search.html).

Identifiers, ids and references narrow the search by index; the rest is a scan with prepared predicates.
Chained criteria are evaluated one by one, from their end backwards, and independently of each other, as FHIR
has it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace

from adapters.sandbox.store import Store, Version, reference_key
from broker.core.matching import elements, predicate, sort_value
from broker.core.query import Criterion, SearchQuery, SortKey
from broker.core.search_parameters import ParamType, SearchParameter
from broker.core.value_tests import reference_text, split_reference, split_token


class Searcher:
    """Searches of one request: `base` is the server's address as the client sees it."""

    def __init__(self, store: Store, base: str) -> None:
        self._store = store
        self._base = base
        self._now: dt.datetime = store.clock.now()

    def search(self, query: SearchQuery) -> list[Version]:
        """All matches in the order asked for; by default, and among equals, the last changed first."""
        found = self._select(query.type, query.criteria)
        found.sort(key=lambda version: version.id)
        found.sort(key=lambda version: version.instant, reverse=True)
        for key in reversed(query.sort):
            found = _sorted(found, key)
        return found

    def matching(self, kind: str, criteria: Sequence[Criterion]) -> list[Version]:
        """The matches of some criteria in no order."""
        return self._select(kind, criteria)

    def _select(self, kind: str, criteria: Sequence[Criterion]) -> list[Version]:
        pool: set[str] | None = None
        for criterion in criteria:
            narrowed = self._narrow(kind, criterion)
            if narrowed is not None:
                pool = narrowed if pool is None else pool & narrowed
        tests = [
            predicate(criterion, base=self._base, now=self._now)
            for criterion in criteria
            if not criterion.chain
        ]
        live = self._store.live(kind)
        candidates = live.values() if pool is None else (live[i] for i in pool if i in live)
        return [version for version in candidates if all(test(version.content) for test in tests)]

    def _narrow(self, kind: str, criterion: Criterion) -> set[str] | None:
        """Ids among which the matches are; None for all. Those of a chain are exactly its matches."""
        if criterion.chain:
            return self._follow(kind, criterion)
        parameter, modifier = criterion.parameter, criterion.modifier
        if parameter.name == "_id" and modifier is None:
            return {split_token(value)[1] for value in criterion.values}
        if parameter.name == "identifier" and modifier is None:
            codes = [split_token(value)[1] for value in criterion.values]
            return self._union(self._store.with_identifier(kind, c) for c in codes) if all(codes) else None
        if parameter.type is ParamType.REFERENCE and modifier not in {"missing", "identifier"}:
            return self._by_reference(kind, criterion)
        return None

    def _by_reference(self, kind: str, criterion: Criterion) -> set[str] | None:
        keys: list[str] = []
        for value in criterion.values:
            stated, identity, _ = split_reference(value, self._base)
            if stated is not None:
                keys.append(f"{stated}/{identity}")
            elif "/" in value or ":" in value:
                keys.append(reference_key(value))
            else:
                types = (criterion.modifier,) if criterion.modifier else criterion.parameter.targets
                keys += [f"{target}/{identity}" for target in types]
        return self._union(self._store.referring(kind, key) for key in keys)

    def _follow(self, kind: str, criterion: Criterion) -> set[str]:
        """Ids of the resources whose first link leads to a match of the rest of the chain."""
        if self._store.options.chains_match_nothing:
            return set()
        link, rest = criterion.chain[0], replace(criterion, chain=criterion.chain[1:])
        targets = {version.reference for version in self._select(link.target, [rest])}
        candidates = self._union(self._store.referring(kind, target) for target in targets)
        live = self._store.live(kind)
        return {i for i in candidates if targets & self.targets_of(live[i], link.parameter)}

    def targets_of(self, version: Version, parameter: SearchParameter) -> set[str]:
        """The local resources, as `Type/id`, that a reference parameter of a resource points to."""
        found: set[str] = set()
        for element in elements(version.content, parameter, self._base):
            kind, identity, _ = split_reference(reference_text(element) or "", self._base)
            if kind is not None:
                found.add(f"{kind}/{identity}")
        return found

    @staticmethod
    def _union(groups: Iterable[Iterable[str]]) -> set[str]:
        return {identity for group in groups for identity in group}


def _sorted(versions: list[Version], key: SortKey) -> list[Version]:
    """Stably sorted by one key; those without a value come last in both directions."""
    values = [(sort_value(v.content, key.parameter, key.descending), v) for v in versions]
    with_value = [(value, version) for value, version in values if value is not None]
    with_value.sort(key=lambda pair: pair[0], reverse=key.descending)
    return [version for _, version in with_value] + [version for value, version in values if value is None]
