"""`ChangeLog` on Apache Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from adapters.kafka_log.admin import KafkaTopics
from adapters.kafka_log.consumer import KafkaLogConsumer
from adapters.kafka_log.options import KafkaOptions
from adapters.kafka_log.publisher import Publisher
from adapters.kafka_log.reader import KafkaReader
from broker.ports import Clock
from broker.sync.change_log import (
    Batch,
    LogConsumer,
    Outgoing,
    PartitionLag,
    Position,
    Topic,
    check_name,
    check_size,
)


class KafkaLog:
    """Connects when first used: Kafka may be away when this is made, and at any time later.

    Raises `ConfigurationError` for options that cannot be.
    """

    def __init__(self, options: KafkaOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._connection = options.connection()
        self._publisher = Publisher(self._connection, clock, bound=options.publish)
        self._topics = KafkaTopics(self._connection, bound=options.publish, replication=options.replication)
        self._reader = KafkaReader(self._connection, bound=options.publish)

    async def ensure_topic(self, topic: Topic) -> None:
        await self._topics.ensure(topic)

    async def topics(self) -> Sequence[str]:
        return await self._topics.names()

    async def drop_topic(self, name: str) -> None:
        check_name(name)
        await self._topics.drop(name)

    async def publish(self, record: Outgoing) -> Position:
        return (await self.publish_many([record]))[0]

    async def publish_many(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        for record in records:
            check_size(record)
        if not records:
            return ()
        answers = await self._publisher.publish(records)
        return tuple(Position(answer.partition, str(answer.offset)) for answer in answers)

    @asynccontextmanager
    async def consumer(self, topic: str, group: str, *, earliest: bool = True) -> AsyncIterator[LogConsumer]:
        check_name(group)
        consumer = KafkaLogConsumer(
            self._connection, self._options, self._clock, topic=topic, group=group, earliest=earliest
        )
        try:
            yield consumer
        finally:
            await consumer.close()

    def read(self, topic: str, *, after: Sequence[Position] = ()) -> AsyncIterator[Batch]:
        return self._reader.read(topic, after)

    async def lag(self, topic: str, group: str) -> Sequence[PartitionLag]:
        committed = await self._topics.committed(topic, group)
        return await self._reader.lag(topic, committed, now=self._clock.now().timestamp())

    async def tidy(self) -> None:
        """Kafka removes by itself what is past its retention."""

    async def close(self) -> None:
        await self._publisher.close()
