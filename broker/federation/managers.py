"""The registry as the running broker sees it: a snapshot in memory, kept fresh in the background.

A search never waits for the store. When the store is out of reach the last snapshot goes on being served, and
`stale_since` says since when.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence

from broker.errors import StoreError
from broker.federation.following import follow
from broker.ports import Clock
from registry.model import Registered
from registry.ports import GestionnaireStore


class ManagersView:
    """The `Managers` port over a `GestionnaireStore`. `refresh` once at start, then `run` as a task."""

    def __init__(self, store: GestionnaireStore, clock: Clock, *, refresh_seconds: float = 30.0) -> None:
        self._store = store
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._all: tuple[Registered, ...] = ()
        self._by_slug: Mapping[str, Registered] = {}
        self._reading = asyncio.Lock()
        self._stale_since: dt.datetime | None = clock.now()

    @property
    def stale_since(self) -> dt.datetime | None:
        """Since when the store has not been readable; None while the snapshot is fresh."""
        return self._stale_since

    def all(self) -> Sequence[Registered]:
        """Every registered manager, suspended ones too, in the order of their slugs."""
        return self._all

    def get(self, slug: str) -> Registered | None:
        return self._by_slug.get(slug)

    async def refresh(self) -> bool:
        """Read the whole registry now. False where the store did not answer: the last snapshot stays."""
        async with self._reading:  # of two reads the one that began later must be the one that stays
            try:
                snapshot = tuple(await self._store.all())
            except StoreError:
                self._stale_since = self._stale_since or self._clock.now()
                return False
            self._all = snapshot
            self._by_slug = {registered.gestionnaire.id: registered for registered in snapshot}
            self._stale_since = None
            return True

    async def run(self) -> None:
        """Follow the store until cancelled: at each change, and at least every `refresh_seconds`."""
        changes = self._store.changes()
        await follow(
            changes, lambda _: self.refresh(), self.refresh, self._clock, seconds=self._refresh_seconds
        )
