"""`ChangeLog` on Redis Streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from adapters.redis_streams_log.boundary import log_errors, piped
from adapters.redis_streams_log.consumer import RedisLogConsumer
from adapters.redis_streams_log.entries import as_record, fields
from adapters.redis_streams_log.keys import LogKeys, partition_of
from adapters.redis_streams_log.scripts import LAG, PUBLISH, RANGE
from adapters.redis_streams_log.topics import RedisTopics, retention
from broker.errors import StoreError
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
from registry.redis_connection import RedisClient

_PAGE = 100
_NO_TOPIC, _OTHER_TOPIC = b"none", b"other"


class RedisStreamsLog:
    """Uses the client, and leaves it open. `publish`: the bound on publishing and on any other call, in seconds."""

    def __init__(
        self,
        client: RedisClient,
        clock: Clock,
        *,
        keys: LogKeys | None = None,
        publish: float = 15.0,
        session: float = 10.0,
    ) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions
        self._clock = clock
        self._keys = keys or LogKeys()
        self._bound = publish
        self._session = session
        self._topics = RedisTopics(client, self._keys)

    async def ensure_topic(self, topic: Topic) -> None:
        with log_errors():
            async with asyncio.timeout(self._bound):
                await self._topics.ensure(topic)

    async def topics(self) -> Sequence[str]:
        with log_errors():
            async with asyncio.timeout(self._bound):
                return await self._topics.names()

    async def drop_topic(self, name: str) -> None:
        check_name(name)
        with log_errors():
            async with asyncio.timeout(self._bound):
                await self._topics.drop(name)

    async def publish(self, record: Outgoing) -> Position:
        return (await self.publish_many([record]))[0]

    async def publish_many(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        for record in records:
            check_size(record)
        with log_errors():
            async with asyncio.timeout(self._bound):
                positions = await self._published(records)
                if missing := [number for number, one in enumerate(positions) if one is None]:
                    # A topic was dropped and made anew, with other settings than were remembered.
                    again = await self._published([records[number] for number in missing])
                    for number, one in zip(missing, again, strict=True):
                        positions[number] = one
        return tuple(one for one in positions if one is not None)

    @asynccontextmanager
    async def consumer(self, topic: str, group: str, *, earliest: bool = True) -> AsyncIterator[LogConsumer]:
        check_name(group)
        consumer = RedisLogConsumer(
            self._client,
            self._keys,
            self._topics,
            self._clock,
            topic=topic,
            group=group,
            earliest=earliest,
            session=self._session,
            bound=self._bound,
        )
        consumer.open()
        try:
            yield consumer
        finally:
            await consumer.close()

    async def read(self, topic: str, *, after: Sequence[Position] = ()) -> AsyncIterator[Batch]:
        with log_errors():
            async with asyncio.timeout(self._bound):
                self._topics.forget(topic)
                await self._topics.of(topic)
                ends = await self._client.hgetall(self._keys.ends(topic))
        asked = {one.partition: one.offset for one in after}
        for partition, end in sorted((int(one), end.decode()) for one, end in ends.items()):
            stream, behind = self._keys.stream(topic, partition), asked.get(partition, "0-0")
            while True:
                with log_errors():
                    async with asyncio.timeout(self._bound):
                        page = await self._client.eval(RANGE, 1, stream, f"({behind}", end, _PAGE)
                if not page:
                    break
                records = tuple(as_record(partition, entry) for entry in page)
                yield Batch(topic, records)
                behind = records[-1].position.offset

    async def lag(self, topic: str, group: str) -> Sequence[PartitionLag]:
        with log_errors():
            async with asyncio.timeout(self._bound):
                self._topics.forget(topic)
                _, settings = await self._topics.of(topic)
                answers = await piped(
                    self._client,
                    [
                        ("EVAL", LAG, 2, self._keys.stream(topic, one), self._keys.ends(topic), one, group)
                        for one in range(settings.partitions)
                    ],
                )
        return [
            PartitionLag(partition, events, milliseconds / 1000)
            for partition, (events, milliseconds) in enumerate(answers)
        ]

    async def tidy(self) -> None:
        with log_errors():
            async with asyncio.timeout(self._bound):
                await self._topics.tidy()

    async def close(self) -> None:
        """Nothing is held back here, and the client is its owner's to close."""

    async def _published(self, records: Sequence[Outgoing]) -> list[Position | None]:
        """None for what was not taken, since the topic is not as it was remembered."""
        commands: list[tuple[Any, ...]] = []
        partitions: list[int] = []
        for record in records:
            stored, topic = await self._topics.of(record.topic)
            partition = partition_of(record.key, topic.partitions)
            keys = (
                self._keys.settings(record.topic),
                self._keys.ends(record.topic),
                *self._topics.partition_keys(topic, partition),
            )
            told = (stored, partition, *retention(topic), record.key, *fields(record))
            commands.append(("EVAL", PUBLISH, len(keys), *keys, *told))
            partitions.append(partition)
        positions: list[Position | None] = []
        answers = await piped(self._client, commands)
        for record, partition, answer in zip(records, partitions, answers, strict=True):
            if answer == _NO_TOPIC:
                self._topics.forget(record.topic)
                raise StoreError("federation.log-topic", topic=record.topic)
            if answer == _OTHER_TOPIC:
                self._topics.forget(record.topic)
            positions.append(None if answer == _OTHER_TOPIC else Position(partition, answer.decode()))
        return positions
