"""What a container engine asks with: a good answer is 0, anything else 1."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp.web
import pytest

from broker.commands.healthcheck import address, main
from tests.support.certificates import Authority


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, "http://127.0.0.1:8080/health/ready"),
        ({"CDS_HOST": "0.0.0.0", "CDS_PORT": "9000"}, "http://127.0.0.1:9000/health/ready"),
        ({"CDS_HOST": "::", "CDS_TLS_CERT": "/tls.pem"}, "https://[::1]:8080/health/ready"),
        ({"CDS_HOST": "10.1.2.3", "CDS_PORT": ""}, "http://10.1.2.3:8080/health/ready"),
    ],
)
def test_it_asks_where_the_settings_say(environment: Mapping[str, str], asked: str) -> None:
    assert address(environment) == asked


@asynccontextmanager
async def answering(status: int, tls: Path | None = None) -> AsyncIterator[int]:
    async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(status=status if request.path == "/health/ready" else 404)

    context = None
    if tls is not None:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
    app = aiohttp.web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = aiohttp.web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (301, 1)])
async def test_what_is_answered_is_the_exit_code(status: int, code: int) -> None:
    async with answering(status) as port:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker.commands.healthcheck"), env={"CDS_PORT": str(port)}
        )
        assert await process.wait() == code


async def test_by_tls_too(tmp_path: Path) -> None:
    certificate = Authority("of the broker").server().written(tmp_path / "server.pem")
    async with answering(200, certificate) as port:
        assert await asyncio.to_thread(main, [f"https://127.0.0.1:{port}/health/ready"]) == 0


def test_nobody_there_is_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert main([f"http://127.0.0.1:{port}/health/ready"]) == 1


def test_it_imports_nothing_of_the_broker() -> None:
    script = "import sys, broker.commands.healthcheck; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    own = {name for name in run.stdout.split() if name.split(".")[0] in ("broker", "adapters", "registry")}
    assert own == {"broker", "broker.commands", "broker.commands.healthcheck"}
    assert "aiohttp" not in run.stdout.split()
