"""Whatever is sent to the whole application: an answer that is none of its own faults, in time, and nothing in the log."""

from __future__ import annotations

import asyncio
import json
import uuid
import zlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.sandbox.app import running_sandbox
from registry.model import REGIONS, Gestionnaire
from registry.redis_keys import RedisKeys
from tests.component.test_limits import connections
from tests.fuzz.campaign import Watched, bounded, campaign, is_failed_transaction, seconds, watched
from tests.fuzz.hostile_requests import Thrown, volleys
from tests.support.entitled import REGION, held
from tests.support.federation import Broker, federation
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until

_DUE = {
    200, 201, 204, 304, 400, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414, 415, 417, 422, 428, 429, 431, 501, 502, 503,
    504, 508,
}  # fmt: skip
_GENEROUS: dict[str, Any] = {
    "limit_rate": 1e6,
    "limit_address_rate": 1e6,
    "limit_head_seconds": 0.4,
    "limit_body_seconds": 0.4,
    "limit_idle_seconds": 0.4,
    "max_request_bytes": 100_000,
    "locator": True,
    "sync": True,
    "audit": "file",
    "search_deadline": 2,
    "write_deadline": 3,
}


@pytest.mark.timeout(max(120, int(seconds() * 3)))
def test_whatever_is_sent(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    valkey = Valkey(valkey_server.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
    with watched() as log, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        broker, managers = runner.run(_started(stack, valkey, tmp_path))

        def throw(volley: list[Thrown]) -> None:
            runner.run(_volley(broker, volley, log))

        def between() -> None:
            runner.run(_still_well(broker, managers))

        try:
            campaign("requests", volleys, throw, between)
        finally:
            runner.run(stack.aclose())
        assert not log.bad, "\n".join(log.bad)


async def _started(
    stack: AsyncExitStack, valkey: Valkey, tmp_path: Path
) -> tuple[Broker, list[Gestionnaire]]:
    boxes = {slug: await stack.enter_async_context(running_sandbox(held(slug))) for slug in REGION}
    managers = [
        Gestionnaire(slug, REGIONS[code], code, boxes[slug].base_url, territory=())
        for slug, code in REGION.items()
    ]
    made = federation(valkey, *managers, checked=True, data_dir=tmp_path, **_GENEROUS)
    return await stack.enter_async_context(made), managers


async def _volley(broker: Broker, volley: list[Thrown], log: Watched) -> None:
    answers = await asyncio.gather(*(_exchange(broker, one) for one in volley))
    assert not log.bad, "\n".join(log.bad)
    for thrown, received in zip(volley, answers, strict=True):
        _judge(thrown, received)


async def _exchange(broker: Broker, thrown: Thrown) -> bytes:
    """What comes back until the end of the connection."""
    port = broker.running.settings.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        writer.write(thrown.data)
        received: bytes = await bounded(_read(reader), repr(thrown))
        return received
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    parts = []
    try:
        while part := await reader.read(65_536):
            parts.append(part)
    except ConnectionError:
        pass  # closed with something of ours unread
    return b"".join(parts)


def _judge(thrown: Thrown, received: bytes) -> None:
    if not received:
        assert not thrown.whole, f"no answer to {thrown}"
        return
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    while status == 100:
        head, _, body = body.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
    assert status in _DUE or is_failed_transaction(status, body), (status, thrown, body[:500])
    assert b"Traceback" not in received
    assert b"x-evil" not in head.lower(), "no header of the sender's making"
    if not thrown.whole or thrown.data.startswith(b"HEAD "):
        return
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("content-encoding") == "gzip":
        body = zlib.decompress(body, wbits=31)
    kind = headers.get("content-type", "")
    if body and "xml" in kind:
        etree.fromstring(body)
    elif body and "json" in kind:
        tree = json.loads(body)
        if status >= 400 and kind.startswith("application/fhir+json"):
            assert tree["resourceType"] in ("OperationOutcome", "Bundle")


async def _still_well(broker: Broker, managers: list[Gestionnaire]) -> None:
    """Nothing is left open, and who asks well is answered."""
    await until(lambda: len(connections(broker)) <= 2, seconds=10)
    store = broker.running.store
    for one in await store.all():
        if one.gestionnaire.id not in REGION:
            await store.remove(one.gestionnaire.id)
    for manager in managers:
        await store.put(manager)
    await broker.running.managers.refresh()
    answered = await broker.get("CareTeam?_count=1")
    assert answered.status == 200, answered.body
