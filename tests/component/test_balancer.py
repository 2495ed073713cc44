"""What HAProxy hands on with `deploy/haproxy.cfg` is what the broker takes for the client: its certificate and address."""

from __future__ import annotations

import ssl
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest

from broker.gateway.peer import Peers
from tests.support.balancer import balancing, haproxy_or_skip
from tests.support.certificates import Authority

pytestmark = pytest.mark.haproxy


async def test_the_client_behind_the_balancer_is_known_by_its_certificate(tmp_path: Path) -> None:
    haproxy_or_skip()
    peers = Peers((ip_network("127.0.0.1/32"),))
    found: list[tuple[bytes | None, str]] = []

    async def heard(request: aiohttp.web.Request) -> aiohttp.web.Response:
        if request.path == "/asked":
            found.append((peers.certificate(request), peers.address(request)))
        return aiohttp.web.Response()

    app = aiohttp.web.Application()
    app.router.add_get("/{path:.*}", heard)
    runner = aiohttp.web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    authority = Authority("those of the clients")
    client = authority.client("a client")
    files = authority.server().written(tmp_path / "server.pem"), authority.written(tmp_path / "ca.pem")
    try:
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with balancing(tmp_path, (port, port), tls=files) as base_url:
            address = base_url.replace("/fhir", "/asked")
            forged = {"X-SSL-Client-Cert": "forged", "X-Forwarded-For": "192.0.2.1"}
            for shown in (client.written(tmp_path / "client.pem"), None):
                assert await status(address, trusting(files[1], shown), forged) == 200
            metrics = base_url.replace("/fhir", "/metrics")
            assert await status(metrics, trusting(files[1], None), {}) == 403
    finally:
        await runner.cleanup()
    assert found == [(client.der, "127.0.0.1"), (None, "127.0.0.1")]


def trusting(authority: Path, shown: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    if shown is not None:
        context.load_cert_chain(shown)
    return context


async def status(url: str, tls: ssl.SSLContext, headers: dict[str, str]) -> int:
    """Over a connection of its own."""
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True)
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector) as http,
        http.get(url) as answer,
    ):
        return answer.status
