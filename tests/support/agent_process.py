"""The agent as a process of its own, as a region runs it, on a real log; and the manager whose state a test can look at.

It is `cds-broker sync agent` in all but one thing: members of a group that are killed are out of it after one second.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from adapters.clock import SystemClock
from adapters.sandbox.store import Store
from broker.core import topics
from broker.sync.agent import Backlog, backlog
from broker.sync.change_log import Outgoing, Topic
from broker.sync.dead_letters import DeadLetter, DeadLetters
from tests.support.cli_process import CliProcess
from tests.support.logs import World, opened
from tests.support.replication import Home

SLUG = "occ"
KINDS = ("CareTeam", "Patient", "RelatedPerson", "PractitionerRole", "Practitioner", "Organization")


@dataclass
class Rig:
    """`world`: the log's server. `directory`: for what the agent is told by a file."""

    world: World
    directory: Path
    home: Home = field(init=False)
    agents: list[AgentProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = Home(to=SLUG, prefix=self.world.prefix)

    async def open(self) -> None:
        await self.world.open()
        await self.world.log.ensure_topic(Topic(topics.replication(SLUG, self.world.prefix), partitions=3))

    async def close(self) -> None:
        for agent in self.agents:
            await agent.close()
        await self.world.close()

    async def publish(self, records: Sequence[Outgoing]) -> None:
        await self.world.log.publish_many(records)

    def agent(self, base_url: str, *, timeout: float = 1.0) -> AgentProcess:
        """One that can be killed and started again."""
        file = self.directory / "gestionnaires.toml"
        file.write_text(
            f'[[gestionnaire]]\nid = "{SLUG}"\nname = "Occitanie"\nregion = "76"\n'
            f'base_url = "{base_url}"\ntimeout = {timeout}\n'
        )
        world = self.world
        made = AgentProcess((world.kind, world.address, world.prefix, str(file)))
        self.agents.append(made)
        return made

    async def dead(self) -> Sequence[DeadLetter]:
        return await DeadLetters(self.world.log, SLUG, self.world.prefix).all()

    async def left(self) -> Backlog | None:
        return await backlog(self.world.log, SLUG, self.world.prefix)

    async def settled(self) -> bool:
        left = await self.left()
        return left is not None and left.events == 0


@dataclass
class AgentProcess:
    arguments: tuple[str, ...]
    stderr: list[str] = field(default_factory=list)
    _running: CliProcess | None = None
    _reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, and wait until it says that it works."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.agent_process",
            *self.arguments,
            env={name: value for name, value in os.environ.items() if not name.startswith("CDS_")},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._running = CliProcess(process)
        self._reading = asyncio.create_task(self._read(process))
        await self._running.line("manager http")

    def kill(self) -> None:
        """SIGKILL, at once."""
        assert self._running is not None
        self._running.signal(signal.SIGKILL)

    async def gone(self) -> int:
        """Wait until it has ended; the exit code."""
        assert self._running is not None
        assert self._reading is not None
        code = await self._running.ended()
        await self._reading
        self._running = None
        return code

    async def stopped(self) -> int:
        """SIGTERM, and wait for the orderly end; the exit code."""
        assert self._running is not None
        self._running.signal(signal.SIGTERM)
        return await self.gone()

    async def close(self) -> None:
        """For the end of a test, however it ended."""
        if self._running is not None:
            self.kill()
            await self.gone()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        assert self._running is not None
        running = self._running
        async for line in process.stderr:
            running.stderr.append(line.decode())
            self.stderr.append(line.decode())


async def held_at(base_url: str) -> Store:
    """What a manager that runs elsewhere holds now."""
    store = Store(SystemClock())
    async with aiohttp.ClientSession() as http:
        for kind in KINDS:
            following: str | None = f"{base_url}/{kind}?_count=100"
            while following is not None:
                async with http.get(following) as response:
                    bundle = await response.json(content_type=None)
                store.load(entry["resource"] for entry in bundle.get("entry", ()))
                links = {link["relation"]: link["url"] for link in bundle["link"]}
                following = links.get("next")
    return store


def sequences(store: Store) -> dict[str, list[int]]:
    """Of each replica, the numbers of the changes that its versions were written from, in the order of the versions."""
    return {
        identity: [_sequence(one.content) for one in store.versions("CareTeam", identity)]
        for identity in store.live("CareTeam")
    }


def _sequence(content: object) -> int:
    assert isinstance(content, dict)
    return next(
        int(tag["code"]) for tag in content["meta"]["tag"] if tag["system"] == "urn:cds-broker:sequence"
    )


def _be_the_agent(kind: str, address: str, prefix: str, file: str) -> None:
    from broker import wiring_sync
    from broker.commands import sync

    wiring_sync.open_log = lambda _: opened(kind, address, prefix)
    os.environ |= {"CDS_TOPIC_PREFIX": prefix, "CDS_DATA_DIR": "/nonexistent"}
    sync.app(["agent", "--gestionnaire", SLUG, "--gestionnaires", file, "--report", "1"])


if __name__ == "__main__":
    _be_the_agent(*sys.argv[1:])
