"""Topics: created, checked, listed, dropped; and what a group has committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from adapters.kafka_log.boundary import log_errors
from adapters.kafka_log.publisher import REQUEST_BYTES
from broker.errors import ConfigurationError
from broker.sync.change_log import Topic

_MAX_REPLICATION = 3
_FOREVER = "-1"
_FOR_GOOD = str(2**63 - 1)
_DAY_MS = 86_400_000


class KafkaTopics:
    def __init__(self, connection: dict[str, Any], *, bound: float, replication: int | None) -> None:
        self._connection = connection
        self._bound = bound
        self._replication = replication

    async def ensure(self, topic: Topic) -> None:
        async with self._admin() as admin:
            if topic.name not in await admin.list_topics():
                await self._create(admin, topic)
            await _check(admin, topic)

    async def names(self) -> list[str]:
        async with self._admin() as admin:
            return sorted(name for name in await admin.list_topics() if not name.startswith("__"))

    async def drop(self, name: str) -> None:
        async with self._admin() as admin:
            answer = await admin.delete_topics([name])
            for _, code in answer.topic_error_codes:
                if code and for_code(code) is not UnknownTopicOrPartitionError:
                    raise for_code(code)(name)

    async def committed(self, topic: str, group: str) -> Mapping[int, int]:
        """The next offset to be read, by partition."""
        async with self._admin() as admin:
            offsets = await admin.list_consumer_group_offsets(group)
            return {at.partition: one.offset for at, one in offsets.items() if at.topic == topic}

    async def _create(self, admin: AIOKafkaAdminClient, topic: Topic) -> None:
        brokers = len((await admin.describe_cluster())["brokers"])
        replication = self._replication or min(_MAX_REPLICATION, brokers)
        settings = {
            **_stated(topic),
            "min.insync.replicas": str(min(2, replication)),
            # Ages are then by one clock, whoever published.
            "message.timestamp.type": "LogAppendTime",
        }
        answer = await admin.create_topics(
            [NewTopic(topic.name, topic.partitions, replication, topic_configs=settings)]
        )
        for _, code, *_ in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:  # another node was quicker
                if error.retriable:
                    raise error(topic.name)
                raise ConfigurationError("config.log-topic-refused", topic=topic.name, reason=error.__name__)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        with log_errors():
            async with asyncio.timeout(self._bound):
                admin = AIOKafkaAdminClient(**self._connection)
                try:
                    await admin.start()
                    yield admin
                finally:
                    await admin.close()


def _stated(topic: Topic) -> dict[str, str]:
    """What the records of a topic depend on: settings by Kafka's names. Checked also where it was created by others."""
    kept = topic.retention_seconds
    milliseconds = None if kept is None else str(kept * 1000)
    if topic.compacted:
        return {
            "cleanup.policy": "compact",
            "delete.retention.ms": milliseconds or _FOR_GOOD,
            "max.message.bytes": str(REQUEST_BYTES),
        }
    return {
        "cleanup.policy": "delete",
        "retention.ms": milliseconds or _FOREVER,
        # A segment is removed whole: one that is never full must still end, or records outlive their retention by far.
        "segment.ms": str(min(_DAY_MS, max(60_000, (kept or 86_400) * 1000 // 4))),
        "max.message.bytes": str(REQUEST_BYTES),
    }


_AT_LEAST = {"max.message.bytes"}
_FREE = {"segment.ms"}


async def _check(admin: AIOKafkaAdminClient, topic: Topic) -> None:
    partitions = await _partitions(admin, topic)
    if partitions != topic.partitions:
        raise _unsuitable(topic, "partitions", topic.partitions, partitions)
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name)])
    for code, message, _, _, entries in answers[0].resources:
        if code:
            raise for_code(code)(message)
        found = {entry[0]: entry[1] for entry in entries}
        for name, stated in _stated(topic).items():
            if name in _FREE:
                continue
            fits = int(found[name]) >= int(stated) if name in _AT_LEAST else found[name] == stated
            if not fits:
                raise _unsuitable(topic, name, stated, found[name])


async def _partitions(admin: AIOKafkaAdminClient, topic: Topic) -> int:
    """Of a topic that was just created, brokers may not know yet."""
    while True:
        described = {one["topic"]: one for one in await admin.describe_topics()}
        if topic.name in described and not described[topic.name]["error_code"]:
            return len(described[topic.name]["partitions"])
        await asyncio.sleep(0.05)


def _unsuitable(topic: Topic, setting: str, expected: object, found: object) -> ConfigurationError:
    return ConfigurationError(
        "config.log-topic", topic=topic.name, setting=setting, expected=str(expected), found=str(found)
    )
