"""`cds-broker audit tail|verify`, as typed, over the trail of a broker in processes of its own: two workers, faults,
tampering."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from adapters.audit.segments import segments
from adapters.sandbox.app import running_sandbox
from broker.commands.audit import app
from tests.support.audited import codes, events, objects
from tests.support.broker_process import Program, broker_program
from tests.support.cli_process import cli, worker_of
from tests.support.fhir_builders import care_team, patient
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

FHIR = {"Content-Type": "application/fhir+json", "X-Gestionnaire": "bre"}


@dataclass
class World:
    program: Program
    directory: Path
    redis_url: str

    @property
    def trail(self) -> Path:
        return self.directory / "audit"

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """In this process, but for what it is about: a process for each would take seconds to begin."""
        runner = CliRunner(env={**self.program.environment, "COLUMNS": "200", "LC_ALL": "C.UTF-8"})
        done = await asyncio.to_thread(runner.invoke, app, list(arguments))
        return done.exit_code, done.stdout, done.stderr

    async def verified(self, *arguments: str) -> tuple[int, Any]:
        code, said, _ = await self.command("verify", "--json", *arguments)
        return code, json.loads(said)

    async def get(self, target: str) -> int:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.program.base_url}/{target}") as response,
        ):
            await response.read()
            return response.status


@pytest.fixture
async def world(own_valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[World]:
    held = [patient("p1"), care_team("c1", identifier="1", subject="Patient/p1")]
    async with running_sandbox(held) as box:
        file = tmp_path / "gestionnaires.toml"
        file.write_text(
            f'[[gestionnaire]]\nid = "bre"\nname = "Bretagne"\nregion = "53"\nbase_url = "{box.base_url}"\n'
            'dialect = "gestionnaire"\n'
        )
        directory = tmp_path / "data"
        settings = {"locator": "false", "sync": "false", "audit_timeout": "5"}
        program = broker_program(file, own_valkey.url, directory, **settings)
        try:
            yield World(program, directory, own_valkey.url)
        finally:
            await program.gone()


async def test_tail_shows_who_looked_at_whom(world: World) -> None:
    await world.program.start()
    for _ in range(3):
        assert await world.get("CareTeam/bre.c1") == 200
    await world.get("CareTeam/bre.absent")
    code, said, _ = await world.command("tail", "--json", "-n", "2")
    assert code == 0
    shown = [json.loads(line) for line in said.splitlines()]
    assert [one["outcome"] for one in shown] == ["0", "4"]
    assert all(one["resourceType"] == "AuditEvent" for one in shown)
    code, said, _ = await world.command("tail", "--person", "Patient/bre.p1")
    assert code == 0
    assert said.count("bre.p1") == 3
    assert "local" in said
    async with cli(
        "audit", "tail", "--follow", "--json", "-n", "0", environment=world.program.environment
    ) as tail:
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            while not tail.stdout:
                await world.get("CareTeam/bre.c1")
                await asyncio.sleep(0.2)
        assert json.loads(tail.stdout[0])["subtype"][0]["code"] == "read"
    nothing = {**world.program.environment, "CDS_DATA_DIR": "/nonexistent"}
    async with cli("audit", "tail", environment=nothing) as process:
        assert await process.ended() == 1
    assert "Traceback" not in "".join(process.stderr)
    assert process.stderr


async def test_two_workers_one_killed_one_trail_whole(world: World) -> None:
    world.program.arguments = (*world.program.arguments, "--workers", "2")
    await world.program.start()
    running = world.program._running
    assert running is not None
    await running.line("serving http", count=2)

    async def asked() -> None:
        while len({one.stream for one in segments(world.trail)}) < 2:
            assert await world.get("CareTeam/bre.c1") == 200

    async with asyncio.timeout(30):
        await asked()
    victim = worker_of(await running.line("serving http"))
    os.kill(victim, signal.SIGKILL)
    await running.line("serving http", count=3)
    for _ in range(10):
        assert await world.get("CareTeam/bre.c1") == 200
    assert await world.program.stopped() == 0
    code, report = await world.verified()
    assert (code, report["intact"], report["heads_compared"]) == (0, True, True), report
    assert len(report["streams"]) in (2, 3)  # whoever comes next takes the first place that is free
    assert sum(one["records"] for one in report["streams"]) >= 12


def changed(lines: list[bytes]) -> list[bytes]:
    lines[2] = lines[2].replace(b'"outcome":"0"', b'"outcome":"4"')
    return lines


def cut(lines: list[bytes]) -> list[bytes]:
    return lines[:-2]


def removed(lines: list[bytes]) -> list[bytes]:
    return lines[:3] + lines[4:]


def reordered(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def torn(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:-40]]


TAMPERING = [
    (changed, "changed", 3, 3),
    (removed, "removed", 4, 4),
    (reordered, "moved", 2, 2),
    (torn, "cut", 6, 6),
    (cut, "cut", 5, 6),
]


async def test_tampering_is_found_with_its_place(world: World) -> None:
    await world.program.start()
    for _ in range(6):
        await world.get("CareTeam/bre.c1")
    await asyncio.wait_for(_headed(world), 20)
    await world.program.stopped()
    assert (await world.verified())[0] == 0
    (segment,) = segments(world.trail)
    held = segment.path.read_bytes().splitlines(keepends=True)
    for tamper, flaw, first, last in TAMPERING:
        segment.path.write_bytes(b"".join(tamper([*held])))
        code, report = await world.verified()
        assert code == 1, flaw
        (found,) = report["findings"]
        assert (found["flaw"], found["first"], found["last"]) == (flaw, first, last)
        assert (found["place"], found["stream"]) == (segment.name, segment.stream)
    _, said, _ = await world.command("verify")
    assert "The trail is not whole." in said
    await world.program.start()  # what is cut stays missing, whoever writes on
    await world.get("CareTeam/bre.c1")
    await world.program.stopped()
    code, report = await world.verified()
    assert code == 1
    assert [(one["flaw"], one["first"], one["last"]) for one in report["findings"]] == [("removed", 5, 6)]
    for one in segments(world.trail):
        one.path.unlink()
    code, report = await world.verified()
    assert code == 1
    assert [(one["flaw"], one["first"]) for one in report["findings"]] == [("missing", 1)]


async def _headed(world: World) -> None:
    """Until the store knows the last line: the keeper's next second."""
    from registry.audit_heads import RedisAuditHeads
    from registry.redis_connection import connect

    client = connect(world.redis_url)
    try:
        while True:
            heads = await RedisAuditHeads(client).load()
            if heads and max(head.seq for head in heads.values()) >= 6:
                return
            await asyncio.sleep(0.05)
    finally:
        await client.aclose()


