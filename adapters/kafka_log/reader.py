"""Reading without a group: a stretch of a topic, or the age of what a group has not committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from adapters.kafka_log.boundary import log_errors
from adapters.kafka_log.consumer import BATCH_RECORDS, FETCH_BYTES, as_record
from broker.sync.change_log import Batch, PartitionLag, Position

_POLL_MS = 500


class KafkaReader:
    def __init__(self, connection: dict[str, Any], *, bound: float) -> None:
        self._connection = connection
        self._bound = bound

    async def read(self, topic: str, after: Sequence[Position]) -> AsyncIterator[Batch]:
        """From behind these positions to the end as it is now. Raises `StoreError` after `bound` without progress."""
        asked = {TopicPartition(topic, one.partition): int(one.offset) + 1 for one in after}
        async with self._stretch(topic, asked) as (consumer, ends):
            while True:
                with log_errors(topic):
                    found = await self._next(consumer, ends)
                if not found:
                    return
                yield Batch(topic, tuple(found))

    async def lag(self, topic: str, committed: Mapping[int, int], *, now: float) -> list[PartitionLag]:
        """`committed`: the next offset by partition; `now`: seconds since 1970."""
        asked = {TopicPartition(topic, partition): offset for partition, offset in committed.items()}
        async with self._stretch(topic, asked) as (consumer, ends):
            with log_errors(topic):
                async with asyncio.timeout(self._bound):
                    behind = {at: end - await consumer.position(at) for at, end in ends.items()}
                    oldest = await self._oldest(consumer, {at for at, events in behind.items() if events > 0})
        return [
            PartitionLag(at.partition, max(0, events), max(0.0, now - oldest[at]) if at in oldest else 0.0)
            for at, events in sorted(behind.items())
        ]

    async def _next(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> list[Any]:
        """Records before the ends, at least one; none at the ends."""
        async with asyncio.timeout(self._bound):
            while open_ := [at for at, end in ends.items() if await consumer.position(at) < end]:
                for at in set(ends) - set(open_) - consumer.paused():
                    consumer.pause(at)
                found = await consumer.getmany(*open_, timeout_ms=_POLL_MS, max_records=BATCH_RECORDS)
                records = [
                    as_record(one) for at, ones in found.items() for one in ones if one.offset < ends[at]
                ]
                if records:
                    return records
        return []

    async def _oldest(
        self, consumer: AIOKafkaConsumer, behind: set[TopicPartition]
    ) -> dict[TopicPartition, float]:
        """When the log took the record at each position, seconds since 1970."""
        taken: dict[TopicPartition, float] = {}
        while missing := behind - set(taken):
            for at, ones in (await consumer.getmany(*missing, timeout_ms=_POLL_MS)).items():
                taken[at] = ones[0].timestamp / 1000
        return taken

    @asynccontextmanager
    async def _stretch(
        self, topic: str, asked: Mapping[TopicPartition, int]
    ) -> AsyncIterator[tuple[AIOKafkaConsumer, Mapping[TopicPartition, int]]]:
        """A consumer at the positions asked for, or the oldest there are; and the ends, as they are now."""
        consumer = AIOKafkaConsumer(
            **self._connection, auto_offset_reset="earliest", fetch_max_bytes=FETCH_BYTES
        )
        try:
            with log_errors(topic):
                async with asyncio.timeout(self._bound):
                    await consumer.start()
                    if topic not in await consumer.topics():
                        raise UnknownTopicOrPartitionError
                    ends = await self._seek(consumer, topic, asked)
            yield consumer, ends
        finally:
            await consumer.stop()

    async def _seek(
        self, consumer: AIOKafkaConsumer, topic: str, asked: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        # Metadata of one topic comes with the first question about it.
        numbers = await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  # the public way may not know it yet
        if not numbers:
            raise KafkaTimeoutError
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        starts = await consumer.beginning_offsets(partitions)
        ends: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
        for at in partitions:
            consumer.seek(at, min(max(asked.get(at, 0), starts[at]), ends[at]))
        return ends
