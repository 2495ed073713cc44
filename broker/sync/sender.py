"""Putting what is ready in the change log, in order, and taking it out of the outbox when the log has it.

While the log is out it is tried again, and everything waits. A record that the log refuses for good (its topic is not
there) is not skipped: its circle's line is given back and tried again later, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.core.change_event import Change
from broker.core.entry import Entry
from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.change_log import ChangeLog, Outgoing
from broker.sync.homes import Homes
from broker.sync.homes_queue import Line, pause
from broker.sync.publisher_options import PublisherFigures
from broker.sync.routing import ChangeRouting, Destinations
from broker.sync.telling import Telling
from broker.sync.term import LostLeadError, Term
from registry.outbox_model import Waiting

_log = logging.getLogger("broker.sync")

_LOG = "federation.log"  # and what begins so: errors of the log, not of the registry's store


@dataclass(slots=True)
class Told:
    """What is done for a change beside its records."""

    change: Change
    circle: Entry | None
    actors: Sequence[Entry]
    destinations: Destinations


@dataclass(slots=True)
class Parcel:
    """Records of one line, in order. `done`: the changes that are told for good with it; none of an early notice.

    `notified`: up to which number it tells that the circle changed. `telling`: ended when it is settled.
    """

    line: Line
    records: list[Outgoing]
    done: list[tuple[Waiting, float]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    notified: int = 0
    telling: Telling | None = None


@dataclass(slots=True)
class Sender:
    """`batch`: parcels at a time. `settled` hears of each parcel, and whether the log has it."""

    term: Term
    log: ChangeLog
    homes: Homes
    routing: ChangeRouting
    clock: Clock
    figures: PublisherFigures
    observe: Callable[[float], None]
    settled: Callable[[Parcel, bool], None]
    batch: int
    unsent: int = 0
    _parcels: deque[Parcel] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, parcel: Parcel) -> None:
        self._parcels.append(parcel)
        self.unsent += 1
        self._arrived.set()

    async def run(self) -> None:
        """Until cancelled. Raises `LostLeadError`, `StoreError`."""
        while True:
            if not self._parcels:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = [self._parcels.popleft() for _ in range(min(len(self._parcels), self.batch))]
            await self.homes.remember()
            if await self._published([record for parcel in batch for record in parcel.records]):
                await self._sent(batch)
                continue
            for parcel in batch:  # one by one: the others are not to wait for the one that is refused
                if await self._published(parcel.records):
                    await self._sent([parcel])
                else:
                    self._settle([parcel], sent=False)

    async def _published(self, records: Sequence[Outgoing]) -> bool:
        """Once the log has them; False where it refuses one for good."""
        failures = 0
        while records:
            self.term.check()
            try:
                await self.log.publish_many(records)
            except StoreError as error:
                if not error.key.startswith(_LOG):
                    raise
                if error.key != _LOG:
                    _log.error("the change log refuses a record (%s): tried again", error.key)
                    return False
                if not failures:
                    _log.warning("the change log is out: changes wait")
                self.figures.log_failures += 1
                await self.clock.sleep(pause(failures))
                failures += 1
            else:
                self.figures.published += len(records)
                return True
        return True

    async def _sent(self, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            for told in parcel.told:
                await self.routing.hand_over(told.change, told.circle, told.actors, told.destinations)
                await self.routing.settle(told.change, told.destinations)
        now = self.clock.monotonic()
        places = [one.place for parcel in parcels for one, _ in parcel.done]
        if places and not await self.term.outbox.remove(self.term.token, places):
            raise LostLeadError
        for parcel in parcels:
            for _, arrived in parcel.done:
                self.observe(max(0.0, now - arrived))
        self._settle(parcels, sent=True)

    def _settle(self, parcels: Sequence[Parcel], *, sent: bool) -> None:
        self.unsent -= len(parcels)
        for parcel in parcels:
            if parcel.telling is not None:
                parcel.telling.end("sent" if sent else "refused")
            self.settled(parcel, sent)
