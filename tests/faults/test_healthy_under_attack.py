"""A healthy client while others attack: slow senders, a flood, a manager of huge answers. A real broker, real processes.

In `make test` it is asked whether the healthy one was served and the others were refused. What it costs the healthy one is
measured by `make soak`: its 99th percentile under attack against that of calm, taken in the same run.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.attackers import SLOW
from tests.support.broker_process import Program, broker_program, sandbox_program
from tests.support.federation import outcome_codes
from tests.support.issuer import AUDIENCE, issuer
from tests.support.valkey import Valkey

DEADLINE = 5.0
RATE = 20
CONNECTIONS = 100
TURNS, TURN = 5, 6.0  # how often, and for how many seconds each
_MEMORY = 250 << 10  # KiB; three times what a worker has after its start

CLIENTS = f"""
[[client]]
id = "calm"
scopes = ["system/*.cruds"]
managers = ["bre", "occ"]

[[client]]
id = "flood"
scopes = ["system/*.cruds"]
managers = ["bre", "occ"]
rate = {RATE}

[[client]]
id = "curious"
scopes = ["system/*.cruds"]
rate = 10
"""


@dataclass
class Attacked:
    """`port`: of the broker. `tokens`: by client."""

    broker: Program
    port: int
    tokens: dict[str, str]

    async def asked(self, http: aiohttp.ClientSession, client: str, target: str) -> tuple[int, Any, float]:
        headers = {"Authorization": f"Bearer {self.tokens[client]}"}
        begun = time.monotonic()
        async with http.get(f"http://127.0.0.1:{self.port}/fhir/{target}", headers=headers) as answer:
            body = await answer.json(content_type=None)
            return answer.status, body, time.monotonic() - begun

    async def attack(self, kind: str, seconds: float, client: str = "flood") -> dict[str, int]:
        """Run one to its end; what became of it."""
        said = {"kind": kind, "port": self.port, "seconds": seconds, "token": self.tokens[client]}
        process = await _process(said)
        try:
            output, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        outcomes: dict[str, int] = json.loads(output)
        return outcomes

    @property
    def memory(self) -> int:
        """KiB that the broker's process holds."""
        running = self.broker._running
        assert running is not None
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


