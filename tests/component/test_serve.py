"""`cds-broker serve` as a process: how it starts, what it refuses, what signals do, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest

from adapters.clock import SystemClock
from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.seed import seed_region
from broker.commands.demo_probe import ids
from tests.support.cli_process import CliProcess, below, cli, runs, worker_of
from tests.support.waiting import until

OPEN = {"CDS_AUTH": "none"}


@asynccontextmanager
async def serving(directory: Path, *arguments: str, **settings: str) -> AsyncIterator[tuple[CliProcess, str]]:
    """A broker on a free port with its own data, and its base address. `settings`: in lower case, without CDS_."""
    environment = OPEN | {"CDS_DATA_DIR": str(directory / "data")}
    environment |= {f"CDS_{name.upper()}": value for name, value in settings.items()}
    async with cli("serve", "--port", "0", *arguments, environment=environment) as process:
        try:
            line = await process.line("serving http")
            address = re.search(r"http://[^\s\"]+", line)
            assert address is not None
            yield process, address[0]
        finally:
            if process.process.returncode is None:
                process.signal(signal.SIGTERM)
                await process.ended()


@pytest.fixture
async def region() -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(seed_region("53", 3, clock=SystemClock())) as box:
        yield box


def declare(path: Path, *managers: tuple[str, str]) -> Path:
    """A Gestionnaires file of (slug, address)."""
    tables = [
        f'[[gestionnaire]]\nid = "{slug}"\nname = "{slug}"\nregion = "53"\nbase_url = "{url}"\n'
        for slug, url in managers
    ]
    path.write_text("\n".join(tables))
    return path


async def circles(base_url: str) -> list[str]:
    """Public ids, over a connection of its own: with several workers, any may answer."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
        http.get(f"{base_url}/CareTeam") as answer,
    ):
        body = await answer.json(content_type=None)
        return ids(body) if answer.status == 200 else []


async def test_it_serves_what_the_file_names_and_ends_in_order(
    tmp_path: Path, region: RunningSandbox
) -> None:
    file = declare(tmp_path / "g.toml", ("bre", region.base_url))
    async with serving(tmp_path, "--gestionnaires", str(file)) as (process, base_url):
        assert await circles(base_url) == [f"bre.{one}" for one in await own_order(region)]
        store = int((tmp_path / "data/valkey/valkey.pid").read_text())
        assert runs(store)
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
        assert not runs(store), "the embedded store outlived its broker"
    assert not [line for line in process.stderr if "Traceback" in line], process.stderr


async def own_order(region: RunningSandbox) -> list[str]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{region.base_url}/CareTeam?_sort=-_lastUpdated,_id") as answer,
    ):
        return ids(await answer.json(content_type=None))


async def test_sighup_reads_the_file_again(tmp_path: Path, region: RunningSandbox) -> None:
    file = declare(tmp_path / "g.toml")
    async with serving(tmp_path, "--gestionnaires", str(file)) as (process, base_url):
        assert await circles(base_url) == []
        declare(file, ("bre", region.base_url))
        process.signal(signal.SIGHUP)

        async def seen() -> bool:
            return len(await circles(base_url)) == 3

        await until(seen, seconds=20)
        file.write_text("[[gestionnaire]]\nid = 'No slug'\n")
        process.signal(signal.SIGHUP)
        await process.line("not taken over")
        assert len(await circles(base_url)) == 3, "a wrong file took what the right one gave"


async def test_workers_share_a_port_and_one_that_dies_is_replaced(
    tmp_path: Path, region: RunningSandbox
) -> None:
    file = declare(tmp_path / "g.toml", ("bre", region.base_url))
    async with serving(tmp_path, "--gestionnaires", str(file), "--workers", "2") as (process, base_url):
        await process.line("serving http", count=2)
        first = {worker_of(await process.line("serving http", count=number)) for number in (1, 2)}
        assert len(first) == 2
        assert first <= set(below(process.process.pid))
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        again = worker_of(await process.line("serving http", count=3))
        assert again not in first
        for _ in range(8):
            assert len(await circles(base_url)) == 3
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert not any(runs(one) for one in (*first, again))


async def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    async with serving(tmp_path, "--workers", "2") as (process, _):
        await process.line("serving http", count=2)
        workers = {worker_of(line) for line in process.stderr if "serving http" in line}
        process.signal(signal.SIGKILL)
        await process.ended()
        await until(lambda: not any(map(runs, workers)), seconds=20)
    # What a killed broker leaves running, the next one on the same directory finds, and stops.
    async with serving(tmp_path) as (process, _):
        store = int((tmp_path / "data/valkey/valkey.pid").read_text())
    assert not runs(store)


