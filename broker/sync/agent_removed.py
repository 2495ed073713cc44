"""Which circles' replicas were removed, and by which change: an older event that comes again must not bring one back.

A replica says itself of which change it is the state, but what was deleted says nothing any more. So the number is kept in a
small compacted topic, `{prefix}.removed.{slug}`: key: the circle's public id, value: the number. It is read at the start
and now and then, since another agent of the same manager may have removed some. Deletions are rare, as the guide has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.core import topics
from broker.core.change_event import Change
from broker.sync.change_log import ChangeLog, Outgoing, Position, Topic


@dataclass(slots=True)
class Removed:
    """Every method raises `StoreError` where the log does not answer."""

    log: ChangeLog
    slug: str
    prefix: str = topics.DEFAULT_PREFIX
    _numbers: dict[str, int] = field(default_factory=dict)
    _read: dict[int, Position] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        return topics.removed(self.slug, self.prefix)

    async def ensure(self) -> None:
        """Make sure of the topic, and read it. Raises `ConfigurationError` too."""
        await self.log.ensure_topic(Topic(self.topic, partitions=1, compacted=True))
        await self.refresh()

    async def refresh(self) -> None:
        """Learn what others removed since."""
        async for batch in self.log.read(self.topic, after=tuple(self._read.values())):
            for record in batch.records:
                text = (record.value or b"").decode(errors="replace")
                if text.isascii() and text.isdigit():
                    self._note(record.key.decode(errors="replace"), int(text))
                self._read[record.position.partition] = record.position

    def number(self, public_id: str) -> int | None:
        """Of the last change by which a circle's replica was removed."""
        return self._numbers.get(public_id)

    async def add(self, change: Change) -> None:
        """A circle's replica is gone by this change, or was gone before it."""
        known = self._numbers.get(change.public_id)
        if known is None or known < change.sequence:
            await self.log.publish(Outgoing(self.topic, change.key, str(change.sequence).encode()))
            self._note(change.public_id, change.sequence)

    def _note(self, public_id: str, number: int) -> None:
        self._numbers[public_id] = max(number, self._numbers.get(public_id, 0))
