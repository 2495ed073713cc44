"""`cds-broker demo`: what it shows works, its check can fail, and nothing is left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from rich.console import Console

from adapters.clock import SystemClock
from broker.commands import demo_check
from broker.commands.demo_check import CHECKS, Check
from broker.commands.demo_federation import Demo, running_demo
from broker.commands.demo_held import Held, made_public, read_held
from broker.commands.demo_probe import Answer, CheckFailedError, Probe, ids
from broker.commands.demo_sync import subscription, sync_suggestions, working_agent
from broker.commands.demo_writes import JOINED, bodies, writing_suggestions
from tests.support.cli_process import below, cli, runs
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FHIR_JSON = {"Content-Type": "application/fhir+json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo() -> AsyncIterator[Demo]:
    async with (
        running_demo(5, port=0, tell=lambda _fr, _en: None, deadline=2.0, probe_interval=1.0) as running,
        working_agent(running.settings, running.redis_url, running.managers[1]),
    ):
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def probe(demo: Demo) -> AsyncIterator[Probe]:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        yield Probe(demo, await read_held(demo), http, SystemClock())


def doctored(probe: Probe, kind: str, change: dict[str, object]) -> Probe:
    """The probe, told that the first manager holds something else than it does."""
    slug = probe.home
    held: Held = {
        of: {one: {**resource, **change} if of == kind else resource for one, resource in resources.items()}
        for of, resources in probe.held[slug].items()
    }
    return dataclasses.replace(probe, held={**probe.held, slug: held})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.en)
async def test_every_flux_holds(probe: Probe, check: Check) -> None:
    # In the order of the table: a region that hangs, until its return, is one story; the writes come last.
    assert await check.run(probe)


@pytest.mark.parametrize(
    ("name", "kind", "change"),
    [
        ("Search by GET and POST", "CareTeam", {"status": "suspended"}),
        ("Date criteria", "CareTeam", {"period": {"start": "1999-01-01"}}),
        ("_sort", "CareTeam", {"period": {"start": "1999-01-01"}}),
        ("_include, :iterate", "CareTeam", {"subject": {"reference": "Patient/patient-9"}}),
        ("Read", "Patient", {"gender": "unknown"}),
        ("Search, every page", "CareTeam", {"meta": {"lastUpdated": "1999-01-01T00:00:00Z"}}),
    ],
)
async def test_a_check_fails_where_the_broker_tells_something_else(
    probe: Probe, name: str, kind: str, change: dict[str, object]
) -> None:
    check = next(one for one in CHECKS if one.en == name)
    now = dataclasses.replace(probe, held=await read_held(probe.demo))  # the writes are there too
    assert await check.run(now)
    with pytest.raises(CheckFailedError):
        await check.run(doctored(now, kind, change))


@pytest.mark.parametrize("name", [check.en for check in CHECKS if check.en.startswith(("1", "4"))])
async def test_a_check_of_a_write_fails_where_the_manager_holds_something_else(
    probe: Probe, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked of a manager itself comes back altered."""

    async def altered(this: Probe, method: str, path: str, **more: Any) -> Answer:
        answer = await send(this, method, path, **more)
        if not path.startswith("http"):
            return answer
        seen = answer.json | {"meta": {"versionId": "0"}, "status": "proposed"}
        return dataclasses.replace(answer, body=orjson.dumps(seen))

    send = Probe.send
    monkeypatch.setattr(Probe, "send", altered)
    check = next(one for one in CHECKS if one.en == name)
    with pytest.raises(CheckFailedError):
        await check.run(probe)


async def test_the_bodies_of_the_suggested_writes_are_what_the_broker_takes(probe: Probe) -> None:
    joined = probe.held[probe.home]["CareTeam"][JOINED]
    public = made_public(joined, probe.home) | {"id": f"{probe.home}.{JOINED}"}
    made = bodies(public)
    assert set(made) == {"patient", "circle", "creation", "update"}
    answer = await probe.send("POST", "/fhir", body=made["update"], headers=FHIR_JSON)
    assert answer.status == 200, answer.body
    shown = writing_suggestions(probe.demo, Path("/bodies"), "2")
    assert [en.partition(":")[0] for (_, en), _ in shown] == ["1a", "1b", "1c", "4a", "4b", "4c"]


async def test_what_is_suggested_of_synchronisation_is_what_the_broker_takes(
    demo: Demo, tmp_path: Path
) -> None:
    shown = sync_suggestions(demo, tmp_path, "urn:example|1")
    assert len(shown) == 3
    sent = orjson.loads((tmp_path / "subscription.json").read_bytes())
    assert sent == subscription(demo)
    assert str(tmp_path) in shown[0][1]