async def test_running_requests_are_finished_before_the_end(tmp_path: Path) -> None:
    async with slow_manager(seconds=1.0) as (url, asked):
        file = declare(tmp_path / "g.toml", ("slow", url))
        async with serving(tmp_path, "--gestionnaires", str(file)) as (process, base_url):
            asked.clear()
            async with aiohttp.ClientSession() as http:
                request = asyncio.create_task(status(http, f"{base_url}/CareTeam/slow.1"))
                await asyncio.wait_for(asked.wait(), 20)
                process.signal(signal.SIGTERM)
                assert await request == 200
            assert await process.ended() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_says_not_ready_first_and_goes_on_answering(tmp_path: Path, workers: int) -> None:
    async with slow_manager(seconds=0.0) as (url, _):
        file = declare(tmp_path / "g.toml", ("quick", url))
        arguments = ("--gestionnaires", str(file), "--workers", str(workers))
        async with serving(tmp_path, *arguments, drain="60") as (process, base_url):
            await process.line("serving http", count=workers)
            ready = base_url.replace("/fhir", "/health/ready")
            async with aiohttp.ClientSession() as http:
                assert await status(http, ready) == 200
                process.signal(signal.SIGTERM)
                await process.line("draining", count=workers)
                async with http.get(ready) as answer:
                    assert answer.status == 503
                async with http.get(f"{base_url}/CareTeam/quick.1") as answer:
                    assert answer.status == 200
                    assert answer.headers["Connection"] == "close"
            process.signal(signal.SIGTERM)  # a second one waits for nobody
            assert await process.ended() == 0


async def test_as_json_each_request_is_one_line_of_route_status_time_and_ids(
    tmp_path: Path, region: RunningSandbox
) -> None:
    file = declare(tmp_path / "g.toml", ("bre", region.base_url))
    async with serving(tmp_path, "--gestionnaires", str(file), log_format="json") as (process, base_url):
        async with aiohttp.ClientSession(headers={"X-Request-Id": "abc-1"}) as http:
            for path in ("CareTeam?patient.identifier=295109912611193", "CareTeam/bre.none", "Nothing/1"):
                await status(http, f"{base_url}/{path}")
            await status(http, base_url.replace("/fhir", "/health/ready"))
        process.signal(signal.SIGTERM)
        await process.ended()
    lines = [json.loads(line) for line in process.stderr]
    told = [line for line in lines if line["event"] == "request"]
    assert [(one["method"], one["route"], one["status"]) for one in told] == [
        ("GET", "/fhir/{type}", 200),
        ("GET", "/fhir/{type}/{id}", 404),
        ("GET", "/fhir/{type}/{id}", 404),
    ]
    for one in told:
        assert one["request_id"] == "abc-1"
        assert one["client"] == "local"
        assert 0 < one["ms"] < 60_000
    assert all({"time", "level", "logger", "pid", "event", "message"} <= line.keys() for line in lines)
    assert "295109912611193" not in "".join(process.stderr)


async def status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        await answer.read()
        return answer.status


@asynccontextmanager
async def slow_manager(*, seconds: float) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Holds one circle, `1`, and takes its time to give it. The event: it has been asked for that circle."""
    asked = asyncio.Event()

    async def read(request: aiohttp.web.Request) -> aiohttp.web.Response:
        asked.set()
        await asyncio.sleep(seconds)
        body = {"resourceType": "CareTeam", "id": "1", "meta": {"versionId": "1"}, "status": "active"}
        return aiohttp.web.json_response(body, content_type="application/fhir+json")

    app = aiohttp.web.Application()
    app.router.add_get("/fhir/CareTeam/1", read)
    runner = aiohttp.web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/fhir", asked
    finally:
        await runner.cleanup()


async def test_a_file_that_is_not_there_is_one_sentence_and_2(tmp_path: Path) -> None:
    environment = OPEN | {"CDS_DATA_DIR": str(tmp_path)}
    arguments = ("serve", "--port", "0", "--gestionnaires", "/nonexistent.toml")
    async with cli(*arguments, environment=environment) as process:
        assert await process.ended() == 2
    said = [line for line in process.stderr if line.startswith("cds-broker: ")]
    assert len(said) == 1
    assert "/nonexistent.toml" in said[0]
    assert not any("Traceback" in line for line in process.stderr)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_taken_port_is_said(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = OPEN | {"CDS_DATA_DIR": str(tmp_path), "LC_ALL": "fr_FR.UTF-8"}
        async with cli("serve", "--port", port, "--workers", workers, environment=environment) as process:
            assert await process.ended() == 2
    assert process.stderr[-1] == (
        f"cds-broker: Le port {port} de 127.0.0.1 est déjà pris : choisissez-en un autre par --port."
    )


async def test_logs_hold_nothing_of_a_request(tmp_path: Path, region: RunningSandbox) -> None:
    file = declare(tmp_path / "g.toml", ("bre", region.base_url))
    async with serving(tmp_path, "--gestionnaires", str(file)) as (process, base_url):
        async with aiohttp.ClientSession() as http:
            for path in ("CareTeam?patient.identifier=295109912611193", "CareTeam/bre.295109912611193"):
                await status(http, f"{base_url}/{path}")
            form = {"patient.identifier": "295109912611193"}
            async with http.post(f"{base_url}/CareTeam/_search", data=form) as answer:
                assert answer.status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base_url.split(":")[2].split("/")[0]))
        writer.write(b"GET /fhir/CareTeam?x=295109912611193 nonsense\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        process.signal(signal.SIGTERM)
        await process.ended()
    assert process.stderr
    assert not [line for line in process.stderr if "295109912611193" in line]
