"""The topics that the broker publishes on: made, or checked, at the start, and looked after (federation, section 6).

The change log may be out when the broker starts, and at any time later: nothing waits for it but publishing. A replication
topic is opened when the first Subscription names it, and again should it be gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from broker.core import topics
from broker.errors import ConfigurationError, StoreError
from broker.ports import Clock, Leases
from broker.sync.change_log import ChangeLog, Topic
from broker.sync.homes_queue import pause

TOMBSTONE_SECONDS = 7 * 86_400
"""For how long the notification topic shows that a circle was deleted."""

_EVERY = 60  # seconds between two rounds of tidying
_TIDYING = "log-tidy"
_REFUSED = "config.log-topic-refused"  # else the topic is there, and is not as stated

_log = logging.getLogger("broker.sync")


@dataclass(slots=True)
class TopicKeeper:
    """`partitions`, `retention` (seconds): of replication topics that are made. `wanted`: slugs that have one."""

    log: ChangeLog
    leases: Leases
    clock: Clock
    prefix: str
    partitions: int
    retention: int
    wanted: Callable[[], Iterable[str]]
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, slug: str) -> None:
        """Make sure of a manager's replication topic. Raises `StoreError`, `ConfigurationError`."""
        name = topics.replication(slug, self.prefix)
        await self.log.ensure_topic(Topic(name, self.partitions, retention_seconds=self.retention))

    async def ready(self) -> None:
        """Once the notification topic is there."""
        await self._ready.wait()

    async def run(self) -> None:
        """Until cancelled."""
        await self._ensure_notifications()
        while True:
            await self._reopen()
            await self._tidy()
            await self.clock.sleep(_EVERY)

    async def _ensure_notifications(self) -> None:
        topic = Topic(
            topics.notifications(self.prefix),
            self.partitions,
            compacted=True,
            retention_seconds=TOMBSTONE_SECONDS,
        )
        failures = 0
        while not self._ready.is_set():
            try:
                await self.log.ensure_topic(topic)
            except StoreError:
                if not failures:
                    _log.warning("the change log is out: changes wait")
            except ConfigurationError as error:
                if error.key == _REFUSED:
                    if not failures:
                        _log.error("topic %s is not there and may not be made: changes wait", topic.name)
                else:
                    _log.error("topic %s is not as it should be: %s", topic.name, _told(error))
                    self._ready.set()  # it can be published on
                    return
            else:
                self._ready.set()
                return
            await self.clock.sleep(pause(failures))
            failures += 1

    async def _reopen(self) -> None:
        try:
            there = set(await self.log.topics())
        except StoreError:
            return
        for slug in sorted(set(self.wanted())):
            if topics.replication(slug, self.prefix) in there:
                continue
            try:
                await self.open(slug)
            except StoreError:
                return
            except ConfigurationError as error:
                _log.error("the topic of %s is gone and cannot be made again: %s", slug, _told(error))
            else:
                _log.warning("the topic of %s was gone, and is there again", slug)

    async def _tidy(self) -> None:
        """By one worker of all. Personal data must not outlast its retention on a topic on which nothing happens."""
        with suppress(StoreError):
            if await self.leases.take(_TIDYING, seconds=_EVERY - 5):
                await self.log.tidy()


def _told(error: ConfigurationError) -> str:
    return ", ".join(f"{name} {value}" for name, value in error.params.items())
