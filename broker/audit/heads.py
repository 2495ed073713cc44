"""How far the trail has come, kept elsewhere: so that it shows where its end was cut off.

Once a second the head of this worker's stream is stored beside the locator's state. It is never ahead of the trail:
what is stored was written, and was made lasting before. Where the store is away the trail goes on, and the log says
that a cut would not show. A stored head that is ahead of what the file holds when a worker starts means that lines
are gone: the stream goes on behind the stored head, so that the gap stays.
"""

from __future__ import annotations

import logging

from broker.audit.sink import HeadStore
from broker.audit.trail import Trail
from broker.core.audit.chain import Head
from broker.errors import StoreError
from broker.ports import Clock

_log = logging.getLogger("broker.audit")

_EVERY = 1.0


async def resumed(store: HeadStore, stream: str, held: Head) -> tuple[Head, bool]:
    """Where a stream goes on, and whether the store could tell. `held`: what its files end with."""
    try:
        stored = (await store.load()).get(stream)
    except StoreError:
        _log.warning("the store is away: whether the audit trail of %s was cut is not known yet", stream)
        return held, False
    if stored is None or stored.seq <= held.seq:
        return held, True
    _log.error("the audit trail %s lacks its end: %d to %d are gone", stream, held.seq + 1, stored.seq)
    return stored, True


class HeadKeeper:
    """`known`: whether the stored head was seen at the start. `begun`: what the stream began from."""

    def __init__(
        self, trail: Trail, stream: str, store: HeadStore, clock: Clock, *, begun: Head, known: bool
    ) -> None:
        self._trail = trail
        self._stream = stream
        self._store = store
        self._clock = clock
        self._begun = begun
        self._known = known
        self._saved: Head | None = None
        self._away = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(_EVERY)
            await self.keep()

    async def keep(self) -> None:
        """Once: make the trail lasting, then store its head."""
        head = self._trail.written
        if (head == self._saved and not self._trail.state.broken) or not await self._trail.sync():
            return
        try:
            if not self._known:
                await self._compare()
            await self._store.save(self._stream, head)
        except StoreError:
            if not self._away:
                _log.warning("heads of the audit trail cannot be stored: a cut of its end would not show")
            self._away = True
            return
        if self._away:
            _log.info("heads of the audit trail are stored again")
        self._away, self._saved = False, head

    async def _compare(self) -> None:
        """The store was away at the start: what it knows is looked at before it is overwritten."""
        stored = (await self._store.load()).get(self._stream)
        if stored is not None and stored.seq > self._begun.seq:
            _log.error(
                "the audit trail %s lacks lines %d to %d", self._stream, self._begun.seq + 1, stored.seq
            )
            await self._store.mourn(self._stream, self._begun.seq + 1, stored.seq)
        self._known = True
