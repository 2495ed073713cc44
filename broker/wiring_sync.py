"""The change log as the settings name it: Apache Kafka where there is one, else Redis Streams (federation, section 6).

A region's agent needs nothing else of the broker: with Kafka it opens no connection to Redis, and no data directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from adapters.clock import SystemClock
from adapters.embedded_valkey import EmbeddedValkey
from adapters.manager_http import HttpManagerClient
from adapters.redis_streams_log import LogKeys, RedisStreamsLog
from broker.core import topics
from broker.federation.manager_guard import ManagerGuard
from broker.observability.tracing import TracedManagers
from broker.ports import Clock
from broker.settings import Settings
from broker.sync.agent import Agent, AgentOptions
from broker.sync.agent_apply import EventApplier
from broker.sync.agent_health import POLICY, ManagerWatch, OneManager
from broker.sync.agent_manager import AgentManager
from broker.sync.agent_memory import ActorMemory
from broker.sync.agent_removed import Removed
from broker.sync.agent_worker import AgentWorker
from broker.sync.change_log import ChangeLog
from broker.sync.dead_letters import DeadLetters
from broker.wiring_tracing import AGENT, tracing
from registry.model import Gestionnaire
from registry.redis_connection import RedisClient, connect

_EXCHANGE_SECONDS = 15.0
"""For one exchange with a manager that declares no limit of its own: nobody waits at a screen."""


def kafka_log(settings: Settings, clock: Clock) -> ChangeLog:
    """`CDS_KAFKA_BOOTSTRAP` must be set. Blocking (reads files). Raises `ConfigurationError`."""
    from adapters.kafka_log import KafkaLog, KafkaOptions

    password = settings.kafka_password
    options = KafkaOptions(
        bootstrap=settings.kafka_bootstrap or "",
        security_protocol=settings.kafka_security_protocol.upper(),
        sasl_mechanism=settings.kafka_sasl_mechanism.upper(),
        username=settings.kafka_username,
        password=None if password is None else password.get_secret_value(),
        password_file=settings.kafka_password_file,
        cafile=settings.kafka_tls_ca,
        certfile=settings.kafka_tls_cert,
        keyfile=settings.kafka_tls_key,
    )
    return KafkaLog(options, clock)


def redis_log(settings: Settings, clock: Clock, client: RedisClient) -> ChangeLog:
    """On a connection that stays its owner's to close."""
    return RedisStreamsLog(client, clock, keys=LogKeys(settings.redis_prefix))


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[ChangeLog]:
    """The log with all that it needs, for a process that has nothing else. Raises `ConfigurationError`.

    On Redis Streams: the server of `CDS_REDIS_URL`, else the embedded one of the data directory, which processes on one
    machine share.
    """
    clock = SystemClock()
    if settings.kafka_bootstrap is not None:
        log = await asyncio.to_thread(kafka_log, settings, clock)
        try:
            yield log
        finally:
            await log.close()
        return
    embedded = None if settings.redis_url is not None else EmbeddedValkey(settings.data_dir)
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    if embedded is not None:
        url = await asyncio.to_thread(embedded.start)
    try:
        client = connect(url)
        try:
            yield redis_log(settings, clock, client)
        finally:
            await client.aclose()
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)


@asynccontextmanager
async def running_agent(
    log: ChangeLog,
    manager: Gestionnaire,
    clock: Clock,
    stop: asyncio.Event,
    *,
    settings: Settings,
    options: AgentOptions | None = None,
) -> AsyncIterator[Agent]:
    """An agent with its connections to its manager, to be `run`. Setting `stop` ends it.

    No more circles are worked on at a time than the manager takes connections, so that none waits for another.
    """
    given = options or AgentOptions()
    lanes = min(given.lanes, manager.max_connections)
    prefix, slug = settings.topic_prefix, manager.id
    watch = ManagerWatch(clock, slug)
    stack = AsyncExitStack()
    traces = tracing(settings, AGENT, stack)
    # No rules of where it may be: whoever starts the agent says which manager is theirs, mostly beside it.
    client = HttpManagerClient(
        clock,
        max_bytes=settings.max_answer_bytes,
        user_agent="cds-broker-agent",
        issuer=settings.base_url,
    )
    guard = ManagerGuard(
        client,
        OneManager.of(manager),
        clock,
        default_timeout=_EXCHANGE_SECONDS,
        policy=POLICY,
        on_change=watch.changed,
    )
    removed = Removed(log, slug, prefix)
    way = guard if traces is None else TracedManagers(guard)
    applier = EventApplier(slug, AgentManager(manager, way, clock), ActorMemory(clock), removed, clock)
    letters, topic = DeadLetters(log, slug, prefix), topics.replication(slug, prefix)
    worker = AgentWorker(
        applier, letters, watch, clock, topic, stop, tracer=None if traces is None else traces.tracer
    )
    try:
        yield Agent(log, worker, removed, clock, slug, prefix, replace(given, lanes=lanes))
    finally:
        await guard.aclose()
        await client.aclose()
        await stack.aclose()
