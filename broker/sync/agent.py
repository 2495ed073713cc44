"""The regional agent: a manager's replication topic, applied to that manager (federation, section 6).

It needs the change log and the manager, and nothing of the broker: a region runs it at home. What holds:

- **Every event is settled before it is committed**: applied, found needless (older, repeated, or the manager's own), or put
  away as a dead letter. Killed at any instant, the next run gets what was not committed again, and finds what it did: each
  replica carries the number of the event that it is the state of (`broker.core.replica`).
- **In order per circle.** A circle's events are in one partition and go one after the other; different circles go side by
  side (`agent_lanes`).
- **A manager that is down is waited for**, as long as it takes; nothing is skipped (`agent_worker`).
- **An event that cannot be applied blocks nobody**: it goes to the dead letters with the reason. Later events of the same
  circle are tried all the same: each carries the whole circle, so that the next one may well make good what this one could
  not. A dead letter replayed after that changes nothing, being older.

Two agents of one manager may run, for the day that one fails: the log gives each its partitions. While partitions change
hands both may hold the same event for a moment; then the manager's own conditions (If-Match, If-None-Exist) decide.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from broker.core import topics
from broker.core.backoff import AGENT
from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.agent_lanes import worked_off
from broker.sync.agent_removed import Removed
from broker.sync.agent_worker import AgentWorker, Tally
from broker.sync.change_log import Batch, ChangeLog, LogConsumer, Position
from broker.sync.tasks import end

_log = logging.getLogger("broker.agent")

_TELL_AGAIN_SECONDS = 60.0


def group_of(slug: str) -> str:
    """The consumer group of a manager's agents."""
    return f"agent-{slug}"


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """`lanes`: circles worked on at a time. `report`: seconds between two lines of figures.

    `once`: end as soon as everything that is in the topic is settled.
    """

    lanes: int = 16
    report: float = 60.0
    once: bool = False


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not settled yet: events, and the age of the oldest in seconds."""

    events: int
    seconds: float


async def backlog(log: ChangeLog, slug: str, prefix: str = topics.DEFAULT_PREFIX) -> Backlog | None:
    """How far a manager's agents are behind; None where there is no such topic (yet). Raises `StoreError`."""
    try:
        lags = await log.lag(topics.replication(slug, prefix), group_of(slug))
    except StoreError as error:
        if error.key != "federation.log-topic":
            raise
        return None
    return Backlog(sum(one.events for one in lags), max((one.seconds for one in lags), default=0.0))


@dataclass(slots=True)
class Agent:
    """`run` until `stop` is set. `worker` settles one event after the other."""

    log: ChangeLog
    worker: AgentWorker
    removed: Removed
    clock: Clock
    slug: str
    prefix: str = topics.DEFAULT_PREFIX
    options: AgentOptions = field(default_factory=AgentOptions)
    _told: float | None = None

    @property
    def topic(self) -> str:
        return topics.replication(self.slug, self.prefix)

    @property
    def tally(self) -> Tally:
        """What became of the events of this run."""
        return self.worker.tally

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop, then finish what is in hand and commit it. Raises `ConfigurationError`."""
        reporting = asyncio.create_task(self._report_regularly())
        failures = 0
        try:
            while not stop.is_set():
                try:
                    await self.worker.letters.ensure()  # before the first one
                    await self.removed.ensure()
                    async with self.log.consumer(self.topic, group_of(self.slug)) as consumer:
                        await self._consume(consumer, stop)
                        return
                except StoreError as error:
                    failures += 1
                    self._complain(error)
                    await self._pause(failures, stop)
        finally:
            await end([reporting])
            await self.report()

    async def _consume(self, consumer: LogConsumer, stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                if self.options.once and await self._caught_up():
                    return
                coming = asyncio.ensure_future(anext(consumer))
                timeout = 1.0 if self.options.once else None
                await asyncio.wait({coming, stopped}, return_when=asyncio.FIRST_COMPLETED, timeout=timeout)
                if not coming.done():
                    await end([coming])
                    continue
                await self._settle(consumer, coming.result(), stop)
        finally:
            await end([stopped])

    async def _settle(self, consumer: LogConsumer, batch: Batch, stop: asyncio.Event) -> None:
        done = await worked_off(batch.records, self.worker.settle, lanes=self.options.lanes)
        if done:
            await self._commit(consumer, done, stop)

    async def _commit(self, consumer: LogConsumer, done: Sequence[Position], stop: asyncio.Event) -> None:
        """What is not committed comes again, and changes nothing then; it is tried for as long as the log is away."""
        failures = 0
        while True:
            try:
                kept = await consumer.commit(done)
            except StoreError as error:
                failures += 1
                self._complain(error)
                if stop.is_set():
                    return
                await self._pause(failures, stop)
            else:
                if not kept:
                    _log.info("topic %s: another agent took over; it gets some events again", self.topic)
                return

    async def _caught_up(self) -> bool:
        left = await backlog(self.log, self.slug, self.prefix)
        return left is None or left.events == 0

    async def _pause(self, failures: int, stop: asyncio.Event) -> None:
        delay = AGENT.delay(failures, random.random())  # noqa: S311  # no secret
        sleeping = asyncio.ensure_future(self.clock.sleep(delay or AGENT.most))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({sleeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end([sleeping, stopped])

    def _complain(self, error: StoreError) -> None:
        now = self.clock.monotonic()
        if self._told is not None and now - self._told < _TELL_AGAIN_SECONDS:
            return
        self._told = now
        if error.key == "federation.log-topic":
            _log.warning("topic %s does not exist yet: waiting for it", self.topic)
        else:
            _log.warning("topic %s: the change log does not answer: waiting for it", self.topic)

    async def _report_regularly(self) -> None:
        before = None
        while True:
            await self.clock.sleep(self.options.report)
            with suppress(StoreError):
                await self.removed.refresh()
            now = self.tally.figures()
            if now != before:
                await self.report()
            before = now

    async def report(self) -> None:
        """One line of figures: what became of the events of this run, and what is left."""
        try:
            left = await backlog(self.log, self.slug, self.prefix)
        except StoreError:
            left = None
        behind = "backlog unknown" if left is None else f"backlog {left.events} events, {left.seconds:.0f} s"
        told = ", ".join(f"{name} {count}" for name, count in self.tally.figures().items())
        _log.info("agent of %s: %s; %s", self.slug, told, behind)
