"""The present state for a newcomer: one manager's circles, as a subscription selects them, on its topic (federation, 6).

Why nothing falls between the state and the changes that follow:

1. The subscription is active before the first circle is read, and the publisher compares every change with all that are
   active by then. So a change after that instant is sent, whatever is done here.
2. The manager is followed before its first circle is read. So a change that the broker did not make becomes an event, or was
   made before and shows in what is read. What its lists show late is caught at the end: the last part is read once more.
3. A circle's number is read before the circle, and belongs to the version that was told last: the event that is sent here
   never bears the number of a change that it does not contain (`Numbered.of`), so the change's own event, sent before or
   after, is the later one to every reader.
4. Who has the circle is written down before it is sent, and its number is compared once more after that: a deletion that was
   told to those who had it by then is seen here, and one that is told later is told to the newcomer too.

So what is sent here is as harmless as any repetition: readers go by the number. A circle that never changed since its
manager is followed has none; it is given one below any to come (`Outbox.numbers`).

Read in the order of changes, a page at a time, the place is kept after each page: killed, the next one goes on from there. A
manager that cannot be read in that order is read from the start again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.core import json_text
from broker.core.bundle import Entry
from broker.core.change_event import Change, Operation
from broker.core.dedup import is_replica
from broker.core.subscription import ContentLevel, Subscription
from broker.core.subscription_criteria import Circle
from broker.errors import FailureKind, ManagerError
from broker.ports import Clock, Disclosures
from broker.sync.bootstrap_options import BootstrapOptions
from broker.sync.change_log import ChangeLog, Outgoing
from broker.sync.disclosures import UNTRACED, of_circle
from broker.sync.event_records import Content, EventRecords
from broker.sync.homes import Homes, StaleError
from broker.sync.instants import earlier, epoch, newest
from broker.sync.reader import ManagerReader, Page, UnsortedError
from broker.sync.routing import Destinations
from registry.bootstrap_model import BootstrapProgress, BootstrapState
from registry.outbox_model import CircleChange, Numbered, Waiting
from registry.ports import Outbox
from registry.subscription_ports import SentCircles

_CIRCLE = "CareTeam"
_UNTRACED = 5.0  # seconds until what could not be traced is tried again
_TRIES = 5  # at a circle that changes while it is looked at
_OF_THE_CIRCLE = frozenset(
    {FailureKind.ERROR, FailureKind.REJECTED, FailureKind.INVALID, FailureKind.TOO_LARGE}
)
"""Failures that may be about the one circle: it is passed over, counted and logged, and the others go on."""

_log = logging.getLogger("broker.sync")

Save = Callable[[BootstrapProgress], Awaitable[None]]
"""Keep the progress. Raises what ends the work where another node does it by now."""


@dataclass(slots=True)
class Bootstrap:
    """One subscription and one manager. Raises `ManagerError`, `StoreError`, and what `save` raises."""

    subscription: Subscription
    reader: ManagerReader
    homes: Homes
    outbox: Outbox
    sent: SentCircles
    log: ChangeLog
    records: EventRecords
    clock: Clock
    options: BootstrapOptions
    save: Save
    progress: BootstrapProgress
    disclosures: Disclosures = UNTRACED
    _handled: set[tuple[str, str | None]] = field(default_factory=set)

    async def run(self) -> None:
        """From where `progress` says to the end."""
        if self.progress.started is None:
            total = await self.reader.total(_CIRCLE)
            await self._keep(started=self._now(), total=total)
        await self._keep(state=BootstrapState.RUNNING, problem=None)
        if self.reader.orders(_CIRCLE):
            try:
                await self._in_order()
            except UnsortedError as error:
                self.reader.unsorted.add(error.resource_type)
                await self._listed()
        else:
            await self._listed()
        await self._keep(state=BootstrapState.DONE, finished=self._now(), problem=None)

    async def _in_order(self) -> None:
        await self._pages(self.reader.ascending(_CIRCLE, self.progress.place))
        await self.clock.sleep(self.options.overlap)
        place = self.progress.place
        again = None if place is None else earlier(place, self.options.overlap)
        await self._pages(self.reader.ascending(_CIRCLE, again))

    async def _listed(self) -> None:
        """Held to the total that it gave, where it gives one: its links count places, and a circle may slip through."""
        self._handled.clear()
        await self._keep(place=None, read=0)
        await self._pages(self.reader.listed(_CIRCLE), placed=False)
        total = self.progress.total
        if total is not None and self.progress.read < min(total, await self.reader.total(_CIRCLE) or 0):
            raise self.reader.calls.failure(FailureKind.INCOMPLETE)

    async def _pages(self, pages: AsyncGenerator[Page], *, placed: bool = True) -> None:
        async with aclosing(pages):
            async for page in pages:
                # A circle may come twice: what has the instant at which a page ends is asked for again.
                fresh = [one for one in page.matches if (one.local_id, one.version_id) not in self._handled]
                sent, failed = await self._send([one for one in fresh if self._may_be_sent(one)])
                place = newest([self.progress.place, *(one.last_updated for one in page.matches)])
                self._remember(page.matches, place)
                await self._keep(
                    place=place if placed else None,
                    read=self.progress.read + len(fresh),
                    sent=self.progress.sent + sent,
                    failed=self.progress.failed + failed,
                )

    def _remember(self, matches: Sequence[Entry], place: str | None) -> None:
        """As far back as the end is read again."""
        edge = (epoch(place) or 0.0) - self.options.overlap - 1.0
        ordered = self.reader.orders(_CIRCLE)
        before = set() if not ordered else self._handled
        now = {
            (one.local_id, one.version_id)
            for one in matches
            if not ordered or (epoch(one.last_updated) or edge) >= edge
        }
        self._handled = before | now if len(before) < 100_000 else now

    def _may_be_sent(self, circle: Entry) -> bool:
        return not is_replica(circle) and self.subscription.criteria.may_match(json_text.tree(circle.raw))

    # --- some circles

    async def _send(self, circles: Sequence[Entry]) -> tuple[int, int]:
        """How many were sent, and how many the manager would not give."""
        todo = [one.local_id for one in circles]
        sent = failed = 0
        for _ in range(_TRIES):
            if not todo:
                break
            before = await self._numbers(todo)
            found = await self._contents(todo, before)
            failed += sum(1 for one in found.values() if isinstance(one, ManagerError))
            matching = {name: one for name, one in found.items() if isinstance(one, _Found)}
            await asyncio.gather(
                *(
                    self.sent.remember(one.change.public_id, frozenset({self.subscription.id}))
                    for one in matching.values()
                )
            )
            await self._disclose(list(matching.values()))
            after = await self._numbers(list(matching))
            ready = [one for name, one in matching.items() if before[name].is_still(after[name])]
            await self._publish(ready)
            sent += len(ready)
            # What changed meanwhile is looked at again; what goes on changing is told by the publisher, who knows by now
            # that the newcomer has it.
            todo = [name for name in matching if not before[name].is_still(after[name])]
        return sent, failed

    async def _numbers(self, local_ids: Sequence[str]) -> dict[str, Numbered]:
        if not local_ids:
            return {}
        found = await self.outbox.numbers(self.reader.origin.slug, local_ids)
        return dict(zip(local_ids, found, strict=True))

    async def _contents(
        self, local_ids: Sequence[str], numbers: dict[str, Numbered]
    ) -> dict[str, _Found | ManagerError | None]:
        room = asyncio.Semaphore(self.options.at_once)

        async def one(local_id: str) -> _Found | ManagerError | None:
            async with room:
                return await self._content(local_id, numbers[local_id])

        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(one(name)) for name in local_ids}
        return {name: task.result() for name, task in tasks.items()}

    async def _content(self, local_id: str, numbered: Numbered) -> _Found | ManagerError | None:
        """None: there is nothing to be sent of it."""
        slug = self.reader.origin.slug
        asked = CircleChange(slug, local_id, None, None, Operation.UPDATED)
        try:
            found = await self.homes.fetch(self.homes.stated(Waiting(asked, numbered.number, "", 0.0)))
        except StaleError as error:
            found = error.content
        except ManagerError as error:
            if error.kind not in _OF_THE_CIRCLE:
                raise
            _log.warning("a circle of manager %s is left out of a bootstrap: %s", slug, error.kind.value)
            return error
        if not isinstance(found, Content):
            return None
        # Told as an update: whether it was made just now nobody asks, and readers look for what they have more thoroughly.
        shown = CircleChange(
            slug, local_id, found.circle.version_id, found.circle.last_updated, Operation.UPDATED
        )
        number = numbered.of(found.circle.version_id)
        change = self.homes.stated(Waiting(shown, number, "", 0.0))
        matched = Circle.of(change.public_id, found.circle, found.actors)
        return _Found(change, found) if self.subscription.criteria.matches(matched) else None

    async def _publish(self, found: Sequence[_Found]) -> None:
        slug = self.subscription.channel.slug or ""
        destinations = Destinations({slug: self.subscription.channel.content})
        records: list[Outgoing] = []
        for one in found:
            made = self.records.replication(one.change, one.content, destinations)
            records += self.records.bounded(one.change, made)[0]
        await self.homes.remember()
        await self.log.publish_many(records)

    async def _disclose(self, found: Sequence[_Found]) -> None:
        """Returns when the trail has it, however long that takes."""
        if self.subscription.channel.content is not ContentLevel.FULL:
            return
        handed = [
            disclosure
            for one in found
            for disclosure in of_circle(
                one.change, one.content.circle, one.content.actors, [self.subscription]
            )
        ]
        while not await self.disclosures.told(handed):
            await self.clock.sleep(_UNTRACED)
            await self._keep()  # it is this node's work still

    # --- how far

    async def _keep(self, **changes: object) -> None:
        self.progress = replace(self.progress, **changes)
        await self.save(self.progress)

    def _now(self) -> float:
        return self.clock.now().timestamp()


@dataclass(frozen=True, slots=True)
class _Found:
    """A circle that is selected."""

    change: Change
    content: Content
