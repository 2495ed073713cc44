"""A member of a group. aiokafka reconnects and rejoins by itself; this begins anew where it gave up.

A rebalance takes every member's partitions away for a moment. Were it let through at any time, another member could get
records that this one is still working on, and a circle's changes would be applied by two at once. So it waits, for
`KafkaOptions.finish`, until the batch in hand is committed or the next one is asked for. What is committed later than that
is refused by Kafka, and comes again at the new owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from adapters.kafka_log.boundary import log_errors
from adapters.kafka_log.options import KafkaOptions
from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.change_log import Batch, Position, Record

BATCH_RECORDS = 500
FETCH_BYTES = 8 * 1024 * 1024

_POLL_SECONDS = 0.5
_LOOK_SECONDS = 30.0
"""Of silence, after which the cluster is asked whether the topic is still there, and whether it is there itself."""

_PAUSE_SECONDS = 1.0
_WORK_SECONDS = 900.0
"""A member that asks for nothing for so long is stuck, and loses its partitions."""

_STOP_SECONDS = 3.0

_log = logging.getLogger("broker.log")


class KafkaLogConsumer:
    """`LogConsumer` on Kafka."""

    def __init__(
        self,
        connection: dict[str, Any],
        options: KafkaOptions,
        clock: Clock,
        *,
        topic: str,
        group: str,
        earliest: bool,
    ) -> None:
        self._topic = topic
        self._bound = options.publish
        self._clock = clock
        self._listener = _FinishFirst(options.finish)
        self._consumer: AIOKafkaConsumer | None = None
        self._beginning: asyncio.Task[AIOKafkaConsumer] | None = None
        self._fetched: Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]] = {}
        self._heard = 0.0
        self._settings = {
            **connection,
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest" if earliest else "latest",
            "session_timeout_ms": int(options.session * 1000),
            "heartbeat_interval_ms": int(options.session * 1000 / 4),
            "rebalance_timeout_ms": int((options.finish + options.session) * 1000),
            "max_poll_interval_ms": int(_WORK_SECONDS * 1000),
            "fetch_max_bytes": FETCH_BYTES,
        }

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        self._listener.settle()
        while True:
            try:
                with log_errors(self._topic):
                    # Kept, since a cancellation heeded at the end of this block must not lose what Kafka gives once.
                    self._fetched = self._fetched or await self._found()
            except StoreError as error:
                if error.key == "federation.log-topic":
                    raise
                _log.warning("topic %s: reading was interrupted, it begins anew", self._topic)
                await self._dropped()
                await self._clock.sleep(_PAUSE_SECONDS)
                continue
            found, self._fetched = self._fetched, {}
            if found:
                self._listener.busy_with(found)
                return Batch(self._topic, tuple(as_record(one) for ones in found.values() for one in ones))

    async def commit(self, positions: Sequence[Position]) -> bool:
        if self._consumer is None:
            return False
        offsets: dict[TopicPartition, int] = {}
        for one in positions:
            at = TopicPartition(self._topic, one.partition)
            offsets[at] = max(int(one.offset) + 1, offsets.get(at, 0))
        try:
            with log_errors(self._topic):
                async with asyncio.timeout(self._bound):
                    try:
                        await self._consumer.commit(offsets)
                    except (CommitFailedError, IllegalStateError):
                        return False
        finally:
            self._listener.settle(offsets)
        return True

    async def close(self) -> None:
        self._listener.settle()
        await self._dropped()

    async def _found(self) -> Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]:
        """Empty after `_POLL_SECONDS` of nothing."""
        consumer = self._consumer or await self._begun()
        found: Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]] = await consumer.getmany(
            timeout_ms=int(_POLL_SECONDS * 1000), max_records=BATCH_RECORDS
        )
        if found:
            self._heard = self._clock.monotonic()
        elif self._clock.monotonic() - self._heard > _LOOK_SECONDS:
            await self._look(consumer)
        return found

    async def _begun(self) -> AIOKafkaConsumer:
        """In a task, so that callers of little patience do not keep it from ever coming about."""
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._begin())
        try:
            return await asyncio.shield(self._beginning)
        finally:
            if self._beginning.done():
                self._beginning = None

    async def _begin(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(**self._settings)
        try:
            async with asyncio.timeout(self._bound):
                await consumer.start()
                await self._look(consumer)
        except BaseException:
            await _stop(consumer)
            raise
        consumer.subscribe([self._topic], listener=self._listener)
        self._consumer = consumer  # here, where no cancellation of who waits can lose a member of the group
        return consumer

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        if self._topic not in await consumer.topics():
            raise StoreError("federation.log-topic", topic=self._topic)
        self._heard = self._clock.monotonic()

    async def _dropped(self) -> None:
        if (task := self._beginning) is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # heard: asyncio complains about what nobody asked for
            self._beginning = None
        self._fetched = {}
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with suppress(KafkaError, OSError):
        async with asyncio.timeout(_STOP_SECONDS):
            await consumer.stop()


class _FinishFirst(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._open: set[TopicPartition] = set()
        self._settled = asyncio.Event()
        self._settled.set()

    def busy_with(self, partitions: Iterable[TopicPartition]) -> None:
        self._open = set(partitions)
        self._settled.clear()

    def settle(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """These, or all, are done with."""
        self._open -= self._open if partitions is None else set(partitions)
        if not self._open:
            self._settled.set()

    async def on_partitions_revoked(self, revoked: object) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._settled.wait()

    async def on_partitions_assigned(self, assigned: object) -> None:
        pass


def as_record(one: ConsumerRecord[bytes, bytes]) -> Record:
    return Record(
        key=one.key or b"",
        value=one.value,
        headers=tuple((name, value or b"") for name, value in one.headers),
        position=Position(one.partition, str(one.offset)),
        at=one.timestamp / 1000,
    )
