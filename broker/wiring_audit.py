"""The trail of accesses in a worker, put together: a part of the composition root."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from adapters.audit.file_sink import FileSink, Lasting
from adapters.audit.forwarder import Forwarder
from adapters.audit.log_sink import LogSink
from adapters.audit.reader import FileAuditReader
from adapters.audit.repository import AuditRepository, RepositoryOptions
from adapters.audit.segments import last_head
from adapters.audit.slot import Slot, take
from adapters.embedded_valkey import EmbeddedValkey
from broker.audit.disclosures import TrailDisclosures
from broker.audit.heads import HeadKeeper, resumed
from broker.audit.sink import AuditSink, AuditState, HeadStore
from broker.audit.trail import Trail, TrailOptions
from broker.core import topics
from broker.core.audit.chain import Chain, ChainKey, Head
from broker.core.audit.event import EventWriter
from broker.gateway.audit_api import audit_routes
from broker.gateway.auditing import Auditing
from broker.locator_secret import audit_secrets
from broker.observability.metrics_audit import AuditFigures
from broker.ports import Disclosures
from broker.settings import Settings
from broker.settings_audit import AuditFailure
from broker.sync.change_log import ChangeLog, Topic
from broker.wiring_ground import Ground, Part
from broker.wiring_sync import kafka_log, redis_log
from registry.audit_heads import RedisAuditHeads
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys


def audit_directory(settings: Settings) -> Path:
    return settings.audit_dir or settings.data_dir / "audit"


@dataclass(frozen=True, slots=True)
class Audit(Part):
    """What a worker writes its trail with. Wired before all that answers: what is told last is still written."""

    auditing: Auditing
    keeper: HeadKeeper
    forwarder: Forwarder | None
    reader: FileAuditReader | None
    traces: AuditFigures

    @classmethod
    async def wired(cls, ground: Ground, stack: AsyncExitStack) -> Audit:
        """What is opened closes with the stack. Raises `ConfigurationError`, `AuditError`."""
        settings, clock = ground.settings, ground.clock
        directory, key = audit_directory(settings), ChainKey.of(audit_secrets(settings, ground.secrets)[0])
        heads = RedisAuditHeads(ground.redis, keys=ground.keys)
        slot, held = await asyncio.to_thread(_taken, settings, directory)
        if slot is not None:
            stack.callback(slot.release)
        stream = slot.stream if slot is not None else f"{secrets.token_hex(4)}-0"
        begun, known = await resumed(heads, stream, held)
        deny = settings.audit_failure is AuditFailure.DENY
        trail: Trail  # the two know each other: one asks what is written, one what was delivered
        forwarder = await _forwarder(ground, directory, stream, lambda: trail.written.seq, stack)
        figures = AuditFigures(
            AuditState(), None if forwarder is None else lambda: (forwarder.state, forwarder.waiting)
        )
        trail = Trail(
            EventWriter(settings.base_url, stream),
            Chain(stream, key, begun),
            await _sinks(ground, directory, stack),
            clock,
            TrailOptions(settings.audit_timeout, deny),
            full=(lambda: False) if forwarder is None else forwarder.full,
            observe=figures.observe,
            state=figures.state,
        )
        stack.push_async_callback(trail.aclose)
        auditing = Auditing(trail, clock, deny)
        stack.push_async_callback(auditing.aclose, settings.write_deadline)
        keeper = HeadKeeper(trail, stream, heads, clock, begun=held, known=known)
        trail.start()
        reader = None if slot is None else FileAuditReader(directory)
        return cls(auditing, keeper, forwarder, reader, figures)

    def middleware(self, address_of: Callable[[web.Request], str]) -> Middleware:
        return replace(self.auditing, address_of=address_of).middleware()

    def disclosures(self) -> Disclosures:
        """For what is handed over without a request."""
        auditing = self.auditing
        return TrailDisclosures(auditing.trail, auditing.clock, auditing.deny)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return audit_routes(self.reader)

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.keeper.run()
        if self.forwarder is not None:
            yield self.forwarder.run()

    def figures(self) -> Iterable[AuditFigures]:
        yield self.traces


@asynccontextmanager
async def open_heads(settings: Settings) -> AsyncIterator[HeadStore]:
    """What the store knows of the trail, for a process that has nothing else. Raises `ConfigurationError`,
    `StoreError`."""
    embedded = None if settings.redis_url is not None else EmbeddedValkey(settings.data_dir)
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    if embedded is not None:
        url = await asyncio.to_thread(embedded.start)
    try:
        client = connect(url)
        try:
            yield RedisAuditHeads(client, keys=RedisKeys(settings.redis_prefix))
        finally:
            await client.aclose()
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)


def _taken(settings: Settings, directory: Path) -> tuple[Slot | None, Head]:
    """Of a worker that writes files: its slot, and what its stream ends with."""
    if "file" not in settings.audit_sinks:
        return None, Head()
    slot = take(directory)
    return slot, last_head(directory, slot.stream)


async def _sinks(ground: Ground, directory: Path, stack: AsyncExitStack) -> list[AuditSink]:
    settings, clock = ground.settings, ground.clock
    sinks: list[AuditSink] = []
    if "file" in settings.audit_sinks:
        lasting = Lasting(settings.audit_fsync.value)
        sinks.append(FileSink(directory, clock, max_bytes=settings.audit_file_bytes, lasting=lasting))
    if "log" in settings.audit_sinks:
        sinks.append(LogSink(await _log(ground, stack), audit_topic(settings)))
    return sinks


def audit_topic(settings: Settings) -> Topic:
    return Topic(
        topics.audit(settings.topic_prefix),
        settings.topic_partitions,
        retention_seconds=settings.audit_topic_retention,
    )


async def _log(ground: Ground, stack: AsyncExitStack) -> ChangeLog:
    """A connection of its own: what synchronisation publishes does not hold up a trace."""
    settings, clock = ground.settings, ground.clock
    if settings.kafka_bootstrap is None:
        return redis_log(settings, clock, ground.redis)
    log = await asyncio.to_thread(kafka_log, settings, clock)
    stack.push_async_callback(log.close)
    return log


async def _forwarder(
    ground: Ground, directory: Path, stream: str, newest: Callable[[], int], stack: AsyncExitStack
) -> Forwarder | None:
    settings = ground.settings
    if "fhir" not in settings.audit_sinks or settings.audit_url is None:
        return None
    options = RepositoryOptions(
        settings.audit_url,
        token_file=settings.audit_token_file,
        cafile=settings.audit_tls_ca,
        certfile=settings.audit_tls_cert,
        keyfile=settings.audit_tls_key,
    )
    repository = AuditRepository(options, await asyncio.to_thread(options.tls))
    stack.push_async_callback(repository.aclose)
    return Forwarder(
        directory, stream, repository.send, ground.clock, newest, max_waiting=settings.audit_spool
    )
