"""What publishing is measured against: ask the home for a circle with its actors, and publish two records of the same sizes.

Nothing is read, checked, numbered or remembered. It runs on the broker's event loop, with aiokafka or redis-py as they are.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientSession, TCPConnector

from broker.sync.publisher_options import PublisherOptions
from registry.redis_connection import connect
from tests.benchmarks.children import main, say, serve_commands

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_INCLUDES = [
    ("_include", "CareTeam:*"),
    ("_include:iterate", "PractitionerRole:practitioner"),
    ("_include:iterate", "PractitionerRole:organization"),
    ("_include:iterate", "RelatedPerson:patient"),
    ("_include:iterate", "Organization:partof"),
]
_TOPICS = ("bare-whole", "bare-ids")

Publish = Callable[[str, bytes, bytes], Awaitable[object]]
"""Topic, value, key."""


async def work(argument: Any) -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession(connector=TCPConnector(limit=0)))
        publish = await (_kafka if argument["kafka"] else _redis)(argument, stack)
        numbers = itertools.count(1)
        values = [b"x" * int(size) for size in argument["sizes"]]
        gate = asyncio.Semaphore(PublisherOptions().at_once)

        async def one(number: int) -> None:
            async with gate:
                form = urlencode([("_id", f"u{number}"), *_INCLUDES]).encode()
                url = f"{argument['base']}/CareTeam/_search"
                async with session.post(url, data=form, headers=_FORM) as response:
                    await response.read()
            key = f"reg04/CareTeam/u{number}".encode()
            await asyncio.gather(*[publish(*to, key) for to in zip(_TOPICS, values, strict=True)])

        say({})

        async def published(count: str) -> float:
            """So many changes; the seconds that it took."""
            begun = perf_counter()
            await asyncio.gather(*map(one, itertools.islice(numbers, int(count))))
            return perf_counter() - begun

        await serve_commands({"publish": published})


async def _kafka(argument: Any, stack: AsyncExitStack) -> Publish:
    from aiokafka import AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=argument["kafka"])
    await admin.start()
    try:
        await admin.create_topics([NewTopic(one, num_partitions=6, replication_factor=1) for one in _TOPICS])
    finally:
        await admin.close()
    # As the broker's own: see adapters.kafka_log.publisher.
    producer = AIOKafkaProducer(
        bootstrap_servers=argument["kafka"], acks="all", enable_idempotence=True, max_batch_size=256 * 1024
    )
    await producer.start()
    stack.push_async_callback(producer.stop)

    async def publish(topic: str, value: bytes, key: bytes) -> object:
        return await producer.send_and_wait(topic, value, key=key)

    return publish


async def _redis(argument: Any, stack: AsyncExitStack) -> Publish:
    client: Any = connect(argument["redis"])
    stack.push_async_callback(client.aclose)

    async def publish(topic: str, value: bytes, key: bytes) -> object:
        return await client.xadd(topic, {b"k": key, b"v": value})

    return publish


if __name__ == "__main__":
    main(work)