async def _process(argument: dict[str, Any]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.attackers",
        json.dumps(argument),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def attacked(valkey: Valkey, directory: Path) -> AsyncIterator[Attacked]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(issuer())
        huge = await _process({"kind": "huge"})
        stack.push_async_callback(huge.wait)
        stack.callback(huge.kill)
        boxes = [sandbox_program(region) for region in ("53", "76")]
        for box in boxes:
            stack.push_async_callback(box.gone)
        await asyncio.gather(*(box.start() for box in boxes))
        assert huge.stdout is not None
        said = await asyncio.wait_for(huge.stdout.readline(), 60)
        bases = {"bre": boxes[0].base_url, "occ": boxes[1].base_url, "idf": json.loads(said)["base_url"]}
        file, clients = directory / "gestionnaires.toml", directory / "clients.toml"
        file.write_text("".join(map(_declared, bases, bases.values(), ("53", "76", "11"))), encoding="utf-8")
        clients.write_text(CLIENTS, encoding="utf-8")
        broker = broker_program(
            file,
            valkey.url,
            directory,
            redis_prefix=valkey.keys.prefix,
            auth="oidc",
            oidc_issuer=one.url,
            oidc_audience=AUDIENCE,
            oidc_networks="127.0.0.0/8",
            manager_networks="127.0.0.0/8",
            clients=str(clients),
            locator="false",
            sync="false",
            limit_address_connections=str(CONNECTIONS),
            limit_head_seconds="1.5",
            limit_body_seconds="1.5",
        )
        stack.push_async_callback(broker.gone)
        await broker.start()
        port = int(broker.base_url.rpartition(":")[2].partition("/")[0])
        tokens = {name: one.token(client_id=name, sub=name) for name in ("calm", "flood", "curious")}
        yield Attacked(broker, port, tokens)


def _declared(slug: str, base: str, region: str) -> str:
    # Nobody checks it: what it can do is known.
    return (
        f'[[gestionnaire]]\nid = "{slug}"\nname = "Gestionnaire {slug}"\nregion = "{region}"\nbase_url = "{base}"\n'
        'dialect = "gestionnaire"\ntimeout = 3.0\n'
    )


async def _calm(world: Attacked, http: aiohttp.ClientSession, count: int) -> list[float]:
    """So many searches of the healthy client, one after the other; how long each took. Each is answered whole."""
    taken = []
    for _ in range(count):
        status, body, seconds = await world.asked(http, "calm", "CareTeam?_count=5")
        assert status == 200, body
        assert {key for key, _ in outcome_codes(body)} <= {"manager.not-authorised"}
        assert seconds < DEADLINE
        taken.append(seconds)
    return taken


async def _calm_until(world: Attacked, http: aiohttp.ClientSession, attack: asyncio.Task[Any]) -> list[float]:
    taken: list[float] = []
    while not attack.done():
        taken += await _calm(world, http, 1)
        await asyncio.sleep(0.01)
    return taken


@pytest.fixture
async def world(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Attacked]:
    async with attacked(valkey, tmp_path) as made:
        yield made


async def test_who_is_healthy_is_served_and_the_others_are_refused(world: Attacked) -> None:
    async with aiohttp.ClientSession() as http:
        await _calm(world, http, 5)

        slow = asyncio.create_task(world.attack("slow", 6))
        served = await _calm_until(world, http, slow)
        assert len(served) > 20
        outcomes = slow.result()
        assert sum(outcomes.values()) == SLOW
        assert outcomes.get("open", 0) == 0, "nobody is waited for without end"
        assert outcomes.get("408", 0) > 0
        assert (
            outcomes.get("429", 0) + outcomes.get("cut", 0) + outcomes.get("closed", 0) >= SLOW - CONNECTIONS
        )

        seconds = 3
        flood = asyncio.create_task(world.attack("flood", seconds))
        served = await _calm_until(world, http, flood)
        assert len(served) > 20
        outcomes = flood.result()
        assert 1 <= outcomes["200"] <= RATE * (seconds + 2), outcomes
        assert outcomes["429"] > 0
        assert sum(outcomes.values()) < 100 * seconds, "a loop of refused requests is a slow one"
        status, _, _ = await world.asked(http, "calm", "metadata")
        assert status == 200

        before = world.memory
        for _ in range(4):
            huge, calm = await asyncio.gather(world.asked(http, "curious", "CareTeam"), _calm(world, http, 3))
            assert calm
            status, body, _ = huge
            assert status == 200
            told = outcome_codes(body)
            assert {slug for _, slug in told} <= {"idf"}
        assert world.memory - before < _MEMORY
    assert not [line for line in world.broker.stderr if "Traceback" in line or "ERROR" in line]


def _p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["slow", "flood", "huge"])
async def test_what_an_attack_costs_who_is_healthy(world: Attacked, kind: str) -> None:
    """Calm and attack by turns, so that what else the machine does falls on both."""
    calm: list[float] = []
    attacked: list[float] = []
    async with aiohttp.ClientSession() as http:
        await _calm(world, http, 200)
        for _ in range(TURNS):
            begun = time.monotonic()
            while time.monotonic() - begun < TURN:
                calm += await _calm(world, http, 1)
                await asyncio.sleep(0.01)
            attack = asyncio.create_task(_attacked_for(world, http, kind, TURN))
            attacked += await _calm_until(world, http, attack)
            attack.result()
    ratio = _p99(attacked) / _p99(calm)
    print(
        f"\n{kind}: p99 calm {_p99(calm) * 1000:.1f} ms, under attack {_p99(attacked) * 1000:.1f} ms ({ratio:.2f} times); "
        f"median {statistics.median(calm) * 1000:.1f} and {statistics.median(attacked) * 1000:.1f} ms; "
        f"{len(calm)} and {len(attacked)} searches"
    )
    assert ratio <= 2


async def _attacked_for(world: Attacked, http: aiohttp.ClientSession, kind: str, seconds: float) -> None:
    if kind != "huge":
        await world.attack(kind, seconds)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                # As fast as it may: a refusal is held back, so this is no busy loop.
                await world.asked(http, "curious", "CareTeam")
