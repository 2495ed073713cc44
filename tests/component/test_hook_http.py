"""Notifications over real sockets: what is sent, and what is never done."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.abc import ResolveResult
from yarl import URL

from adapters.hook_http import HttpHookClient
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.sync.hook_client import HookError, HookFailure, HookRequest
from tests.support.loopback import SPELT
from tests.support.subscription_world import Subscriber, subscriber


@pytest.fixture
async def client() -> AsyncIterator[HttpHookClient]:
    one = HttpHookClient(AddressRules(LOOPBACK))
    yield one
    await one.aclose()


@pytest.fixture
async def endpoint() -> AsyncIterator[Subscriber]:
    async with subscriber() as one:
        yield one


def a_request(url: str, **headers: str) -> HookRequest:
    return HookRequest(url, {"Content-Type": "application/fhir+json", **headers}, b'{"entry":[]}')


async def failing(client: HttpHookClient, url: str, timeout: float = 2.0) -> HookError:  # noqa: ASYNC109
    with pytest.raises(HookError) as caught:
        await client.post(a_request(url), timeout=timeout)
    return caught.value


async def test_a_notification_arrives_as_it_is(client: HttpHookClient, endpoint: Subscriber) -> None:
    assert await client.post(a_request(endpoint.url, Authorization="Bearer x"), timeout=2) == 200
    assert endpoint.bodies == [{"entry": []}]
    headers = endpoint.headers[0]
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer x", "application/fhir+json")
    assert "Cookie" not in headers


@pytest.mark.parametrize("status", [302, 307, 400, 404, 410, 500, 503])
async def test_what_is_no_success_is_a_failure(
    client: HttpHookClient, endpoint: Subscriber, status: int
) -> None:
    endpoint.status = status
    error = await failing(client, endpoint.url)
    assert (error.kind, error.status) == (HookFailure.STATUS, status)
    assert endpoint.refused == 1, "sent once, and no redirect followed"


async def test_an_endpoint_that_is_slow_is_given_up(client: HttpHookClient, endpoint: Subscriber) -> None:
    endpoint.gate.clear()
    assert (await failing(client, endpoint.url, 0.1)).kind is HookFailure.TIMEOUT


async def test_an_endpoint_that_is_not_there(client: HttpHookClient) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    assert (await failing(client, url)).kind is HookFailure.UNREACHABLE
    assert (await failing(client, "http://nothing.invalid/")).kind is HookFailure.UNREACHABLE


@pytest.mark.parametrize("host", SPELT)
async def test_what_leads_inside_is_not_called(endpoint: Subscriber, host: str) -> None:
    client = HttpHookClient(AddressRules())
    try:
        port = URL(endpoint.url).port
        error = await failing(client, f"http://{host}:{port}/hook")
        # Odd spellings of an address may be refused as no host at all.
        assert error.kind in (HookFailure.ADDRESS, HookFailure.UNREACHABLE)
        assert endpoint.bodies == []
    finally:
        await client.aclose()


async def test_a_name_that_leads_inside_is_not_called(
    endpoint: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []

    async def inside(
        self: object, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        looked_up.append(host)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
            for address in ("10.0.0.1", "127.0.0.1")
        ]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", inside)
    port = URL(endpoint.url).port
    client, allowed = HttpHookClient(AddressRules()), HttpHookClient(AddressRules(LOOPBACK))
    try:
        assert (await failing(client, f"http://hooks.example:{port}/hook")).kind is HookFailure.ADDRESS
        assert await allowed.post(a_request(f"http://hooks.example:{port}/hook"), timeout=2) == 200
        assert looked_up == ["hooks.example", "hooks.example"]
    finally:
        await client.aclose()
        await allowed.aclose()


async def test_an_answer_is_not_read_for_ever(client: HttpHookClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                await writer.drain()
        except OSError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await client.post(a_request(f"http://127.0.0.1:{port}/"), timeout=10) == 200


async def test_how_long_to_wait_is_read(client: HttpHookClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failing(client, f"http://127.0.0.1:{port}/")
    assert (error.status, error.retry_after) == (503, 120)
