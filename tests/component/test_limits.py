"""Every limit that the README lists, set low and passed: its status, and that whoever stays within it is served.

The cases are those of `LIMITS`, of which the README's table is made: a limit without a case fails.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from broker.commands.limits_table import BEGIN, END, limits_table
from broker.settings_limits import LIMITS, LimitSettings
from registry.model import Skills
from tests.component.test_tls import Files
from tests.faults.test_bad_input import FORM, Raw, assert_outcome, exchange, request
from tests.support.federation import Broker, federation, link, outcome_codes
from tests.support.fhir_builders import care_team
from tests.support.regions import CHECKED, regions
from tests.support.scripted_manager import scripted_manager
from tests.support.secured import secured
from tests.support.valkey import Valkey
from tests.support.waiting import until

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
LIVE = "/health/live"
BARE = Skills(
    checked_at=CHECKED.checked_at, post_search=True, sort=True
)  # includes are the broker's own work

Case = Callable[[Valkey], Awaitable[None]]


def form(body: bytes, more: bytes = b"") -> bytes:
    headers = f"Content-Type: {FORM}\r\n".encode() + more
    return request("/fhir/CareTeam/_search", method="POST", body=body, headers=headers)


def connections(broker: Broker) -> list[web.RequestHandler]:
    server = broker.running.listening._runner.server
    assert isinstance(server, web.Server)
    return server.connections


async def opened(broker: Broker) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(broker.base_url)
    return await asyncio.open_connection(address.hostname, address.port)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, in bounded time."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


def parsed(data: bytes) -> Raw:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Raw(int(lines[0].split()[1]), headers, body)


# --- what a request is


async def a_long_line(valkey: Valkey) -> None:
    async with federation(valkey, limit_line=1024) as broker:
        over = await exchange(broker.base_url, request("/fhir/metadata?x=" + "a" * 1024))
        assert_outcome(over, 414, "limit.line")
        within = await exchange(broker.base_url, request("/fhir/metadata?x=" + "a" * 900))
        assert within.status == 200


async def a_long_header(valkey: Valkey) -> None:
    async with federation(valkey, limit_header=1024) as broker:
        over = await exchange(broker.base_url, request(LIVE, headers=b"X-A: " + b"a" * 1100 + b"\r\n"))
        assert_outcome(over, 431, "limit.header")
        within = await exchange(broker.base_url, request(LIVE, headers=b"X-A: " + b"a" * 900 + b"\r\n"))
        assert within.status == 200


async def many_headers(valkey: Valkey) -> None:
    async with federation(valkey, limit_headers=16) as broker:
        over = await exchange(broker.base_url, request(LIVE, headers=b"X-A: a\r\n" * 20))
        assert_outcome(over, 431, "limit.headers", "16")
        assert (await exchange(broker.base_url, request(LIVE, headers=b"X-A: a\r\n" * 10))).status == 200


async def a_large_head(valkey: Valkey) -> None:
    async with federation(valkey, limit_line=1024, limit_header=1024, limit_head=4096) as broker:
        lines = [b"X-A: " + b"a" * 900 + b"\r\n"] * 6
        assert_outcome(
            await exchange(broker.base_url, request(LIVE, headers=b"".join(lines))),
            431,
            "limit.headers",
            "4096",
        )
        # The same piece by piece: refused before it is whole.
        reader, writer = await opened(broker)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        for line in lines:
            await asyncio.sleep(0.01)
            writer.write(line)
        assert_outcome(parsed(await rest(reader)), 431, "limit.headers", "4096")
        writer.close()
        assert (await exchange(broker.base_url, request(LIVE, headers=b"".join(lines[:3])))).status == 200


async def a_body_that_unfolds(valkey: Valkey) -> None:
    async with federation(valkey, max_request_bytes=100_000) as broker:
        assert_outcome(await exchange(broker.base_url, form(b"a" * 100_001)), 413, "request.too-large")
        packer = zlib.compressobj(9, wbits=31)
        block = b"0" * (1 << 20)
        bomb = b"".join(packer.compress(block) for _ in range(300)) + packer.flush()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        folded = await exchange(broker.base_url, form(bomb, b"Content-Encoding: gzip\r\n"))
        assert_outcome(folded, 413, "request.too-large")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
        assert grown < 64 << 10, "nothing near the 300 MiB that it unfolds to"


async def a_deep_body(valkey: Valkey) -> None:
    async with federation(valkey, limit_nesting=8) as broker:

        def nested(levels: int) -> bytes:
            inner = b"{}"
            for _ in range(levels - 2):
                inner = b'{"extension":[%b]}' % inner
            return b'{"resourceType":"Organization","extension":[%b]}' % inner

        async def put(body: bytes) -> Raw:
            headers = b"Content-Type: application/fhir+json\r\n"
            return await exchange(
                broker.base_url, request("/fhir/Organization", method="POST", body=body, headers=headers)
            )

        assert_outcome(await put(nested(9)), 400, "limit.nesting", "8")
        assert "limit.nesting" not in (await put(nested(8))).body.decode()


async def many_parameters(valkey: Valkey) -> None:
    async with regions(valkey, size=1, limit_parameters=3) as there:
        base = there.broker.base_url
        over = await exchange(base, form(b"status=active&" * 3 + b"_count=1"))
        assert_outcome(over, 400, "request.too-many-parameters", "3")
        assert (await exchange(base, form(b"status=active&" * 2 + b"_count=1"))).status == 200


async def a_long_parameter(valkey: Valkey) -> None:
    async with regions(valkey, size=1, limit_parameter=256) as there:
        base = there.broker.base_url
        over = await exchange(base, form(b"_count=1&identifier=" + b"a" * 250))
        assert_outcome(over, 400, "limit.parameter", "identifier")
        assert (await exchange(base, form(b"_count=1&identifier=" + b"a" * 240))).status == 200


async def many_includes(valkey: Valkey) -> None:
    async with regions(valkey, size=1, limit_includes=1) as there:
        base = there.broker.base_url
        one = b"_include=CareTeam:subject"
        over = await exchange(base, form(one + b"&_revinclude=CareTeam:participant"))
        assert_outcome(over, 400, "limit.includes", "1")
        assert (await exchange(base, form(one))).status == 200


async def a_large_page(valkey: Valkey) -> None:
    async with regions(valkey, size=5, max_count=2, default_count=2) as there:
        found = await there.broker.bundle("CareTeam?_count=1000")
        assert len(found["entry"]) == 2
        assert link(found, "next") is not None


async def far_includes(valkey: Valkey) -> None:
    async with regions(valkey, size=3, skills=BARE, limit_iterate=1) as there:
        target = "CareTeam?_include:iterate=CareTeam:subject"
        told = outcome_codes(await there.broker.bundle(target))
        assert {key for key, _ in told} == {"manager.include-failed"}
        assert not outcome_codes(await there.broker.bundle("CareTeam?_include=CareTeam:subject"))


async def many_included(valkey: Valkey) -> None:
    async with regions(valkey, size=6, skills=BARE, limit_included=1) as there:
        told = outcome_codes(await there.broker.bundle("CareTeam?_include=CareTeam:subject"))
        assert {key for key, _ in told} == {"manager.include-failed"}
        assert not outcome_codes(await there.broker.bundle("CareTeam?_include=CareTeam:subject&_count=1"))


async def many_pages(valkey: Valkey) -> None:
    async with regions(valkey, size=6, limit_pages=2) as there:
        first, second = await there.broker.pages("CareTeam?_count=2")
        assert not outcome_codes(first)
        assert outcome_codes(second) == [("limit.pages", None)]
        assert len((await there.broker.pages("CareTeam?_count=3"))[-1]["entry"]) == 3, "which say all"


# --- how much is asked


def by_rate(setting: str) -> Case:
    async def asked_too_fast(valkey: Valkey) -> None:
        async with federation(valkey, **{setting: 2.0}) as broker:
            answers = [await broker.get("metadata") for _ in range(2)]
            assert [one.status for one in answers] == [200, 200], "a second's worth may come at once"
            third = await exchange(broker.base_url, request("/fhir/CareTeam"))
            assert_outcome(third, 429, "limit.rate", "2")
            assert third.headers["retry-after"] == "1"
            plain = await exchange(broker.base_url, request("/registry/gestionnaires", headers=b""))
            while plain.status == 429:  # it was held back: by now there may be room
                assert json.loads(plain.body)["type"].endswith("#limit.rate")
                plain = await exchange(broker.base_url, request("/registry/gestionnaires"))
            assert plain.status == 200

    return asked_too_fast


async def many_at_a_time(valkey: Valkey, setting: str) -> None:
    async with regions(valkey, size=3, **{setting: 2}) as there:
        there.faulty.faults.delay = 0.6
        base = there.broker.base_url
        answers = await asyncio.gather(*(exchange(base, request("/fhir/CareTeam")) for _ in range(4)))
        assert sorted(one.status for one in answers) == [200, 200, 429, 429]
        for one in answers:
            if one.status == 429:
                assert_outcome(one, 429, "limit.concurrent", "2")
                assert one.headers["retry-after"] == "1"
        assert (await exchange(base, request("/fhir/CareTeam"))).status == 200


async def many_of_a_client(valkey: Valkey) -> None:
    await many_at_a_time(valkey, "limit_concurrent")


async def many_of_an_address(valkey: Valkey) -> None:
    await many_at_a_time(valkey, "limit_address_concurrent")


def by_connections(setting: str) -> Case:
    async def connected_too_often(valkey: Valkey) -> None:
        async with federation(valkey, **{setting: 3}) as broker:
            held = [await opened(broker) for _ in range(3)]
            await until(lambda: len(connections(broker)) == 3)
            reader, writer = await opened(broker)
            refused = parsed(await rest(reader))
            assert_outcome(refused, 429, "limit.connections", "3")
            assert refused.headers["retry-after"] == "1"
            writer.close()
            held.pop()[1].close()
            await until(lambda: len(connections(broker)) == 2)
            assert (await exchange(broker.base_url, request(LIVE))).status == 200
            for _, one in held:
                one.close()

    return connected_too_often


# --- how slowly


async def a_slow_head(valkey: Valkey) -> None:
    async with federation(valkey, limit_head_seconds=1) as broker:
        silent, slow, dripping = [await opened(broker) for _ in range(3)]
        slow[1].write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        drip = asyncio.create_task(_drip(dripping[1]))
        assert_outcome(parsed(await rest(slow[0])), 408, "limit.slow-head", "1")
        assert_outcome(parsed(await rest(dripping[0])), 408, "limit.slow-head", "1")
        assert await rest(silent[0]) == b"", "to who says nothing nothing is said"
        await drip
        # Between two requests there is no head to wait for: that is what `limit_idle_seconds` is for.
        reader, writer = await opened(broker)
        for _ in range(2):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(1.7)
        for _, one in (silent, slow, dripping, (reader, writer)):
            one.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    """A header without an end, byte by byte, until cut off."""
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    while not writer.is_closing():
        writer.write(b"a")
        await asyncio.sleep(0.05)
        if writer.transport.is_closing():
            return


async def a_slow_body(valkey: Valkey) -> None:
    async with regions(valkey, size=1, limit_body_seconds=1) as there:
        broker = there.broker
        reader, writer = await opened(broker)
        head = f"POST /fhir/CareTeam/_search HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"
        writer.write(head.encode() + b"Content-Length: 1000\r\n\r\nstatus=")
        answer = parsed(await rest(reader))
        assert_outcome(answer, 408, "limit.slow-body", "1")
        assert answer.headers["connection"] == "close"
        writer.close()
        assert (await exchange(broker.base_url, form(b"_count=1"))).status == 200


async def a_slow_reader(valkey: Valkey) -> None:
    large = [{"url": "urn:test:large", "valueString": "x" * 200_000}]
    held = [care_team(f"c{n}", subject="Patient/p1", extension=large) for n in range(60)]
    async with (
        scripted_manager(held, page_size=100) as manager,
        federation(valkey, manager.gestionnaire("bre"), limit_answer_seconds=1) as broker,
    ):
        address = urlsplit(broker.base_url)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        writer.write(b"GET /fhir/CareTeam?_count=60 HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        assert length > 10_000_000
        await until(lambda: not connections(broker), seconds=8)
        assert len(await rest(reader)) < length
        writer.close()
        # Who reads gets all of it, at no great speed either.
        reader, writer = await opened(broker)
        writer.write(request("/fhir/CareTeam?_count=60"))
        assert len(await rest(reader)) > length
        writer.close()


async def an_idle_connection(valkey: Valkey) -> None:
    async with federation(valkey, limit_idle_seconds=1) as broker:
        reader, writer = await opened(broker)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await rest(reader)).startswith(b"HTTP/1.1 200"), "and then the end"
        writer.close()


async def a_large_answer(valkey: Valkey) -> None:
    async with regions(valkey, size=3, max_answer_bytes=100_000) as there:
        there.faulty.faults.gzip_bomb = 64 << 20
        found = await there.broker.bundle("CareTeam")
        assert outcome_codes(found) == [("manager.too-large", "idf")]
        assert len(found["entry"]) == 3, "the others, and what is said"


CASES: dict[str, Case] = {
    "limit_line": a_long_line,
    "limit_header": a_long_header,
    "limit_headers": many_headers,
    "limit_head": a_large_head,
    "max_request_bytes": a_body_that_unfolds,
    "limit_nesting": a_deep_body,
    "limit_parameters": many_parameters,
    "limit_parameter": a_long_parameter,
    "max_count": a_large_page,
    "limit_includes": many_includes,
    "limit_iterate": far_includes,
    "limit_included": many_included,
    "limit_pages": many_pages,
    "limit_rate": by_rate("limit_rate"),
    "limit_concurrent": many_of_a_client,
    "limit_address_rate": by_rate("limit_address_rate"),
    "limit_address_concurrent": many_of_an_address,
    "limit_address_connections": by_connections("limit_address_connections"),
    "limit_connections": by_connections("limit_connections"),
    "limit_head_seconds": a_slow_head,
    "limit_body_seconds": a_slow_body,
    "limit_answer_seconds": a_slow_reader,
    "limit_idle_seconds": an_idle_connection,
    "max_answer_bytes": a_large_answer,
}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.setting)
async def test_a_limit_that_is_passed(limit: object, valkey: Valkey) -> None:
    await CASES[getattr(limit, "setting", "")](valkey)


def test_the_limits_of_the_readme_are_those_of_the_code_and_each_has_its_case() -> None:
    shown = README.partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == limits_table().strip(), (
        "run: .venv/bin/python -m broker.commands.limits_table README.md"
    )
    assert set(CASES) == {limit.setting for limit in LIMITS}
    assert set(LimitSettings.model_fields) <= set(CASES)


async def test_a_handshake_that_does_not_come_ends(tmp_path: Path, valkey: Valkey) -> None:
    files = Files(tmp_path)
    async with secured(
        valkey, None, auth="none", audit="none", limit_head_seconds=1, **files.settings
    ) as broker:
        port = broker.running.settings.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01")
        assert await rest(reader) == b""
        writer.close()
