"""Two broker processes behind a real HAProxy, under load: one killed, both replaced one after the other."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from tests.support.balancer import balancing, haproxy_or_skip
from tests.support.broker_process import Program, broker_program
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(240)]

CLIENTS = 8
CIRCLES = 5
PAUSE = 0.02  # seconds of a client between two requests: the machine has other things to do
SIGNALLED = 0.05  # seconds at most until a killed process is gone


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent and when it ended, and what was wrong with it, if anything."""

    began: float
    ended: float
    wrong: str | None


@dataclass
class Load:
    """Clients that search, by GET and by POST, one request after the other, until told to stop."""

    base_url: str
    asked: list[Asked] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def client(self, number: int) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            for turn in itertools.count(number):
                if self.stop.is_set():
                    return
                began = time.monotonic()
                wrong = await self._once(http, post=turn % 2 == 0)
                self.asked.append(Asked(began, time.monotonic(), wrong))
                await asyncio.sleep(PAUSE)

    async def _once(self, http: aiohttp.ClientSession, *, post: bool) -> str | None:
        method, path = ("POST", "CareTeam/_search") if post else ("GET", "CareTeam")
        try:
            async with http.request(method, f"{self.base_url}/{path}") as answer:
                body = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return type(error).__name__
        if answer.status != 200:
            return str(answer.status)
        matches = [one for one in body["entry"] if one["search"]["mode"] == "match"]
        return None if len(matches) == CIRCLES else f"{len(matches)} circles"

    async def more(self, count: int) -> None:
        """Wait until so many more were asked."""
        goal = len(self.asked) + count
        await until(lambda: len(self.asked) >= goal, seconds=60)


@asynccontextmanager
async def loading(base_url: str) -> AsyncIterator[Load]:
    load = Load(base_url)
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(load.client(number))
        try:
            yield load
        finally:
            load.stop.set()


@dataclass
class Site:
    brokers: list[Program]
    load: Load

    async def served_by(self, program: Program) -> int:
        """Searches that a broker has answered, as it says itself."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(program.base_url.replace("/fhir", "/metrics")) as answer,
        ):
            lines = (await answer.text()).splitlines()
        told = [line for line in lines if line.startswith("cds_requests_total{") and "/fhir/{type}" in line]
        return int(sum(float(line.rpartition(" ")[2]) for line in told))

    async def takes_part(self, program: Program) -> None:
        before = await self.served_by(program)

        async def more() -> bool:
            return await self.served_by(program) > before + CLIENTS

        await until(more, seconds=60)


@asynccontextmanager
async def two_brokers(directory: Path, valkey: ValkeyServer) -> AsyncIterator[Site]:
    haproxy_or_skip()
    async with running_sandbox(seed_region("53", CIRCLES, clock=SystemClock())) as box:
        file = directory / "g.toml"
        file.write_text(
            f'[[gestionnaire]]\nid = "bre"\nname = "bre"\nregion = "53"\nbase_url = "{box.base_url}"\n'
        )
        brokers = []
        for name in ("one", "two"):
            data = directory / name
            data.mkdir()
            brokers.append(broker_program(file, valkey.url, data, drain="4", log_requests="false"))
        try:
            await asyncio.gather(*(one.start() for one in brokers))
            ports = [int(one.base_url.split(":")[2].split("/")[0]) for one in brokers]
            async with balancing(directory, ports) as base_url, loading(base_url) as load:
                await load.more(50)
                yield Site(brokers, load)
        finally:
            await asyncio.gather(*(one.gone() for one in brokers))


async def test_when_one_is_killed_only_what_was_under_way_on_it_can_fail(
    tmp_path: Path, own_valkey: ValkeyServer
) -> None:
    async with two_brokers(tmp_path, own_valkey) as site:
        victim, other = site.brokers
        await site.takes_part(victim)
        await site.takes_part(other)
        killed = time.monotonic()
        victim.kill()
        await site.load.more(200)
        before = len(site.load.asked)
        await victim.gone()
        await victim.start()
        await site.takes_part(victim)
    asked = site.load.asked
    failed = [one for one in asked if one.wrong is not None]
    under_way = [one for one in failed if one.began <= killed + SIGNALLED and one.ended >= killed]
    assert failed == under_way
    assert len(failed) <= CLIENTS, "more than could have been under way"
    assert sum(1 for one in asked if one.began > killed) > 200
    assert before < len(asked)


async def test_a_rolling_restart_fails_no_request(tmp_path: Path, own_valkey: ValkeyServer) -> None:
    async with two_brokers(tmp_path, own_valkey) as site:
        for broker in site.brokers:
            await site.takes_part(broker)
            assert await broker.stopped() == 0
            await site.load.more(50)
            await broker.start()
            await site.takes_part(broker)
    assert len(site.load.asked) > 200
    assert [one for one in site.load.asked if one.wrong is not None] == []
