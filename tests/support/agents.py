"""A region's agent over a real log on Valkey and a real sandbox, in this process: see `region`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.clock import SystemClock
from adapters.redis_streams_log import LogKeys, RedisStreamsLog
from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from broker.core import topics
from broker.settings import Settings
from broker.sync.agent import Agent, AgentOptions, Backlog, backlog
from broker.sync.change_log import ChangeLog, Outgoing, Topic
from broker.sync.dead_letters import DeadLetter, DeadLetters
from broker.wiring_sync import running_agent
from registry.model import Gestionnaire
from registry.redis_connection import connect
from tests.support.replication import Home
from tests.support.valkey import Valkey

SLUG = "occ"


@dataclass
class Region:
    log: ChangeLog
    box: RunningSandbox
    manager: Gestionnaire
    home: Home

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.log, SLUG)

    async def publish(self, *records: Outgoing) -> None:
        await self.log.publish_many(records)

    async def settle(self, **options: Any) -> Agent:
        """Run an agent until the topic is worked off."""
        async with self.agent(AgentOptions(once=True, **options)) as (agent, stop), asyncio.timeout(30):
            await agent.run(stop)
        return agent

    @asynccontextmanager
    async def agent(self, options: AgentOptions | None = None) -> AsyncIterator[tuple[Agent, asyncio.Event]]:
        """An agent that does not run yet, and what stops it."""
        stop = asyncio.Event()
        async with running_agent(
            self.log, self.manager, SystemClock(), stop, settings=Settings(), options=options
        ) as agent:
            yield agent, stop

    async def dead(self) -> Sequence[DeadLetter]:
        return await self.letters.all()

    async def left(self) -> Backlog | None:
        return await backlog(self.log, SLUG)

    def differences(self) -> list[str]:
        return self.home.differences(self.box.store)

    def versions(self) -> int:
        """Of circles: every write leaves one."""
        return len(self.box.store.changes("CareTeam"))


@asynccontextmanager
async def region(valkey: Valkey, options: SandboxOptions | None = None) -> AsyncIterator[Region]:
    async with AsyncExitStack() as stack:
        client = connect(valkey.url)
        stack.push_async_callback(client.aclose)
        log = RedisStreamsLog(client, SystemClock(), keys=LogKeys(valkey.keys.prefix), session=1.0)
        await log.ensure_topic(Topic(topics.replication(SLUG), partitions=3))
        box = await stack.enter_async_context(running_sandbox(options=options))
        manager = Gestionnaire(SLUG, "Gestionnaire Occitanie", "76", box.base_url, timeout=5.0)
        yield Region(log, box, manager, Home())