async def test_the_store_away_is_said_and_stops_nothing(world: World, own_valkey: ValkeyServer) -> None:
    await world.program.start()
    await world.get("CareTeam/bre.c1")
    await asyncio.to_thread(own_valkey.kill)
    await world.get("CareTeam/bre.c1")
    await world.get("CareTeam/bre.c1")
    running = world.program._running
    assert running is not None
    await running.line("heads of the audit trail cannot be stored")
    assert len(events(world.trail)) == 3
    code, said, complaint = await world.command("verify", "--json")
    assert code == 0
    assert json.loads(said)["heads_compared"] is False
    assert "store does not answer" in complaint
    await asyncio.to_thread(own_valkey.restart)
    await running.line("stored again")


async def test_on_a_full_disk_nothing_is_given_and_what_was_done_is_answered_truly(world: World) -> None:
    await world.program.start()
    running = world.program._running
    assert running is not None
    pid = running.process.pid
    assert await world.get("CareTeam/bre.c1") == 200
    (segment,) = segments(world.trail)
    full = segment.path.stat().st_size + 100
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    body = patient("ignored", ins="260096999999965")
    del body["id"]
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{world.program.base_url}/Patient", json=body, headers=FHIR) as response,
    ):
        assert response.status == 201
        made = response.headers["Location"].partition("/_history")[0]
    # The sink is known to fail now. A small record would fit into a new segment: none may.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    assert await world.get("CareTeam/bre.c1") == 503
    assert await world.get("CareTeam/bre.c1") == 503
    assert await world.get("metadata") == 200
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    async def again() -> bool:
        return await world.get("CareTeam/bre.c1") == 200

    await until(again, seconds=20)
    # A read that finds out: it was done, and is not handed out.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    async with aiohttp.ClientSession() as http, http.get(f"{world.program.base_url}/CareTeam") as response:
        assert response.status == 503
        assert "audit.unavailable" in await response.text()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await until(again, seconds=20)
    assert await world.program.stopped() == 0
    found = events(world.trail)
    assert codes(found)[:3] == ["read", "create", "audit-interrupted"]
    assert objects(found[1]) == [made]
    assert (await world.verified())[1]["intact"]


async def test_a_directory_that_cannot_be_used_is_said_at_the_start(world: World) -> None:
    environment = {**world.program.environment, "CDS_AUDIT_DIR": "/dev/null/audit"}
    async with cli(*world.program.arguments, environment=environment) as process:
        assert await process.ended() == 2
    assert "CDS_AUDIT_DIR" in "\n".join(process.stderr)
