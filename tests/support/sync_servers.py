"""The servers around which a broker synchronises, as tests ask them: managers, topics, the store."""

from __future__ import annotations

from typing import Any

import aiohttp
from redis import Redis

from broker.core import topics
from broker.errors import StoreError
from broker.sync.change_log import ChangeLog, Record
from registry.redis_keys import RedisKeys
from tests.support.agent_process import SLUG
from tests.support.valkey import ValkeyServer
from tests.support.write_world import Managers

SUBSCRIBER = SLUG


class Servers:
    """`log`: a look at the change log of the test's own. `homes`: managers with circles of their own; the subscriber has
    replicas alone. `restarts`: of the store: when, milliseconds since the epoch."""

    http: aiohttp.ClientSession
    valkey: ValkeyServer
    log: ChangeLog
    prefix: str
    keys: RedisKeys
    homes: tuple[str, ...]
    restarts: list[int]

    @property
    def managers(self) -> Managers:
        """By their own addresses."""
        raise NotImplementedError

    @property
    def topic(self) -> str:
        return topics.replication(SUBSCRIBER, self.prefix)

    @property
    def notifications(self) -> str:
        return topics.notifications(self.prefix)

    def redis(self) -> Any:
        return Redis.from_url(self.valkey.url, decode_responses=True)

    async def records(self, topic: str) -> list[Record]:
        """Everything in a topic; nothing where there is none."""
        found: list[Record] = []
        try:
            async for batch in self.log.read(topic):
                found += batch.records
        except StoreError as error:
            if error.key != "federation.log-topic":
                raise
        return found
