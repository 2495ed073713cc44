"""Conflicts on their topic of the change log: made at the first event, made again should it be gone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from broker.core import topics
from broker.core.conflict import Conflict
from broker.core.conflict_event import conflict_content, conflict_headers, conflict_key
from broker.errors import ConfigurationError, StoreError
from broker.sync.change_log import ChangeLog, Outgoing, Topic

TOMBSTONE_SECONDS = 7 * 86_400
"""For how long the topic shows that a conflict was resolved."""

_log = logging.getLogger("broker.sync")


@dataclass(slots=True)
class ConflictTeller:
    """`public_base`: the broker's own public address. `failures`: publishings that the log did not take."""

    log: ChangeLog
    public_base: str
    prefix: str = topics.DEFAULT_PREFIX
    failures: int = 0
    _is_there: bool = False

    async def tell(self, conflicts: Sequence[Conflict]) -> bool:
        """Publish these as they are now. False where the log is out, and they are not sure to be in it."""
        try:
            await self._ensure()
            await self.log.publish_many([self.record(one) for one in conflicts])
        except StoreError as error:
            self._failed(error)
            return False
        self.failures = 0
        return True

    def record(self, conflict: Conflict) -> Outgoing:
        return Outgoing(
            topics.conflicts(self.prefix),
            conflict_key(conflict),
            conflict_content(conflict, self.public_base),
            conflict_headers(conflict, self.public_base),
        )

    async def _ensure(self) -> None:
        if self._is_there:
            return
        # Few and far between: one partition has them all in one order.
        topic = Topic(
            topics.conflicts(self.prefix), partitions=1, compacted=True, retention_seconds=TOMBSTONE_SECONDS
        )
        try:
            await self.log.ensure_topic(topic)
        except ConfigurationError as error:
            told = ", ".join(f"{name} {value}" for name, value in error.params.items())
            _log.error("topic %s is not as it should be: %s", topic.name, told)
        self._is_there = True

    def _failed(self, error: StoreError) -> None:
        if not self.failures:
            _log.warning("the change log does not take conflicts: they wait")
        self.failures += 1
        if error.key == "federation.log-topic":
            self._is_there = False
