"""What the agent is measured against: events read, and their circles written to a manager, without anything else.

Nothing is checked, looked up, marked, put in order or remembered. Of a new circle all of the event is written, of a change
the circle. It publishes its events itself beforehand, the same that the agent is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from aiohttp import ClientSession, TCPConnector

from registry.redis_connection import connect
from tests.benchmarks.children import main, say, serve_commands
from tests.support.replication import Home

_TOPIC = "bare-replication"
_AT_ONCE = 8
_JSON = {"Content-Type": "application/fhir+json"}


class Bare:
    """`events`: those that wait in the log."""

    def __init__(self, argument: Any, session: ClientSession) -> None:
        self._argument = argument
        self._session = session
        self._home = Home(shared=int(argument["shared"]))
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._whole = True
        self.events = 0

    async def prepare(self, what: str) -> int:
        """Events of new circles, or of changes, in the log; how many."""
        make = self._home.created if what == "new" else self._home.changed
        values = [(one.key, one.value or b"") for one in map(make, range(int(self._argument["circles"])))]
        await self._publish(values)
        self._whole, self.events = what == "new", len(values)
        return self.events

    async def work(self, _: str) -> None:
        left = self.events
        async for values in self._read(left):
            await asyncio.gather(*map(self._apply, values))
            left -= len(values)
        assert left == 0, left

    async def _apply(self, value: bytes) -> None:
        for entry in orjson.loads(value)["entry"]:
            resource = entry["resource"]
            if self._whole or resource["resourceType"] == "CareTeam":
                url = f"{self._argument['base']}/{resource['resourceType']}/{resource['id']}"
                async with (
                    self._gate,
                    self._session.put(url, data=orjson.dumps(resource), headers=_JSON) as response,
                ):
                    await response.read()

    async def _publish(self, values: Sequence[tuple[bytes, bytes]]) -> None:
        raise NotImplementedError

    def _read(self, count: int) -> AsyncIterator[list[bytes]]:
        raise NotImplementedError


class OnKafka(Bare):
    async def _publish(self, values: Sequence[tuple[bytes, bytes]]) -> None:
        from aiokafka import AIOKafkaProducer
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        servers = self._argument["settings"]["kafka_bootstrap"]
        if not self.events:
            admin = AIOKafkaAdminClient(bootstrap_servers=servers)
            await admin.start()
            await admin.create_topics([NewTopic(_TOPIC, num_partitions=6, replication_factor=1)])
            await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=256 * 1024)
        await producer.start()
        try:
            for waiting in [await producer.send(_TOPIC, value, key=key) for key, value in values]:
                await waiting
        finally:
            await producer.stop()

    async def _read(self, count: int) -> AsyncIterator[list[bytes]]:
        from aiokafka import AIOKafkaConsumer

        consumer = AIOKafkaConsumer(
            _TOPIC,
            bootstrap_servers=self._argument["settings"]["kafka_bootstrap"],
            group_id="bare",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            while count > 0:
                found = await consumer.getmany(timeout_ms=1000, max_records=200)
                values = [one.value for records in found.values() for one in records]
                count -= len(values)
                yield values
                if values:
                    await consumer.commit()
        finally:
            await consumer.stop()


class OnRedis(Bare):
    _last = b"0"

    async def _publish(self, values: Sequence[tuple[bytes, bytes]]) -> None:
        client: Any = connect(self._argument["settings"]["redis_url"])
        for key, value in values:
            await client.xadd(_TOPIC, {b"k": key, b"v": value})
        await client.aclose()

    async def _read(self, count: int) -> AsyncIterator[list[bytes]]:
        client: Any = connect(self._argument["settings"]["redis_url"])
        while count > 0:
            ((_, records),) = await client.xread({_TOPIC: self._last}, count=200)
            self._last = records[-1][0]
            count -= len(records)
            yield [fields[b"v"] for _, fields in records]
        await client.aclose()


async def work(argument: Any) -> None:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        made = (OnKafka if "kafka_bootstrap" in argument["settings"] else OnRedis)(argument, session)
        say({})
        await serve_commands({"prepare": made.prepare, "work": made.work})


if __name__ == "__main__":
    main(work)
