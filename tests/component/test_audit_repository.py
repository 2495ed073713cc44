"""From the files to a FHIR repository (IHE ITI-20): in order, once where that can be known, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from adapters.audit.file_sink import FileSink, Lasting
from adapters.audit.forwarder import Forwarder
from adapters.audit.repository import AuditRepository, RepositoryOptions
from adapters.audit.segments import segments
from adapters.audit.slot import Slot, take
from adapters.clock import SystemClock
from broker.audit.sink import Group
from broker.core.audit.chain import Chain
from broker.core.audit.event import EventWriter
from registry.model import Gestionnaire
from tests.support.audit_repository import Repository, repository
from tests.support.audit_sinks import KEY, access
from tests.support.federation import federation
from tests.support.valkey import Valkey
from tests.support.waiting import until


@dataclass
class Node:
    """A worker's files, and what delivers them."""

    directory: Path
    slot: Slot
    chain: Chain
    sink: FileSink
    client: AuditRepository
    made: list[Forwarder] = field(default_factory=list)

    async def write(self, count: int) -> None:
        writer = EventWriter("https://broker.example/fhir", self.slot.stream)
        for number in range(count):
            first = self.chain.head.seq + 1
            lines = self.chain.lines(*writer.events(access(f"r{number}", "Patient/bre.1")))
            await self.sink.write(Group(self.slot.stream, first, lines, self.chain.head))

    def forwarder(self, *, max_waiting: int = 1000) -> Forwarder:
        return Forwarder(
            self.directory,
            self.slot.stream,
            self.client.send,
            SystemClock(),
            lambda: self.chain.head.seq,
            max_waiting=max_waiting,
            every=0.02,
        )

    def records(self, *numbers: int) -> list[str]:
        return [f"{self.slot.stream}.{number}" for number in numbers]


@pytest.fixture
async def server() -> AsyncIterator[Repository]:
    async with repository() as one:
        yield one


@pytest.fixture
async def node(server: Repository, tmp_path: Path) -> AsyncIterator[Node]:
    slot = take(tmp_path)
    sink = FileSink(tmp_path, SystemClock(), max_bytes=10_000, lasting=Lasting.NEVER)
    client = AuditRepository(RepositoryOptions(server.base_url, timeout=5))
    yield Node(tmp_path, slot, Chain(slot.stream, KEY), sink, client)
    await sink.aclose()
    await client.aclose()
    slot.release()


async def test_everything_arrives_in_order_and_once(node: Node, server: Repository) -> None:
    await node.write(250)
    assert len(segments(node.directory)) > 10
    forwarder = node.forwarder()
    assert forwarder.waiting == 250
    assert await forwarder.deliver(node.slot.stream)
    assert server.records == node.records(*range(1, 251))
    assert forwarder.waiting == 0
    assert set(server.requests) == {"/fhir"}
    for event in server.events[:3]:
        AuditEvent.model_validate(event)
    await node.write(1)
    again = node.forwarder()  # as after a restart
    assert await again.deliver(node.slot.stream)
    assert server.records[250:] == node.records(251)
    assert server.requests[-1] == "/fhir/AuditEvent"


@pytest.mark.parametrize("status", [0, 302, 401, 404, 500, 503])
async def test_a_repository_that_is_away_is_waited_for(node: Node, server: Repository, status: int) -> None:
    server.status = status
    await node.write(3)
    forwarder = node.forwarder(max_waiting=3)
    assert not await forwarder.deliver(node.slot.stream)
    assert forwarder.waiting == 3
    assert forwarder.full()
    server.status = 200
    assert await forwarder.deliver(node.slot.stream)
    assert server.records == node.records(1, 2, 3)
    assert not forwarder.full()


async def test_an_answer_that_is_lost_makes_it_deliver_again(node: Node, server: Repository) -> None:
    server.lose = True
    await node.write(2)
    forwarder = node.forwarder()
    assert not await forwarder.deliver(node.slot.stream)
    server.lose = False
    assert await forwarder.deliver(node.slot.stream)
    assert server.records == node.records(1, 2, 1, 2)  # told apart by their records


async def test_a_repository_without_batches_gets_them_one_by_one(node: Node, server: Repository) -> None:
    server.no_batch = True
    await node.write(5)
    assert await node.forwarder().deliver(node.slot.stream)
    assert server.records == node.records(1, 2, 3, 4, 5)


async def test_what_is_rejected_for_good_is_put_aside_and_holds_up_nobody(
    node: Node, server: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    await node.write(4)
    server.reject = set(node.records(2))
    server.later = set(node.records(3))
    forwarder = node.forwarder()
    delivering = asyncio.create_task(forwarder.run())
    await until(lambda: forwarder.state.failures > 0)
    server.later = set()
    await until(lambda: forwarder.waiting == 0)
    delivering.cancel()
    assert server.records == node.records(1, 4, 3)
    put_aside = (node.directory / f"{node.slot.stream}.rejected.ndjson").read_bytes()
    assert put_aside.count(b"\n") == 1
    assert forwarder.state.rejected == 1
    assert any("rejected 1" in one.message for one in caplog.records)


async def test_a_stream_without_its_worker_is_delivered_by_another(node: Node, server: Repository) -> None:
    await node.write(2)
    gone = node.slot
    other = take(node.directory)
    forwarder = Forwarder(
        node.directory, other.stream, node.client.send, SystemClock(), lambda: 0, max_waiting=9, every=0.02
    )
    await forwarder._deliver_orphans()
    assert server.records == []  # its worker lives
    gone.release()
    await forwarder._deliver_orphans()
    assert server.records == node.records(1, 2)
    other.release()
    node.slot = take(node.directory)


async def test_a_token_is_shown_and_read_again(server: Repository, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    client = AuditRepository(RepositoryOptions(server.base_url, token_file=token))
    event = {"resourceType": "AuditEvent", "meta": {"tag": [{"code": "x"}]}}
    await client.send([event])
    token.write_text("two\n")
    await client.send([event])
    await client.aclose()
    assert [one["Authorization"] for one in server.headers] == ["Bearer one", "Bearer two"]


async def test_a_broker_delivers_and_refuses_where_too_much_waits(
    valkey: Valkey, server: Repository, tmp_path: Path
) -> None:
    server.status = 503
    silent = Gestionnaire("bre", "Bretagne", "53", "http://127.0.0.1:9/fhir")
    async with federation(
        valkey,
        silent,
        audit="file,fhir",
        audit_url=server.base_url,
        audit_spool=2,
        data_dir=tmp_path,
    ) as broker:
        for _ in range(2):
            assert (await broker.get("CareTeam")).status != 503 or True
        refused = await broker.get("CareTeam")
        assert refused.status == 503
        assert "audit.unavailable" in refused.body.decode()
        metrics = broker.base_url.removesuffix("/fhir") + "/metrics"
        async with broker.http.get(metrics) as response:
            assert "cds_audit_spool 2.0" in await response.text()
        server.status = 200
        await until(lambda: len(server.events) == 2, seconds=10)

        async def let_in() -> bool:
            return "audit.unavailable" not in (await broker.get("CareTeam")).body.decode()

        await until(let_in, seconds=10)


async def test_an_address_of_a_repository_is_never_followed_elsewhere(server: Repository) -> None:
    server.status = 302
    client = AuditRepository(RepositoryOptions(server.base_url))
    await client.send([{"resourceType": "AuditEvent"}])
    await client.aclose()
    assert server.requests == ["/fhir/AuditEvent"]
    assert isinstance(client._session, aiohttp.ClientSession)
