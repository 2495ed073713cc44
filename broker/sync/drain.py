"""Emptying the outbox while leading (federation, section 6): read, look, publish, remove, all at the same time.

- Reading goes on behind what is in hand, so that what must wait is overtaken. What is in hand is bounded.
- Each circle's line is looked up at its home and made into records (`broker.sync.homes_queue` says which and when).
- One sender puts all that is ready in the log at once, and removes it from the outbox when the log has it. While the log
  is out it tries again, and everything else waits.

A line is given back when its records are in the log, not before: so the records of one circle never overtake one another.
Whatever ends this, at whatever instant: what is not removed from the outbox is published again, under the same ids.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.core.change_event import Change, Operation
from broker.errors import BrokerError, FailureKind, ManagerError, StoreError
from broker.ports import Clock, Disclosures
from broker.sync.change_log import ChangeLog, Outgoing
from broker.sync.disclosures import UNTRACED, of_circle
from broker.sync.event_records import Content, EventRecords
from broker.sync.homes import Absence, Homes, StaleError
from broker.sync.homes_queue import HomesQueue, Line
from broker.sync.publisher_options import PublisherFigures, PublisherOptions
from broker.sync.routing import ChangeRouting
from broker.sync.sender import Parcel, Sender, Told
from broker.sync.tasks import end
from broker.sync.telling import telling
from broker.sync.term import LostLeadError, Term
from broker.tracing import Tracer
from registry.outbox_model import CircleChange, Waiting
from registry.ports import Outbox

_log = logging.getLogger("broker.sync")

_OF_THE_HOME = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.UNREACHABLE,
        FailureKind.BREAKER_OPEN,
        FailureKind.BUSY,
        FailureKind.REFUSED,
        FailureKind.CREDENTIALS,
        FailureKind.ADDRESS,
        FailureKind.LOOP,
    }
)
"""Failures that another circle would meet as well."""


class _NotNowError(Exception):
    """Look at this circle again, `after` so many seconds or growing pauses."""

    def __init__(self, after: float | None = None) -> None:
        super().__init__(after)
        self.after = after


@dataclass(slots=True)
class Drain:
    """One term of leading. `observe` hears, for each change, of the seconds from the outbox into the log."""

    term: Term
    outbox: Outbox
    log: ChangeLog
    homes: Homes
    routing: ChangeRouting
    records: EventRecords
    clock: Clock
    options: PublisherOptions
    figures: PublisherFigures
    observe: Callable[[float], None]
    disclosures: Disclosures = UNTRACED
    tracer: Tracer | None = None
    _queue: HomesQueue = field(init=False)
    _sender: Sender = field(init=False)
    _looking: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _broken: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def __post_init__(self) -> None:
        self._queue = HomesQueue(self.options.at_once)
        self._sender = Sender(
            term=self.term,
            log=self.log,
            homes=self.homes,
            routing=self.routing,
            clock=self.clock,
            figures=self.figures,
            observe=self.observe,
            settled=self._settled,
            batch=self.options.batch,
        )

    async def run(self) -> None:
        """Until cancelled. Raises `LostLeadError`, `StoreError`."""
        loops = (self._read(), self._sender.run(), self._wake(), self.term.keep(), self._tidy())
        tasks = [asyncio.ensure_future(one) for one in loops]
        try:
            done, _ = await asyncio.wait([*tasks, self._broken], return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            await end([*tasks, *self._tasks, self._broken])

    # --- reading

    async def _read(self) -> None:
        place: str | None = None
        while True:
            self.figures.stalled = self._queue.depth >= self.options.most_waiting
            if self.figures.stalled:
                self._room.clear()
                await self._room.wait()
                continue
            found = await self.outbox.peek(self.term.token, after=place, limit=self.options.batch)
            if found is None:
                raise LostLeadError
            if not found:
                if await self.outbox.wait(place, seconds=1.0):
                    await self.clock.sleep(self.options.gather)  # the write's own answer goes first
                continue
            place = found[-1].place
            now = self.clock.monotonic()
            for one in found:
                self._queue.put(one, now - one.age)
            self._dispatch()

    async def _wake(self) -> None:
        """What is due again, and what is to be told of what is not."""
        while True:
            await self.clock.sleep(self.options.tick)
            self._dispatch()

    def _dispatch(self) -> None:
        for line in self._queue.unheard(self._free):
            self._sender.put(self._notice(line))
        for line in self._queue.next(self.clock.monotonic(), self._free):
            self._looking += 1
            task = asyncio.ensure_future(self._carry(line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.figures.waiting_for = self._queue.failing()

    @property
    def _free(self) -> int:
        return self.options.most_read - self._looking - self._sender.unsent

    # --- one circle

    def _notice(self, line: Line) -> Parcel:
        """That a circle changed is told at once, also where what it is now must wait."""
        changes = [self.homes.stated(one) for one, _ in line.waiting]
        records = self._notifications(line, changes)
        self.figures.notified_early += len(records)
        return Parcel(line, records, notified=changes[-1].sequence)

    def _notifications(self, line: Line, changes: Sequence[Change]) -> list[Outgoing]:
        return [self.records.notification(one) for one in changes if one.sequence > line.notified]

    async def _carry(self, line: Line) -> None:
        """A line that is in hand, until its parcel is on its way or it is given back."""
        parcel, failure, answered, told = None, None, False, None
        try:
            part = line.part()
            told = telling(self.tracer, [self.homes.stated(one) for one, _ in part])
            with told.under():
                parcel = await self._parcel(line, part, told.changes)
            answered = line.waiting[0][0].change.operation is not Operation.DELETED
        except StoreError as error:
            if not self._broken.done():
                self._broken.set_exception(error)
        except (BrokerError, _NotNowError) as error:
            failure = error
        except Exception as error:  # noqa: BLE001
            # A defect of ours that one circle brings out must not stop all the others: reported, put off.
            failure = _NotNowError()
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a change at manager {line.circle[0]} cannot be published", "exception": error}
            )
        finally:
            self._looking -= 1
            self._queue.looked(line, answered=answered)
        if parcel is not None:
            parcel.telling = told
            self._sender.put(parcel)
        elif told is not None:
            told.end("put-off")
        if failure is not None:
            self._failed(line, failure)
        self._dispatch()

    def _failed(self, line: Line, error: BrokerError | _NotNowError) -> None:
        now = self.clock.monotonic()
        if isinstance(error, _NotNowError):
            self._queue.circle_failed(line, now, after=error.after)
        elif isinstance(error, ManagerError) and error.kind not in _OF_THE_HOME:
            self._queue.circle_failed(line, now)
        else:
            self._queue.home_failed(line, now)

    async def _parcel(
        self, line: Line, part: list[tuple[Waiting, float]], changes: Sequence[Change]
    ) -> Parcel:
        last = changes[-1]
        if not await self.routing.is_awaited():
            return Parcel(line, self._notifications(line, changes), part)
        found: Content | Absence | None = None
        if last.operation is not Operation.DELETED:
            found = await self._fetched(line, last)
        records = self._notifications(line, changes)
        if isinstance(found, Absence):
            return Parcel(line, await self._of_absent(found, line, records), part)
        circle, actors = (None, ()) if found is None else (found.circle, found.actors)
        destinations = await self.routing.route(last, circle, actors)
        if not await self.disclosures.told(of_circle(last, circle, actors, destinations.whole)):
            raise _NotNowError
        for change in changes:
            sent = self.records.replication(change, found, destinations)
            bounded, reduced = self.records.bounded(change, sent)
            records += bounded
            self._reduced(line, reduced)
        told = [Told(change, circle, actors, destinations) for change in changes]
        return Parcel(line, records, part, told)

    async def _fetched(self, line: Line, change: Change) -> Content | Absence:
        try:
            found = await self.homes.fetch(change)
        except StaleError as error:
            if line.attempts < self.options.stale:
                raise _NotNowError from None
            return error.content
        if found is Absence.MISSING:
            line.absent += 1
            if line.absent == 1:
                raise _NotNowError(self.options.quiet)
        return found

    async def _of_absent(self, found: Absence, line: Line, records: list[Outgoing]) -> list[Outgoing]:
        slug, circle_id = line.circle
        if found is Absence.REPLICA:
            self.figures.replicas += 1
            return []
        if found is Absence.LEFT:
            self.figures.abandoned += 1
            _log.warning("manager %s left: a change of a circle there is told by its id only", slug)
            return records
        # The deletion is a change of its own, with a number of its own: it follows in this circle's line.
        self.figures.found_deleted += 1
        await self.outbox.enqueue(CircleChange(slug, circle_id, None, None, Operation.DELETED))
        return records

    def _reduced(self, line: Line, count: int) -> None:
        if count:
            self.figures.reduced += count
            _log.error("a circle of manager %s is too large for the log: told by its id only", line.circle[0])

    def _settled(self, parcel: Parcel, sent: bool) -> None:
        line = parcel.line
        if not parcel.done:
            if sent:
                line.notified = max(line.notified, parcel.notified)
        elif sent:
            self._queue.told(line, len(parcel.done))
            self._room.set()
            if line.waiting:
                self._dispatch()
        else:
            self._queue.circle_failed(line, self.clock.monotonic())

    # --- what a leader does beside

    async def _tidy(self) -> None:
        """Forget, a part at a time, the circles that have not changed for long."""
        for part in itertools.count():
            await self.clock.sleep(self.options.tidy)
            for manager in self.homes.managers():
                await self.outbox.tidy(manager, part, older=self.options.forget)
                await self.clock.sleep(self.options.tidy)