async def test_the_writes_of_the_readme_are_done(demo: Demo) -> None:
    """As they stand there, on another port, with the id that the first one answers."""
    text = Path(__file__).parents[2].joinpath("README.md").read_text()
    commands = text.partition("## Writing")[2].partition("```sh\n")[2].partition("```")[0]
    commands = commands.replace("http://127.0.0.1:8080/fhir", demo.base_url)
    beginning, second, rest = commands.partition("# 1b")
    assert rest
    actors = await shell(beginning)
    assert [status for status, _ in actors] == [201, 201]
    person = re.search(r"/Patient/([^/]+)/", actors[0][1])
    assert person is not None
    setting = beginning.partition("\n")[0] + "\n"
    written = await shell(setting + second + rest.replace("Patient/PATIENT", f"Patient/{person[1]}"))
    assert [status for status, _ in written] == [201, 200, 200, 200, 200]
    again = await shell(setting + second + rest.replace("Patient/PATIENT", f"Patient/{person[1]}"))
    assert [status for status, _ in again] == [
        201,
        409,
        200,
        412,
        200,
    ]  # the key; a second circle; a stale version


async def test_the_subscriptions_of_the_readme_are_taken(demo: Demo) -> None:
    text = Path(__file__).parents[2].joinpath("README.md").read_text()
    commands = text.partition("## Synchronising")[2].partition("```sh\n")[2].partition("```")[0]
    assert "$status" in commands
    made = await shell(commands.replace("http://127.0.0.1:8080/fhir", demo.base_url))
    assert [status for status, _ in made] == [201, 201]


async def shell(commands: str) -> list[tuple[int, str]]:
    """Status and head of each answer that the commands show."""
    process = await asyncio.create_subprocess_exec("bash", "-c", commands, stdout=asyncio.subprocess.PIPE)
    shown, _ = await process.communicate()
    heads = re.findall(r"HTTP/1\.1 (\d{3})(.*?)\r\n\r\n", shown.decode(), re.DOTALL)
    return [(int(status), head) for status, head in heads]


async def test_the_table_says_what_failed(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(_probe: Probe) -> str:
        raise CheckFailedError("[a] was expected")

    async def broken(_probe: Probe) -> str:
        raise KeyError("entry")

    async def right(_probe: Probe) -> str:
        return "as it should"

    checks = (Check("Faux", "Wrong", wrong), Check("Cassé", "Broken", broken), Check("Bon", "Right", right))
    monkeypatch.setattr(demo_check, "CHECKS", checks)
    console = Console(record=True, width=100, file=io.StringIO())
    assert not await demo_check.check_everything(demo, console)
    shown = console.export_text()
    assert re.search(r"Wrong.*FAILED.*\[a\] was expected", shown)
    assert re.search(r"Broken.*FAILED.*KeyError", shown)
    assert re.search(r"Right.*ok.*as it should", shown)
    assert "1 of 3 hold." in shown
    monkeypatch.setattr(demo_check, "CHECKS", checks[2:])
    assert await demo_check.check_everything(demo, console)


async def test_ctrl_c_ends_it_all() -> None:
    async with cli("demo", "--managers", "2", "--port", "0") as process:
        line = await process.line("all people are made up")
        url = re.search(r"http://\S+/fhir", line)
        assert url is not None
        started = below(process.process.pid)
        async with aiohttp.ClientSession() as http, http.get(f"{url[0]}/CareTeam?_count=50") as answer:
            assert len(ids(await answer.json(content_type=None))) > 20
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
        assert len(started) >= 3  # two managers and the store
        assert not [one for one in started if runs(one)]
    assert not process.stderr


async def test_a_manager_that_hangs_does_not_hold_the_end_up() -> None:
    async with cli("demo", "--managers", "2", "--port", "0") as process:
        line = await process.line("kill -STOP")
        found = re.search(r"kill -STOP (\d+)", line)
        assert found is not None
        await process.line("all people are made up")
        manager = int(found[1])
        os.kill(manager, signal.SIGSTOP)
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert not runs(manager)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


async def test_managers_end_with_a_demonstration_that_was_killed(tmp_path: Path) -> None:
    # Nobody tidies up after a process that was killed: what it leaves is left where the tests' own files go.
    temporary = {"TMPDIR": str(tmp_path)}
    async with cli("demo", "--managers", "2", "--port", "0", environment=temporary) as process:
        await process.line("all people are made up")
        started = [one for one in below(process.process.pid) if "demo_manager" in command_of(one)]
        assert len(started) == 2
        store = [one for one in below(process.process.pid) if "valkey" in command_of(one)]
        process.signal(signal.SIGKILL)
        await process.ended()
        await until(lambda: not any(map(runs, started)), seconds=20)
        for one in store:
            os.kill(one, signal.SIGKILL)  # kept for the next broker on its directory, of which there is none


async def test_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with cli("demo", "--port", port) as process:
            assert await process.ended() == 2
    assert process.stderr == [
        f"cds-broker: Port {port} of 127.0.0.1 is already taken: choose another with --port."
    ]
