"""The trail on a topic of the change log (Apache Kafka, or Redis Streams): each line a record, keyed by its stream.

Records of a stream are in one partition and in order. A group whose end is not known is published again, so a line
may come twice; it is the same line, with the same number.
"""

from __future__ import annotations

from broker.audit.sink import Group
from broker.errors import ConfigurationError, StoreError
from broker.sync.change_log import ChangeLog, Outgoing, Topic


class LogSink:
    """Uses the log, and leaves it open. The topic is made when it is first written to."""

    name = "log"

    def __init__(self, log: ChangeLog, topic: Topic) -> None:
        self._log = log
        self._topic = topic
        self._there = False
        self._last = 0

    async def write(self, group: Group) -> None:
        if group.head.seq <= self._last:
            return
        if not self._there:
            try:
                await self._log.ensure_topic(self._topic)
            except ConfigurationError as error:
                # It is not as the settings say now, or may not be made. Not to be written is what matters here.
                raise StoreError(error.key, **error.params) from error
            self._there = True
        key = group.stream.encode()
        try:
            await self._log.publish_many(
                [Outgoing(self._topic.name, key, line.rstrip(b"\n")) for line in group.lines]
            )
        except StoreError as error:
            self._there = self._there and error.key != "federation.log-topic"
            raise
        self._last = group.head.seq

    async def sync(self) -> None:
        """What was published is as lasting as the log makes it."""

    async def aclose(self) -> None:
        """The log is its owner's to close."""
