"""One idempotent producer, started when first needed and replaced when it is of no use any more.

aiokafka never gives up an idempotent record: it tries until Kafka takes it. Whoever publishes is told after a bound that
it did not work so far, and publishes again later; by then both may get through, in that order. That is kept so on purpose:
a producer that goes on keeps the order, whereas records of an abandoned one could still arrive behind newer ones. What
waits is bounded by aiokafka's own buffer, a batch for each partition.

It is replaced where it cannot go on: after a record that Kafka refused the numbering of all later ones has a hole, and a
cluster that moved elsewhere is found again only from the bootstrap addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError
from aiokafka.structs import RecordMetadata

from adapters.kafka_log.boundary import log_errors
from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.change_log import MAX_RECORD_BYTES, Outgoing

REQUEST_BYTES = MAX_RECORD_BYTES + 64 * 1024
"""Largest batch on the wire: a record and what Kafka puts around it."""

_BATCH_BYTES = 256 * 1024
_STOP_SECONDS = 3.0
_STALE_SECONDS = 60.0
"""Without any success for so long, begin anew from the bootstrap addresses."""

_BEFORE_NUMBERING = (UnknownTopicOrPartitionError, TopicAuthorizationFailedError)


class Publisher:
    def __init__(self, connection: dict[str, Any], clock: Clock, *, bound: float) -> None:
        self._connection = connection
        self._clock = clock
        self._bound = bound
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._succeeded = 0.0
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    async def publish(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """In this order within each partition. Raises `StoreError`, within the bound."""
        with log_errors(records[0].topic):
            async with asyncio.timeout(self._bound):
                producer = await self._started()
                return await self._sent(producer, records)

    async def close(self) -> None:
        self._closed = True
        async with self._starting:
            producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._closed:
                raise StoreError("federation.log")
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._connection,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=REQUEST_BYTES,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.client.close()
                    producer._closed = True  # noqa: SLF001  # stop() would wait for a sender that never ran
                    raise
                self._producer = producer
                self._succeeded = self._clock.monotonic()
            return self._producer

    async def _sent(self, producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        waiting: list[asyncio.Future[RecordMetadata]] = []
        try:
            for record in records:
                waiting.append(  # noqa: PERF401  # an exception must leave what was begun in the list
                    await producer.send(record.topic, record.value, record.key, headers=list(record.headers))
                )
            answers = [await one for one in waiting]
        except _BEFORE_NUMBERING:
            raise
        except KafkaError:
            self._replace(producer)
            raise
        except asyncio.CancelledError:  # by the bound, for one
            if self._clock.monotonic() - self._succeeded > _STALE_SECONDS:
                self._replace(producer)
            raise
        finally:
            for one in waiting:
                if not one.cancel() and not one.cancelled():
                    one.exception()  # heard: asyncio complains about what nobody asked for
        self._succeeded = self._clock.monotonic()
        return answers

    def _replace(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(_stop(producer))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Send what can still be sent, within `_STOP_SECONDS`; then give it up, which aiokafka has no call for."""
    with suppress(KafkaError, OSError):
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
            return
    sender = producer._sender.sender_task  # noqa: SLF001
    if sender is not None:
        with suppress(KafkaError, OSError, asyncio.CancelledError):
            async with asyncio.timeout(1.0):
                await producer._sender.close()  # noqa: SLF001
    producer._message_accumulator.fail_all(KafkaError("given up"))  # noqa: SLF001
    await producer.client.close()
