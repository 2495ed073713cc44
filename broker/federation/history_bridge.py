"""The history of all circles for a manager that offers none: its circles, newest first, and the history of each.

Within two bounds: how many circles are looked at, and how many of them have their own history read. Whoever meets one,
or a history that does not answer, is said to be incomplete. Deletions do not show this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.aside import aside
from broker.core.bundle import Entry, read_history, read_searchset
from broker.core.identity import Origin
from broker.core.routing import knows
from broker.core.sort_key import instant_prefix
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.fan_out import fan_out
from broker.federation.issues import tells_partial
from broker.federation.manager_calls import ManagerCalls
from broker.federation.page_trail import PageTrail

MAX_BRIDGED: Final = 100
"""Circles whose own histories are read."""

MAX_SORTED: Final = 1000
"""Circles of a manager that does not sort that are looked at for its newest ones."""

_AT_ONCE: Final = 8
_NO_HISTORY: Final = frozenset({400, 404, 405, 410, 501})


@dataclass(frozen=True, slots=True)
class HistoryBridge:
    """`pairs`: the parameters of the history asked for (`_since`)."""

    calls: ManagerCalls
    origin: Origin
    known_origins: tuple[Origin, ...]
    pairs: tuple[tuple[str, str], ...]
    context: RequestContext
    aliases: dict[str, str]

    async def read(self) -> tuple[list[Entry], bool]:
        """Versions newest first, and whether they are all there is. Raises `ManagerError`."""
        circles, complete = await self._circles()
        slots = asyncio.Semaphore(_AT_ONCE)

        async def versions(local_id: str) -> tuple[Entry, ...]:
            async with slots:
                return await self._versions(local_id)

        histories = await fan_out([circle.local_id for circle in circles], versions)
        entries: list[Entry] = []
        for circle in circles:
            history = histories[circle.local_id]
            complete = complete and not isinstance(history, ManagerError)
            # A manager that keeps no versions either still has the present one.
            entries += [circle] if isinstance(history, ManagerError) or not history else history
        entries.sort(key=lambda entry: (instant_prefix(entry.last_updated), entry.public_id))
        return entries, complete

    async def _circles(self) -> tuple[Sequence[Entry], bool]:
        limit = MAX_BRIDGED if self.calls.skills.sort else MAX_SORTED
        pairs = [("_sort", "-_lastUpdated")]
        if knows(self.calls.skills, "CareTeam", "_lastUpdated"):
            pairs += [("_lastUpdated", f"ge{value}") for name, value in self.pairs if name == "_since"]
        found, total = await self._search([*pairs, ("_count", str(MAX_BRIDGED))], limit)
        if len(found) < total <= limit:  # it gave no way to the rest
            found, total = await self._search([*pairs, ("_count", str(total))], limit)
        found.sort(key=lambda entry: (instant_prefix(entry.last_updated), entry.public_id))
        return found[:MAX_BRIDGED], max(len(found), total) <= MAX_BRIDGED and len(found) >= total

    async def _search(self, pairs: list[tuple[str, str]], limit: int) -> tuple[list[Entry], int]:
        """Up to a little over `limit` circles, and how many there are by the manager's own count."""
        body = await self.calls.search("CareTeam", pairs, self.context)
        found: list[Entry] = []
        trail, whole = PageTrail(self.calls.manager), True
        while True:
            bundle = await aside(
                len(body), read_searchset, body, self.origin, "CareTeam", self.aliases, self.known_origins
            )
            trail.take(bundle)
            whole = whole and not bundle.problems and not any(map(tells_partial, bundle.outcomes))
            found += [entry for entry in bundle.entries if entry.mode == "match"]
            url = self.calls.next_url(bundle.next_url)
            if url is None or len(found) > limit:
                return found, (bundle.total or 0) if url is None and whole else limit + 1
            trail.follow(url)
            body = await self.calls.follow(url, self.context)

    async def _versions(self, local_id: str) -> tuple[Entry, ...]:
        """Every version of one circle; none where the manager keeps none."""
        answer = await self.calls.get(f"CareTeam/{local_id}/_history", self.context, query=[*self.pairs])
        if answer.status in _NO_HISTORY:
            return ()
        if answer.status != 200:
            raise self.calls.failure(FailureKind.REJECTED, answer.status)
        found: list[Entry] = []
        trail = PageTrail(self.calls.manager)
        body = answer.body
        while True:
            bundle = await aside(len(body), read_history, body, self.origin, self.aliases, self.known_origins)
            trail.take(bundle)
            if bundle.problems:
                raise self.calls.failure(FailureKind.INVALID)
            found += bundle.entries
            url = self.calls.next_url(bundle.next_url)
            if url is None:
                return tuple(found)
            trail.follow(url)
            body = await self.calls.follow(url, self.context)
