"""Topics: created, checked, listed, dropped. Settings never change while a topic lives, so they are remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.redis_streams_log.boundary import piped
from adapters.redis_streams_log.keys import LogKeys
from adapters.redis_streams_log.scripts import TIDY
from broker.errors import ConfigurationError, StoreError
from broker.sync.change_log import Topic

_SETTINGS = ("partitions", "compacted", "retention_seconds")
_decode = msgspec.json.Decoder(Topic).decode


class RedisTopics:
    """To be called inside `log_errors`."""

    def __init__(self, client: Any, keys: LogKeys) -> None:
        self._client = client
        self._keys = keys
        self._known: dict[str, tuple[bytes, Topic]] = {}

    async def ensure(self, topic: Topic) -> None:
        await self._client.sadd(self._keys.topics, topic.name)
        await self._client.set(self._keys.settings(topic.name), msgspec.json.encode(topic), nx=True)
        self.forget(topic.name)
        _, found = await self.of(topic.name)
        for setting in _SETTINGS:
            if getattr(found, setting) != getattr(topic, setting):
                raise ConfigurationError(
                    "config.log-topic",
                    topic=topic.name,
                    setting=setting,
                    expected=str(getattr(topic, setting)),
                    found=str(getattr(found, setting)),
                )

    async def of(self, name: str) -> tuple[bytes, Topic]:
        """As stored, and decoded. Raises `StoreError("federation.log-topic")`."""
        if name not in self._known:
            stored = await self._client.get(self._keys.settings(name))
            if stored is None:
                raise StoreError("federation.log-topic", topic=name)
            self._known[name] = (stored, _decode(stored))
        return self._known[name]

    def forget(self, name: str) -> None:
        self._known.pop(name, None)

    async def names(self) -> Sequence[str]:
        return sorted(name.decode() for name in await self._client.smembers(self._keys.topics))

    async def tidy(self) -> None:
        for name in await self.names():
            self.forget(name)
            try:
                _, topic = await self.of(name)
            except StoreError:
                continue  # dropped meanwhile
            await piped(
                self._client,
                [
                    ("EVAL", TIDY, 3, *self.partition_keys(topic, one), *retention(topic))
                    for one in range(topic.partitions)
                ],
            )

    async def drop(self, name: str) -> None:
        self.forget(name)
        try:
            _, topic = await self.of(name)
        except StoreError:
            topic = None
        if topic is not None:
            groups = [one.decode() for one in await self._client.smembers(self._keys.groups(name))]
            await self._client.unlink(
                self._keys.settings(name),
                self._keys.ends(name),
                self._keys.groups(name),
                *(key for one in range(topic.partitions) for key in self.partition_keys(topic, one)),
                *(self._keys.members(name, group) for group in groups),
                *(self._keys.owners(name, group) for group in groups),
            )
        await self._client.srem(self._keys.topics, name)
        self.forget(name)

    def partition_keys(self, topic: Topic, partition: int) -> tuple[str, str, str]:
        return (
            self._keys.stream(topic.name, partition),
            self._keys.latest(topic.name, partition),
            self._keys.tombstones(topic.name, partition),
        )


def retention(topic: Topic) -> tuple[int, int]:
    """As the scripts take it: 1 if compacted, and milliseconds, -1 for good."""
    kept = topic.retention_seconds
    return (int(topic.compacted), -1 if kept is None else kept * 1000)
