"""Includes for a manager that brings none: fetched by reference, round by round (federation, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.aside import aside
from broker.core.bundle import Entry, read_searchset
from broker.core.identity import Origin
from broker.core.include_paths import points_at, targets
from broker.core.query import Include
from broker.core.search_parameters import PARAMETERS, lookup
from broker.errors import FailureKind
from broker.federation.context import RequestContext
from broker.federation.issues import tells_partial
from broker.federation.manager_calls import ManagerCalls
from broker.federation.page_trail import PageTrail

MAX_INCLUDED = 1000
"""How many `bound` is where nothing else is said."""

_CHUNK = 50  # ids in one `_id=` criterion


@dataclass(frozen=True, slots=True)
class IncludeFetcher:
    """`rounds`: how deep `:iterate` is followed. `bound`: resources that one manager's part of one page may bring in."""

    calls: ManagerCalls
    origin: Origin
    context: RequestContext
    aliases: dict[str, str]
    rounds: int = 5
    bound: int = MAX_INCLUDED
    _lacking: list[bool] = field(default_factory=list)  # a broker that misses some of its managers' resources

    async def complete(
        self, includes: Sequence[Include], matches: Sequence[Entry]
    ) -> tuple[list[Entry], bool]:
        """What the includes of a search bring to its matches; and whether that is all, or a bound was met."""
        known = {f"{entry.type}/{entry.public_id}" for entry in matches}
        sources: Sequence[Entry] = matches
        brought: list[Entry] = []
        for round_number in range(self.rounds):
            active = [include for include in includes if round_number == 0 or include.iterate]
            found = await self._round(active, sources, known)
            if not found:
                return brought, not self._lacking
            if len(brought) + len(found) > self.bound:
                return brought, False
            brought += found
            sources = found
        return brought, not (self._lacking or any(include.iterate for include in includes))

    async def _round(
        self, includes: Sequence[Include], sources: Sequence[Entry], known: set[str]
    ) -> list[Entry]:
        forward = {ref for entry in sources for ref in targets(entry, includes, self.origin)} - known
        known |= forward
        jobs = [self._by_ids(kind, ids) for kind, ids in _by_type(forward, self.origin.slug)]
        jobs += [self._pointing_at(include, sources) for include in includes if include.reverse and sources]
        found: dict[str, Entry] = {}
        for entries in await asyncio.gather(*jobs):
            for entry in entries:
                found.setdefault(f"{entry.type}/{entry.public_id}", entry)
        fresh = [entry for key, entry in found.items() if key in forward or key not in known]
        known |= found.keys()
        return fresh

    async def _by_ids(self, resource_type: str, public_ids: Sequence[str]) -> list[Entry]:
        dotted = len(self.origin.slug) + 1
        locals_ = [self.aliases.get(public, public[dotted:]) for public in public_ids]
        chunks = [locals_[start : start + _CHUNK] for start in range(0, len(locals_), _CHUNK)]
        pages = await asyncio.gather(
            *(self._search(resource_type, "_id", ",".join(chunk), _CHUNK) for chunk in chunks)
        )
        wanted = set(public_ids)
        return [entry for page in pages for entry in page if entry.public_id in wanted]

    async def _pointing_at(self, include: Include, sources: Sequence[Entry]) -> list[Entry]:
        """`_revinclude`: what points at the sources by the include's parameter."""
        parameter = lookup(include.source, include.parameter)
        if parameter is None:
            return []
        pointed = [entry for entry in sources if entry.type in parameter.targets]
        if not pointed:
            return []
        value = ",".join(f"{entry.type}/{entry.local_id}" for entry in pointed)
        found = await self._search(include.source, parameter.name, value, self.bound)
        every = {f"{entry.type}/{entry.public_id}" for entry in pointed}
        return [entry for entry in found if points_at(entry, parameter, every)]

    async def _search(self, resource_type: str, name: str, value: str, count: int) -> list[Entry]:
        pairs = [(name, value), ("_count", str(count))]
        body = await self.calls.search(resource_type, pairs, self.context)
        entries: list[Entry] = []
        trail = PageTrail(self.calls.manager)
        while True:
            bundle = await aside(len(body), read_searchset, body, self.origin, resource_type, self.aliases)
            trail.take(bundle)
            if bundle.problems:
                raise self.calls.failure(FailureKind.INVALID)
            self._lacking.extend(filter(None, map(tells_partial, bundle.outcomes)))
            entries += [replace(entry, mode="include") for entry in bundle.entries if entry.mode == "match"]
            url = self.calls.next_url(bundle.next_url)
            if url is None or len(entries) > count:
                return entries
            trail.follow(url)
            body = await self.calls.follow(url, self.context)


def _by_type(keys: Iterable[str], slug: str) -> list[tuple[str, list[str]]]:
    """References grouped by type; only to this manager's own resources of a type that it holds."""
    groups: dict[str, list[str]] = {}
    for key in sorted(keys):
        kind, _, public_id = key.partition("/")
        if kind in PARAMETERS and public_id.startswith(slug + "."):
            groups.setdefault(kind, []).append(public_id)
    return list(groups.items())
