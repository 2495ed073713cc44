"""The trail on a topic: on Apache Kafka, on Redis Streams, on a cluster."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from adapters.audit.log_sink import LogSink
from adapters.audit.verification import Stored, verify_topic
from adapters.clock import SystemClock
from broker.audit.sink import Group
from broker.audit.trail import Trail, TrailOptions
from broker.core.audit.chain import Chain
from broker.core.audit.event import EventWriter
from broker.core.audit.verify import Flaw
from broker.errors import StoreError
from broker.sync.change_log import Outgoing, Topic
from tests.support.audit_sinks import KEY, KEYS, access
from tests.support.kafka_server import KafkaServer
from tests.support.logs import World, all_of
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until


def group_of(chain: Chain, count: int) -> Group:
    first = chain.head.seq + 1
    lines = chain.lines(b'{"resourceType":"AuditEvent"', [b"}"] * count)
    return Group(chain.stream, first, lines, chain.head)


async def test_lines_arrive_in_order_by_stream_and_are_verified(world: World) -> None:
    topic = Topic(f"{world.prefix}.audit", 3, retention_seconds=3600)
    chains = [Chain(f"4f1c22ab-{number}", KEY) for number in range(2)]
    for chain in chains:
        sink = LogSink(world.log, topic)
        for _ in range(3):
            await sink.write(group_of(chain, 5))
    report = await verify_topic(
        world.log, topic.name, KEYS, Stored({chain.stream: chain.head for chain in chains})
    )
    assert report.intact, report.findings
    assert report.lines == {chain.stream: 15 for chain in chains}
    records = await all_of(world.log.read(topic.name))
    assert {record.key.decode() for record in records} == set(report.lines)
    assert all(
        len({one.position.partition for one in records if one.key == key}) == 1
        for key in {r.key for r in records}
    )


async def test_a_group_of_unknown_end_may_come_twice_and_a_forged_one_is_found(world: World) -> None:
    topic = Topic(f"{world.prefix}.audit", 1, retention_seconds=3600)
    chain = Chain("4f1c22ab-0", KEY)
    group = group_of(chain, 2)
    await LogSink(world.log, topic).write(group)
    await LogSink(world.log, topic).write(group)  # as after a restart of what told it
    report = await verify_topic(world.log, topic.name, KEYS, None)
    assert report.intact
    assert [one.flaw for one in report.notices] == [Flaw.REPEATED, Flaw.REPEATED]
    forged = group.lines[0].replace(b"AuditEvent", b"AuditEvil!").rstrip(b"\n")
    await world.log.publish(Outgoing(topic.name, b"4f1c22ab-1", forged.replace(b"22ab-0", b"22ab-1")))
    found = await verify_topic(world.log, topic.name, KEYS, None)
    assert [(one.flaw, one.stream) for one in found.findings] == [(Flaw.CHANGED, "4f1c22ab-1")]


async def test_a_topic_that_was_dropped_is_made_again(world: World) -> None:
    topic = Topic(f"{world.prefix}.audit", 1, retention_seconds=3600)
    chain = Chain("4f1c22ab-0", KEY)
    sink = LogSink(world.log, topic)
    await sink.write(group_of(chain, 1))
    await world.log.drop_topic(topic.name)

    async def dropped() -> bool:
        return topic.name not in await world.log.topics()

    await until(dropped, seconds=20)  # Kafka says yes first, and does it then
    group = group_of(chain, 1)

    async def written() -> bool:
        try:
            await sink.write(group)
        except StoreError:
            return False
        return True

    await until(written, seconds=20)
    # What was taken for lost may have arrived: then the same line stands there twice, as verifying allows.
    assert len({record.value for record in await all_of(world.log.read(topic.name))}) == 1


def pid_of(world: World) -> int:
    """To be asked while it runs: a server that stands still does not say."""
    server = world.server
    if isinstance(server, ValkeyServer):
        pid = server.embedded.server_pid()
        assert pid is not None
        return pid
    assert isinstance(server, KafkaServer)
    return server.pid


async def test_a_log_that_stands_still_refuses_access_within_a_bound(mortal: World) -> None:
    await mortal.open()
    topic = Topic(f"{mortal.prefix}.audit", 1, retention_seconds=3600)
    trail = Trail(
        EventWriter("https://broker.example/fhir", "4f1c22ab-0"),
        Chain("4f1c22ab-0", KEY),
        [LogSink(mortal.log, topic)],
        SystemClock(),
        TrailOptions(timeout=0.5),
    )
    trail.start()
    try:
        await trail.record(access("before"))
        await until(lambda: not trail.state.broken and trail.state.waiting == 0, seconds=20)
        pid = pid_of(mortal)
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(5):
                assert not await trail.record(access("while it stands still"))
            assert trail.state.broken
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: not trail.state.broken, seconds=40)
        assert await trail.record(access("after"))
    finally:
        await trail.aclose()
    report = await verify_topic(mortal.log, topic.name, KEYS, Stored({"4f1c22ab-0": trail.written}))
    assert report.intact, report.findings
    assert report.lines["4f1c22ab-0"] >= 4
    await mortal.close()


async def test_a_topic_that_is_otherwise_is_not_written_to(world: World) -> None:
    topic = Topic(f"{world.prefix}.audit", 1, retention_seconds=3600)
    await world.log.ensure_topic(Topic(topic.name, 1, retention_seconds=7200))
    with pytest.raises(StoreError) as refused:
        await LogSink(world.log, topic).write(group_of(Chain("4f1c22ab-0", KEY), 1))
    assert refused.value.key == "config.log-topic"
