"""Change logs on real servers, behind one handle each, and a member of a group in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adapters.clock import SystemClock
from adapters.kafka_log import KafkaLog, KafkaOptions
from adapters.redis_streams_log import LogKeys, RedisStreamsLog
from broker.sync.change_log import Batch, ChangeLog, LogConsumer, Record, Topic
from registry.redis_connection import connect

BOUND = 3.0
"""Seconds within which a call at a log that is away fails, here."""

SESSION = 1.0
_ROOT = Path(__file__).parents[2]


class Server(Protocol):
    """What can be done to a server; everything blocks."""

    def kill(self) -> None: ...

    def restart(self) -> None: ...


@asynccontextmanager
async def opened(kind: str, address: str, prefix: str) -> AsyncIterator[ChangeLog]:
    """`kind`: kafka, valkey or valkey-cluster. `address`: bootstrap, or URL. `prefix`: of keys, not used by Kafka."""
    clock = SystemClock()
    if kind == "kafka":
        options = KafkaOptions(bootstrap=address, request=BOUND - 1, publish=BOUND, session=SESSION)
        kafka = KafkaLog(options, clock)
        try:
            yield kafka
        finally:
            await kafka.close()
        return
    client = connect(address)
    try:
        yield RedisStreamsLog(client, clock, keys=LogKeys(prefix), publish=BOUND, session=SESSION)
    finally:
        await client.aclose()


@dataclass
class World:
    """One engine. `server`: where it may be killed."""

    kind: str
    address: str
    server: Server | None = None
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")
    log: ChangeLog = field(init=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self) -> None:
        self.log = await self.another()

    async def another(self) -> ChangeLog:
        """As another node would open it."""
        return await self._stack.enter_async_context(opened(self.kind, self.address, self.prefix))

    async def close(self) -> None:
        await self._stack.aclose()

    async def topic(
        self, *, partitions: int = 1, compacted: bool = False, retention_seconds: int | None = None
    ) -> str:
        name = f"{self.prefix}-{uuid.uuid4().hex[:6]}"
        await self.log.ensure_topic(Topic(name, partitions, compacted, retention_seconds))
        return name

    @asynccontextmanager
    async def member(self, topic: str, group: str = "g") -> AsyncIterator[Member]:
        """A consumer in a process of its own, to be stopped or killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.logs",
            self.kind,
            self.address,
            self.prefix,
            topic,
            group,
            cwd=_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield Member(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@dataclass(frozen=True)
class Member:
    process: asyncio.subprocess.Process

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def takes(self) -> list[str]:
        """Values of the next batch, which it keeps in hand."""
        said = await self._said()
        assert isinstance(said, list)
        return [str(one) for one in said]

    async def commits(self) -> bool:
        """What committing the batch in hand came to."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"commit\n")
        answer = await self._said()
        assert isinstance(answer, bool)
        return answer

    async def _said(self) -> list[object] | bool:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            line = await self.process.stdout.readline()
        answer: list[object] | bool = json.loads(line)
        return answer


async def take(
    consumer: LogConsumer, count: int, *, commit: bool = True, seconds: float = 15.0
) -> list[Record]:
    """The next records, at least so many, within a bound."""
    records: list[Record] = []
    async with asyncio.timeout(seconds):
        while len(records) < count:
            batch = await anext(consumer)
            records += batch.records
            if commit:
                assert await consumer.commit(batch.ends)
    return records


async def all_of(batches: AsyncIterator[Batch]) -> list[Record]:
    async with asyncio.timeout(15):
        return [record async for batch in batches for record in batch.records]


async def _be_a_member(kind: str, address: str, prefix: str, topic: str, group: str) -> None:
    """Say what each batch holds; commit it, and take the next, when told to."""
    async with opened(kind, address, prefix) as log, log.consumer(topic, group) as consumer:
        async for batch in consumer:
            print(json.dumps([(one.value or b"").decode() for one in batch.records]), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            print(json.dumps(await consumer.commit(batch.ends)), flush=True)


if __name__ == "__main__":
    asyncio.run(_be_a_member(*sys.argv[1:]))
