"""What searches show in passing feeds the index too, in the background and never at a search's cost.

Only whole sightings count: a circle whose Patient came with it. One identifier that a search was for is not all that the
person has, and a circle learnt with less than all would be missed by the rest. Nothing here can undo what is newer: a
sighting bears the instant of what it tells (`broker.sync.sightings`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from broker.core.bundle import Entry
from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.sightings import patients_among, sightings, without_patient
from registry.ports import Locator

_log = logging.getLogger("broker.locator")

_SUBSETTED = "SUBSETTED"
_LATELY = 60.0  # seconds
_REMEMBERED = 1000  # pages
_PAUSE = 5.0  # seconds without learning after the store did not answer


class LocatorObserver:
    """`bound`: pages that wait to be learnt at most; what comes when there are as many is dropped, and counted."""

    def __init__(self, locator: Locator, clock: Clock, *, bound: int = 500) -> None:
        self._locator = locator
        self._clock = clock
        self._bound = bound
        self._waiting: deque[tuple[Entry, ...]] = deque()
        self._arrived = asyncio.Event()
        self._lately: dict[int, float] = {}
        self.dropped = 0
        self.learnt = 0

    def seen(self, entries: Sequence[Entry]) -> None:
        """The entries of one page of a search, includes too, in public terms. Returns at once."""
        if len(self._waiting) >= self._bound:
            self.dropped += 1
            return
        if self._seen_lately(entries):
            return
        self._waiting.append(tuple(entries))
        self._arrived.set()

    def _seen_lately(self, entries: Sequence[Entry]) -> bool:
        """Whether the very same versions came a moment ago: the same search again teaches nothing, and costs a write."""
        # A hash, for a page can be long and there are many. Two of one hash: the feed teaches what is left out here.
        page = hash(tuple((entry.public_id, entry.version_id, entry.last_updated) for entry in entries))
        now = self._clock.monotonic()
        if now < self._lately.get(page, 0.0):
            return True
        if len(self._lately) >= _REMEMBERED:
            self._lately.clear()
        self._lately[page] = now + _LATELY
        return False

    async def run(self) -> None:
        """Learn what was seen, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._learn(self._waiting.popleft())
                await asyncio.sleep(0)

    async def _learn(self, entries: Sequence[Entry]) -> None:
        # Without an instant nothing says which of two is newer.
        whole = [entry for entry in entries if entry.last_updated is not None and not _is_part(entry)]
        patients = patients_among(whole)
        circles = [entry for entry in whole if entry.type == "CareTeam" and entry.raw]
        lacking = {entry.public_id for entry in without_patient(circles, patients)}
        found = sightings([entry for entry in circles if entry.public_id not in lacking], patients)
        if not found:
            return
        try:
            await self._locator.learn(found)
            self.learnt += len(found)
        except StoreError:
            # What was seen is seen again, by the feed at the latest.
            self.dropped += 1
            await self._clock.sleep(_PAUSE)


def _is_part(entry: Entry) -> bool:
    """The manager left elements out, as it was asked to."""
    return any(code == _SUBSETTED for _, code in entry.tags)
